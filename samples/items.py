"""A long loop in an activity goes on where it was. Run: ``python -m samples.items``.

The first attempt breaks down in the middle. The second one does not begin at the first item.
"""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from temporal_state import StateBackend, StatePlugin, state
from temporal_state.testing import dev_server

STORE = "./local/tmp"
BREAKS_AT = 5


@activity.defn
async def add_up(numbers: list[int]) -> int:
    """Add up, and break down once."""
    attempt = activity.info().attempt
    # After a crash (kill -9, a lost machine) at most so many items come again. When the activity
    # merely fails, as here, what is done is saved first, and none does.
    items = state.resumable(numbers, every=1000, initial={"sum": 0})
    async for number in items:
        if attempt == 1 and number == BREAKS_AT:
            raise ApplicationError("broken down", next_retry_delay=timedelta(milliseconds=100))
        print(f"attempt {attempt}: {number}")
        items.value = {"sum": items.value["sum"] + number}  # saved with the position
    return int(items.value["sum"])


@workflow.defn
class Sum:
    """Has one activity that takes long."""

    @workflow.run
    async def run(self, count: int) -> int:
        """Return the sum of the first numbers."""
        return await workflow.execute_activity(
            add_up, list(range(1, count + 1)), start_to_close_timeout=timedelta(hours=1)
        )


async def main() -> None:
    """Add up eight numbers in two attempts."""
    async with (
        StateBackend.open(STORE, app="items") as backend,
        await dev_server() as server,
        Worker(
            server.client,
            task_queue="items",
            workflows=[Sum],
            activities=[add_up],
            plugins=[StatePlugin(backend)],
        ),
    ):
        total = await server.client.execute_workflow(Sum.run, 8, id="sum", task_queue="items")
        print("sum:", total)


if __name__ == "__main__":
    asyncio.run(main())
