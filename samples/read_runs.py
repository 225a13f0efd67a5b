"""Reads the records of runs; no Temporal is needed. Run: ``python -m samples.read_runs``.

    python -m samples.read_runs [store] [app]

Run ``python -m samples.hello`` before, to have one to read.
"""

import asyncio
import sys

from temporal_state import Run, StateBackend


def line_of(run: Run) -> str:
    """Return what is worth knowing of a run."""
    took = f"{(run.ended or run.updated) - run.started}"
    # An end that is not confirmed was seen by a worker, but Temporal may still refuse it.
    status = run.status if run.confirmed or run.ended is None else f"{run.status}?"
    error = f"  {run.error.type}: {run.error.message}" if run.error else ""
    return f"{run.workflow_id:24} {run.workflow_type:16} {status:12} {took}  {run.counts}{error}"


async def main(store: str = "./local/tmp", app: str = "default") -> None:
    """Print the newest runs, and the steps of the newest one."""
    async with StateBackend.open(store, app=app) as backend:
        runs = await backend.runs.list(limit=10)
        for run in runs:
            print(line_of(run))
        if not runs:
            print(f"{backend!r} has no runs; python -m samples.hello makes one")
            return
        newest = runs[0]
        for step in await backend.runs.steps(newest.workflow_id, run_id=newest.run_id):
            print(f"  step {step.number}: {step.kind} {step.name} {step.status}")
        print("its own document:", await backend.runs.document(newest.workflow_id))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
