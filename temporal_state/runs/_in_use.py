"""Which records an open run takes steps from, so that they cannot be taken away from under it.

A run that resumes another names that one; its children and the runs that continue it take over from
the children and successors of that one. So what is needed is that run and all that came from it.
"""

from collections.abc import Mapping

from temporal_state.errors import ConflictError
from temporal_state.runs._records import Run
from temporal_state.runs._takeover import MAX_FORMER, Reader


async def refuse_in_use(runs: Reader, run: Run, in_use: Mapping[str, str]) -> None:
    """Refuse to take away a run that an open one needs.

    Args:
        runs: Reads the runs that this one came from.
        run: Which one.
        in_use: The runs that open ones resume, by run id, each with the one that does.

    Raises:
        ConflictError: It is needed.
    """
    seen: set[str] = set()
    waiting = [run] if in_use else []
    while waiting and len(seen) < MAX_FORMER:
        former = waiting.pop()
        seen.add(former.run_id)
        if former.run_id in in_use:
            raise ConflictError(
                f"run {run.run_id!r} of {run.workflow_id!r} is needed by {in_use[former.run_id]}, "
                "which is open and takes over what it had completed; wait for its end, or give "
                "force=True, which may let its activities fail"
            )
        for workflow_id, run_id in _came_from(former):
            found = await runs.get(workflow_id, run_id=run_id, namespace=former.namespace)
            if found is not None and found.run_id not in seen:
                waiting.append(found)


def _came_from(run: Run) -> list[tuple[str, str]]:
    found = [] if run.parent is None else [(run.parent["workflow_id"], run.parent["run_id"])]
    return found if run.continued_from is None else [*found, (run.workflow_id, run.continued_from)]
