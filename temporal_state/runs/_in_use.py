"""Which records an open run takes steps from, so that they cannot be taken away from under it.

A run that resumes another names that one; its children and the runs that continue it take over from
the children and successors of that one. So what is needed is that run and all that came from it.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

from temporal_state.errors import ConflictError
from temporal_state.runs._records import Run
from temporal_state.runs._takeover import MAX_FORMER, Reader

HELD_FOR = timedelta(days=1)
"""So long something waits for the record of a started run, whose worker may be away."""
UNSUCCESSFUL = frozenset({"failed", "timed_out"})


def may_go_on(run: Run, now: datetime) -> bool:
    """Return whether Temporal may have started another run of a closed one's chain, or soon will.

    That one goes on with the own document, and perhaps there is no record of it yet.
    """
    if run.kind != "workflow" or run.ended is None:
        return False
    if run.cron:
        return run.status in {"completed", *UNSUCCESSFUL}
    if now - run.ended > HELD_FOR:
        return False
    return run.status == "continued_as_new" or may_be_retried(run)


def may_be_retried(run: Run) -> bool:
    """Return whether a run ended so that its retry policy, if it has one, starts another."""
    if run.kind != "workflow" or run.status not in UNSUCCESSFUL:
        return False
    if run.start is None:
        return True  # where no values are kept, that is not known
    most: int = (run.start.retry or {"maximum_attempts": 1})["maximum_attempts"]
    return most == 0 or run.attempt < most


async def refuse_in_use(runs: Reader, run: Run, in_use: Mapping[str, str]) -> None:
    """Refuse to take away a run that an open one needs.

    Args:
        runs: Reads the runs that this one came from.
        run: Which one.
        in_use: The runs that open ones resume, by run id, each with the one that does.

    Raises:
        ConflictError: It is needed.
    """
    if not in_use:
        return
    needed = in_use.get(run.run_id)
    async for former in came_from(runs, run):
        needed = needed or in_use.get(former.run_id)
    if needed:
        raise ConflictError(
            f"run {run.run_id!r} of {run.workflow_id!r} is needed by {needed}, "
            "which is open and takes over what it had completed; wait for its end, or give "
            "force=True, which may let its activities fail"
        )


async def came_from(runs: Reader, run: Run) -> AsyncIterator[Run]:
    """Yield the runs that started a run or continued as it, and those that did so with them."""
    seen: set[str] = set()
    waiting = [run]
    while waiting and len(seen) < MAX_FORMER:
        former = waiting.pop()
        seen.add(former.run_id)
        for workflow_id, run_id in _names_of_former(former):
            found = await runs.get(workflow_id, run_id=run_id, namespace=former.namespace)
            if found is not None and found.run_id not in seen:
                waiting.append(found)
                yield found


def _names_of_former(run: Run) -> list[tuple[str, str]]:
    found = [] if run.parent is None else [(run.parent["workflow_id"], run.parent["run_id"])]
    return found if run.continued_from is None else [*found, (run.workflow_id, run.continued_from)]
