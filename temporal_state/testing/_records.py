"""Questions that a test asks of records, which are written a moment behind the workflow."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from temporal_state.backend import StateBackend
from temporal_state.runs import Run, Step

PATIENCE = timedelta(seconds=10)
NAP = 0.05


async def wait_for_run(
    backend: StateBackend,
    workflow_id: str,
    *,
    run_id: str | None = None,
    status: str | None = None,
    namespace: str | None = None,
    patience: timedelta = PATIENCE,
) -> Run:
    """Return the record of a run once it has come so far.

    Args:
        backend: Where the record is.
        workflow_id: Which workflow.
        run_id: Which run of it; by default the newest.
        status: Wait for this status; by default for any end that Temporal has accepted.
        namespace: Temporal's namespace.
        patience: How long to wait, by the wall clock.

    Raises:
        AssertionError: It has not come so far; the message says what the record says instead.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    while True:
        run = await backend.runs.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is not None and _is_there(run, status):
            return run
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(
                f"after {patience} the record of {workflow_id!r} in {backend!r} is "
                f"{_described(run)}, not {status or 'closed and confirmed'}"
            )
        await asyncio.sleep(NAP)


def _is_there(run: Run, status: str | None) -> bool:
    return run.ended is not None and run.confirmed if status is None else run.status == status


def _described(run: Run | None) -> str:
    if run is None:
        return "not there"
    return f"{run.status}{'' if run.confirmed else ' (not confirmed)'} with {run.counts}"


async def steps_by_name(
    backend: StateBackend,
    workflow_id: str,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
) -> Mapping[str, list[Step]]:
    """Return the recorded steps of a run under their names, each list in the order of the steps.

    Args:
        backend: Where the record is.
        workflow_id: Which workflow.
        run_id: Which run of it; by default the newest.
        namespace: Temporal's namespace.
    """
    found: dict[str, list[Step]] = {}
    for step in await backend.runs.steps(workflow_id, run_id=run_id, namespace=namespace):
        found.setdefault(step.name, []).append(step)
    return found
