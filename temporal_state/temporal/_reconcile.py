"""Makes records say what Temporal says, also of runs that ended while no worker looked.

Temporal is asked in bulk which of the unsettled runs are still open; only of the others the history
is read, since it has all that the record can lack: the end, its time, results, steps. What is
written is a merge by the length of the history, so a worker that is alive may go on writing, and
doing it twice changes nothing. A run that Temporal has dropped is not failed: its record keeps its
status, and says that Temporal knows nothing of it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from temporal_state.backend import StateBackend
from temporal_state.errors import InvalidValueError, NotRecordedError, StateError
from temporal_state.runs import Run, RunRef
from temporal_state.temporal._capture import CaptureSettings, ValueEncoder
from temporal_state.temporal._filling import Filling
from temporal_state.temporal._history import History
from temporal_state.temporal._history_events import Subject
from temporal_state.temporal._recording import Recording

WRITER = "reconcile"
AT_ONCE = 50
_RUNNING, _PAUSED = 1, 8
_RUN_ID = re.compile(r"[0-9A-Za-z-]+")
_DEFAULT = Recording()


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one record.

    Attributes:
        before: Its status; ``None`` if there was no record.
        after: Its status now.
        steps: How many steps were added or completed.
    """

    workflow_id: str
    run_id: str
    before: str | None
    after: str
    steps: int


@dataclass(slots=True)
class Reconciliation:
    """What came of reconciling some records.

    Attributes:
        looked_at: How many records were looked at.
        running: How many runs are open in Temporal, as recorded.
        changed: What was changed.
        unknown: Runs that Temporal does not know, by workflow id and run id.
        errors: Runs whose record or history could not be read or written, and why.
        calls: How many calls of Temporal were made.
        cursor: Where to go on, if ``limit`` or ``time_limit`` ended it.
    """

    looked_at: int = 0
    running: int = 0
    changed: list[Change] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)
    calls: int = 0
    cursor: str | None = None


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
        missing: Make records also of runs that have none.
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
    work = Reconciler(client, backend, settings, Pace(calls_per_second), progress)
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
    known = await _described(client, run.ref)
    length = None if known is None else known.history_length
    return Freshness(
        run.workflow_id,
        run.run_id,
        run.clock,
        length,
        behind=None if length is None else max(0, length - run.clock),
        open=None if known is None else known.status in {_RUNNING, _PAUSED},
        settled=run.ended is not None and run.confirmed,
    )


