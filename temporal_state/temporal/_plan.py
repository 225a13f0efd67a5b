"""What resuming a run will do, found out before it is done: which run is meant, and its steps.

Whether a run has ended is Temporal's to say, as long as it knows the run; what it has completed is
the record's, which may come a moment later.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.client import Client, WorkflowExecutionStatus

from temporal_state.backend import StateBackend
from temporal_state.documents import utc_now
from temporal_state.errors import ConflictError, NotRecordedError
from temporal_state.runs import MAX_FORMER, Run, Runs, Source, Step, resolve
from temporal_state.temporal._inquiry import Inquiry, Pace
from temporal_state.temporal._wire import ACTIVITY_PREFIX

PATIENCE = timedelta(seconds=5)
UNSEEN = timedelta(seconds=4)
"""How long to wait for the record of an end that no worker sees, but what was before it: as far as
a worker may be behind."""
UNSEEN_ENDS = {"terminated", "timed_out"}
NAP = 0.1

ENDS: Mapping[int, str] = {
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "continued_as_new",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}
"""A run's end in the record's words."""


@dataclass(frozen=True, slots=True)
class Known:
    """What Temporal knows of a run.

    Attributes:
        run_id: Which run it is.
        closed: When it ended; ``None`` while it is open, paused or not.
        end: How it ended; ``None`` while it is open.
    """

    run_id: str
    closed: datetime | None
    end: str | None


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """What resuming a run will do, before it is done.

    Attributes:
        run: The run that is resumed.
        taken_over: Steps whose recorded result is returned instead of running them again.
        repeated: Steps that completed, and will run again since no result of theirs was kept.
        executed: Steps that had not completed, or are to be done again (``from_step``).
        children: Child workflows: they start again, and their steps are resumed by the same rule.
        newest: The newest run of the workflow id when this was planned, where it is to start;
            ``None`` if Temporal knew none there.
    """

    run: Run
    source: Source
    taken_over: Sequence[Step]
    repeated: Sequence[Step]
    executed: Sequence[Step]
    children: Sequence[Step]
    newest: str | None = None


async def plan_resume(
    client: Client,
    backend: StateBackend,
    workflow_id: str,
    run_id: str | None = None,
    *,
    namespace: str | None = None,
    from_step: int | None = None,
    lost: bool = False,
) -> ResumePlan:
    """Return what `resume` with the same arguments would do, and do nothing.

    Raises:
        NotRecordedError: There is no record of such a run.
        ConflictError: The run is still open, or has completed and ``from_step`` is not given.
    """
    newest = await newest_run(client, workflow_id)
    run, status = await _settled(
        client, backend, workflow_id, run_id, namespace or client.namespace
    )
    if status in {"completed", "continued_as_new"} and from_step is None:
        raise ConflictError(
            f"run {run.run_id} of {workflow_id!r} is {status}, so there is nothing to resume; "
            "give from_step= to do it again from one of its steps"
        )
    if status == "running" and not lost:
        raise ConflictError(
            f"the record of run {run.run_id} of {workflow_id!r} has no end, and Temporal at "
            f"{client.service_client.config.target_host} does not know the run (any more), so it "
            "may be running elsewhere; give lost=True if you know that it is not"
        )
    source = Source(run.namespace, run.workflow_id, run.run_id, from_step)
    plan = ResumePlan(run, source, [], [], [], [], newest)
    async for former, steps in _steps_of(backend.runs, run, alone=from_step is not None):
        kept = await backend.runs.acknowledged_steps(former.ref)
        for step in steps:
            is_kept = (
                step.key in kept
                and not _has_result(step)  # then nothing else is asked for
                and await backend.runs.acknowledged(former.ref, step.key) is not None
            )
            again = from_step is not None and step.number >= from_step
            kind = plan.executed if again else _what_becomes_of(step, plan, is_kept=is_kept)
            assert isinstance(kind, list)
            kind.append(step)
    return plan


async def _steps_of(
    runs: Runs, run: Run, *, alone: bool
) -> AsyncIterator[tuple[Run, Sequence[Step]]]:
    """Yield a run's steps, then those of the runs that it resumed which come after all of them.

    Those it had not come to again. Timers are left out: they wait again.
    """
    last, before = 0, None
    for _ in range(MAX_FORMER):
        steps = await runs.steps(run.workflow_id, run_id=run.run_id, namespace=run.namespace)
        beyond = [s for s in steps if s.number > last and (before is None or s.number < before)]
        yield run, [step for step in beyond if step.kind != "timer"]
        former = None if alone else run.resumed_from
        if former is None:
            break
        last = max([last, *(step.number for step in beyond)])
        before = None if former.way else former.before
        try:
            found = await resolve(runs, former)
        except NotRecordedError:  # it has been dropped since
            break
        if found is None:
            break
        run = found


def _what_becomes_of(step: Step, plan: ResumePlan, *, is_kept: bool) -> Sequence[Step]:
    if step.kind == "child":
        return plan.children
    if step.never_reused:
        # Our own operations that say so look something up, which nobody need be warned of.
        return plan.executed if step.name.startswith(ACTIVITY_PREFIX) else plan.repeated
    if is_kept:
        return plan.taken_over
    if step.status != "completed":
        return plan.executed
    return plan.taken_over if _has_result(step) and step.kind != "nexus" else plan.repeated


def _has_result(step: Step) -> bool:
    return step.status == "completed" and step.result is not None and step.result.dropped is None


async def _settled(
    client: Client, backend: StateBackend, workflow_id: str, run_id: str | None, namespace: str
) -> tuple[Run, str]:
    """Return a closed run's record, once it has caught up, and what Temporal says of its end.

    Where Temporal does not know the run, it is the record that says so.
    """
    known = await describe(client, workflow_id, run_id, namespace)
    if known is not None and known.closed is None:
        raise ConflictError(
            f"run {known.run_id} of {workflow_id!r} is open, so there is nothing to resume; "
            "terminate it first if it cannot end by itself"
        )
    run_id = known.run_id if known is not None else run_id
    deadline = asyncio.get_running_loop().time() + _patience(known)
    while True:
        run = await backend.runs.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is not None and run.ended is not None:
            break
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(NAP)
    if run is None:
        raise NotRecordedError(
            f"there is no record of run {run_id or ''} of {workflow_id!r} in namespace "
            f"{namespace!r} of {backend!r}; look at the store, the app and the namespace, or give "
            "the run_id= of an earlier run, if this one ended before a worker had recorded it"
        )
    if run.kind != "workflow":
        raise ConflictError(f"{workflow_id!r} is of kind {run.kind}; only workflows are resumed")
    return run, (None if known is None else known.end) or run.status


def _patience(known: Known | None) -> float:
    """Return how many seconds to wait for a record: none for an end that is no news."""
    if known is None or known.closed is None:
        return 0
    patience = UNSEEN if known.end in UNSEEN_ENDS else PATIENCE
    return (known.closed + patience - utc_now()).total_seconds()


async def describe(
    client: Client, workflow_id: str, run_id: str | None, namespace: str
) -> Known | None:
    """Return what Temporal knows of a run; ``None`` if it does not know it, or cannot be asked."""
    if client.namespace != namespace:
        return None
    info = await Inquiry(client, Pace()).described(workflow_id, run_id or "")
    return None if info is None else _known(info)


async def newest_run(client: Client, workflow_id: str) -> str | None:
    """Return the newest run of a workflow id in the client's namespace, if there is one."""
    info = await Inquiry(client, Pace()).described(workflow_id, "")
    return None if info is None else info.execution.run_id


def _known(info: WorkflowExecutionInfo) -> Known:
    closed = info.close_time.ToDatetime(UTC) if info.HasField("close_time") else None
    return Known(info.execution.run_id, closed, ENDS.get(info.status))
