"""Makes records say what Temporal says, also of runs that ended while no worker looked.

Temporal is asked in bulk which of the unsettled runs are still open; only of the others the history
is read, since it has all that the record can lack: the end, its time, results, steps. What is
written is a merge by the length of the history, so a worker that is alive may go on writing, and
doing it twice changes nothing. A run that Temporal has dropped is not failed: its record keeps its
status, and says that Temporal knows nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client

from temporal_state.backend import StateBackend
from temporal_state.errors import InvalidValueError, NotRecordedError
from temporal_state.temporal._capture import CaptureSettings
from temporal_state.temporal._inquiry import PAUSED, RUNNING, Inquiry, Pace
from temporal_state.temporal._reconciler import Reconciler, Reconciliation
from temporal_state.temporal._recording import Recording

_DEFAULT = Recording()


@dataclass(frozen=True, slots=True)
class Freshness:
    """How a record stands to Temporal's history.

    Attributes:
        record_clock: The length of history that the record has seen.
        temporal_clock: The length of history; ``None`` if Temporal does not know the run.
        behind: How many events the record has not seen. A worker sees a history up to the beginning
            of its last workflow task, so a few are normal.
        open: Whether Temporal says that the run is open; ``None`` if it does not know the run.
        settled: Whether the record has the end of the run, and Temporal's word for it.
    """

    workflow_id: str
    run_id: str
    record_clock: int
    temporal_clock: int | None
    behind: int | None
    open: bool | None
    settled: bool


async def reconcile(
    client: Client,
    backend: StateBackend,
    workflow_id: str | None = None,
    run_id: str | None = None,
    *,
    older_than: timedelta = timedelta(0),
    calls_per_second: float = 10,
    limit: int = 1000,
    time_limit: timedelta | None = None,
    cursor: str | None = None,
    missing: bool = False,
    recording: Recording = _DEFAULT,
    progress: Callable[[Reconciliation], None] | None = None,
) -> Reconciliation:
    """Make records of runs say what Temporal says.

    Without a ``workflow_id`` it looks at every record that is running or whose end Temporal has not
    confirmed, the newest first. With one, at that run, settled or not, and fills in what is missing
    of its steps also while it is running.

    Args:
        client: Of the namespace whose runs these are, with the data converter of their workers.
        backend: The store with the records.
        workflow_id: Only this one.
        run_id: Only this run of it; by default the newest.
        older_than: Only records without news for so long.
        calls_per_second: At most so many calls of Temporal.
        limit: Look at no more than so many records.
        time_limit: Begin with no more records after so long.
        cursor: Go on behind the reconciliation that has this ``cursor``.
        missing: Make records also of runs that have none. Which workflows are marked by
            `state.unrecorded` only a worker knows, which has their classes; here name them in
            ``recording=Recording(exclude=...)``, or leave this to ``StatePlugin(reconcile=...)``.
        recording: What is kept of values; that of the workers' plugin.
        progress: Is called after each record.

    Raises:
        RPCError: Temporal cannot be asked.
        StoreError: The store fails.
        InvalidValueError: ``calls_per_second`` or ``limit`` is not positive.
    """
    if calls_per_second <= 0 or limit < 1:
        raise InvalidValueError(
            f"calls_per_second={calls_per_second}, limit={limit}: both must be more than 0"
        )
    settings = CaptureSettings(recording.capture, recording.capture_limit, recording.redact)
    inquiry = Inquiry(client, Pace(calls_per_second))
    work = Reconciler(inquiry, backend, settings, progress)
    if workflow_id is not None:
        await work.one_asked_for(workflow_id, run_id)
    else:
        await work.all_unsettled(older_than, limit, time_limit, cursor)
        if missing and work.result.cursor is None:
            await work.all_missing(limit, recording)
    return work.result


async def freshness(
    client: Client, backend: StateBackend, workflow_id: str, run_id: str | None = None
) -> Freshness:
    """Return whether the record of a run is behind Temporal's history, and by how much.

    Raises:
        NotRecordedError: There is no record of such a run.
        RPCError: Temporal cannot be asked.
    """
    run = await backend.runs.get(workflow_id, run_id=run_id, namespace=client.namespace)
    if run is None:
        raise NotRecordedError(
            f"there is no record of run {run_id or ''} of {workflow_id!r} in {client.namespace!r}; "
            "reconcile makes one from its history"
        )
    known = await Inquiry(client, Pace()).described(run.workflow_id, run.run_id)
    length = None if known is None else known.history_length
    return Freshness(
        run.workflow_id,
        run.run_id,
        run.clock,
        length,
        behind=None if length is None else max(0, length - run.clock),
        open=None if known is None else known.status in {RUNNING, PAUSED},
        settled=run.ended is not None and run.confirmed,
    )