@dataclass(slots=True)
class Pace:
    """Lets so many calls pass in a second, evenly."""

    per_second: float
    calls: int = 0
    _next: float = 0

    async def turn(self) -> None:
        """Wait until the next call may be made."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + 1 / self.per_second
        self.calls += 1
        await asyncio.sleep(at - now)


@dataclass(slots=True)
class Reconciler:
    """Reconciles records one by one, and counts."""

    client: Client
    backend: StateBackend
    settings: CaptureSettings
    pace: Pace
    progress: Callable[[Reconciliation], None] | None = None
    result: Reconciliation = field(default_factory=Reconciliation)

    async def one_asked_for(self, workflow_id: str, run_id: str | None) -> None:
        """Reconcile one run, with all its steps."""
        namespace = self.client.namespace
        run = await self.backend.runs.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is not None:
            await self._one(run.workflow_id, run.run_id, run)
            return
        ref = RunRef(namespace, workflow_id, run_id or "", self.backend.clock())
        await self.pace.turn()
        known = await _described(self.client, ref)
        if known is None:
            raise NotRecordedError(
                f"neither the store nor Temporal knows a run {run_id or ''} of {workflow_id!r} in "
                f"{namespace!r}; look at the namespace and the store's app"
            )
        await self._one(workflow_id, known.execution.run_id, None)

    async def all_unsettled(
        self,
        older_than: timedelta,
        limit: int,
        time_limit: timedelta | None,
        cursor: str | None,
    ) -> None:
        """Reconcile the records that may be wrong, the newest first."""
        loop = asyncio.get_running_loop()
        deadline = None if time_limit is None else loop.time() + time_limit.total_seconds()
        waiting: list[Run] = []
        latest = self.backend.clock() - older_than
        async for place, run in self.backend.runs.scan(self.client.namespace, after=cursor):
            if is_unsettled(run) and run.updated <= latest:
                waiting.append(run)
            full = self.result.looked_at + len(waiting) >= limit
            late = deadline is not None and loop.time() > deadline
            if len(waiting) == AT_ONCE or full or late:
                await self._several(waiting)
                waiting.clear()
            if full or late:
                self.result.cursor = place
                return
        await self._several(waiting)

    async def all_missing(self, limit: int, recording: Recording) -> None:
        """Make records of runs that have none, as far as Temporal lists them."""
        runs = self.backend.runs
        async for known in self._listed(""):
            id, run_id = known.execution.workflow_id, known.execution.run_id
            if self.result.looked_at >= limit:
                return
            if known.type.name in recording.exclude:
                continue
            if await runs.get(id, run_id=run_id, namespace=self.client.namespace) is None:
                await self._one(id, run_id, None)

    async def _several(self, runs: Sequence[Run]) -> None:
        ids = [run.run_id for run in runs if _RUN_ID.fullmatch(run.run_id)]
        known: dict[str, int] = {}
        if len(ids) > 1:
            quoted = ", ".join(f"'{id}'" for id in ids)
            async for info in self._listed(f"RunId IN ({quoted})"):
                known[info.execution.run_id] = info.status
        for run in runs:
            if run.status == "running" and known.get(run.run_id) == _RUNNING and not run.paused:
                self.result.looked_at += 1
                self.result.running += 1
                self._tell()
            else:
                await self._one(run.workflow_id, run.run_id, run)

    async def _one(self, workflow_id: str, run_id: str, run: Run | None) -> None:
        self.result.looked_at += 1
        try:
            await self._settle(workflow_id, run_id, run)
        except StateError as error:
            if error.retryable:
                raise
            self.result.errors.append((workflow_id, run_id, str(error)))
        self._tell()

    async def _settle(self, workflow_id: str, run_id: str, run: Run | None) -> None:
        history = await self._history(workflow_id, run_id)
        if history is None:
            self.result.unknown.append((workflow_id, run_id))
            if run is not None and run.known_to_temporal:
                await self.backend.runs.mark_unknown(run.ref)
            return
        runs = self.backend.runs
        steps = await runs.steps(workflow_id, run_id=run_id, namespace=self.client.namespace)
        ref = RunRef(self.client.namespace, workflow_id, run_id, history.started)
        filling = Filling(
            ref if run is None else run.ref,
            history,
            run,
            steps,
            self.settings,
            self.client.data_converter,
        )
        patch = await filling.patch()
        self.result.running += history.end is None
        if len(patch) == 0:
            return
        loop = asyncio.get_running_loop()
        await ValueEncoder(self.settings, self.client.data_converter, loop).encode(patch)
        engine = self.backend.documents.engine
        await engine.to_the_end(runs.write(patch, WRITER), f"reconciling run {run_id!r}")
        before = None if run is None else run.status
        after = before if patch.header is None else patch.header["status"]
        change = Change(workflow_id, run_id, before, str(after), len(patch.steps))
        self.result.changed.append(change)

    async def _history(self, workflow_id: str, run_id: str) -> History | None:
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        history = History(Subject(self.client.namespace, workflow_id))
        events = handle.fetch_history_events()
        while history.now.clock == 0 or events.next_page_token:
            await self.pace.turn()
            try:
                await events.fetch_next_page()
            except RPCError as error:
                if _is_unknown(error):
                    return None
                raise
            for event in events.current_page or ():
                history.see(event)
        return history

    async def _listed(self, query: str) -> AsyncIterator[WorkflowExecutionInfo]:
        # Not by the SDK's own list, whose statuses do not have all that a server says.
        token = b""
        while True:
            await self.pace.turn()
            request = ListWorkflowExecutionsRequest(
                namespace=self.client.namespace, query=query, page_size=200, next_page_token=token
            )
            try:
                page = await self.client.workflow_service.list_workflow_executions(
                    request, retry=True
                )
            except RPCError as error:
                if error.status == RPCStatusCode.UNIMPLEMENTED:
                    return  # the time-skipping server's; each run is asked for on its own
                raise
            for info in page.executions:
                yield info
            token = page.next_page_token
            if not token:
                return

    def _tell(self) -> None:
        self.result.calls = self.pace.calls
        if self.progress is not None:
            self.progress(self.result)


def is_unsettled(run: Run) -> bool:
    """Return whether Temporal may say something else of a run than its record."""
    of_temporal = run.kind == "workflow" and run.known_to_temporal
    return of_temporal and not (run.ended is not None and run.confirmed)


async def _described(client: Client, ref: RunRef) -> WorkflowExecutionInfo | None:
    # Not by the SDK's own call, whose statuses do not have all that a server says.
    request = DescribeWorkflowExecutionRequest(namespace=ref.namespace)
    request.execution.workflow_id, request.execution.run_id = ref.workflow_id, ref.run_id
    try:
        found = await client.workflow_service.describe_workflow_execution(request, retry=True)
    except RPCError as error:
        if _is_unknown(error):
            return None
        raise
    return found.workflow_execution_info


def _is_unknown(error: RPCError) -> bool:
    # An id that was made by hand may be none that Temporal takes.
    return error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}
