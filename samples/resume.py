"""A failed run is resumed: what was done is not done again. Run: ``python -m samples.resume``."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from temporal_state import StateBackend, StatePlugin, plan_resume, resume
from temporal_state.testing import dev_server

STORE = "./local/tmp"
SOON = timedelta(seconds=30)
target = {"open": False}
"""Stands for a system that refuses the first run, and is repaired then."""


@activity.defn
async def extract(day: str) -> int:
    """Do the long part of the work."""
    print(f"extract {day}")
    return 1000


@activity.defn
async def publish(rows: int) -> str:
    """Do the part that fails at first."""
    print(f"publish {rows} rows")
    if not target["open"]:
        raise ApplicationError("the target refuses", non_retryable=True)
    return f"{rows} rows published"


@workflow.defn
class Report:
    """Extracts, then publishes."""

    @workflow.run
    async def run(self, day: str) -> str:
        """Return what was published."""
        rows = await workflow.execute_activity(extract, day, start_to_close_timeout=SOON)
        return await workflow.execute_activity(publish, rows, start_to_close_timeout=SOON)


async def main() -> None:
    """Let a run fail, repair what made it fail, and resume it."""
    async with (
        StateBackend.open(STORE, app="resume") as backend,
        await dev_server() as server,
        Worker(
            server.client,
            task_queue="resume",
            workflows=[Report],
            activities=[extract, publish],
            plugins=[StatePlugin(backend)],
        ),
    ):
        client = server.client
        try:
            await client.execute_workflow(
                Report.run, "2026-11-21", id="report", task_queue="resume"
            )
        except WorkflowFailureError:
            print("the run failed")
        target["open"] = True
        plan = await plan_resume(client, backend, "report")
        print("taken over:", [step.name for step in plan.taken_over])
        print("executed:", [step.name for step in plan.executed])
        # The new run has the workflow id, type, task queue and input of the old one.
        handle = await resume(client, backend, "report")
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main())
