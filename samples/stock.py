"""Two workflows want the last lamp; a transaction decides. Run: ``python -m samples.stock``."""

import asyncio

from temporalio import workflow
from temporalio.worker import Worker

from temporal_state import StateBackend, StatePlugin, TransactionConflictError, state
from temporal_state.testing import dev_server

STORE = "./local/tmp"


@workflow.defn
class Order:
    """Takes one lamp out of the stock."""

    @workflow.run
    async def run(self, order: str) -> str:
        """Return how the order went."""
        while True:
            try:
                return await self._take(order)
            except TransactionConflictError:
                # The other order changed the stock after this one had read it. Nothing was
                # written, so look again.
                continue

    async def _take(self, order: str) -> str:
        async with state.transaction() as tx:
            stock = await tx.get("lamp", "stock")
            status = "bought" if stock["left"] else "sold out"
            if stock["left"]:
                await tx.merge("lamp", {"left": stock["left"] - 1}, "stock")
            # Stock and order change together, or neither does, at the end of this block.
            await tx.merge(order, {"item": "lamp", "status": status}, "orders")
        return status


async def main() -> None:
    """Place two orders at the same time, for one lamp."""
    async with (
        StateBackend.open(STORE, app="stock") as backend,
        await dev_server() as server,
        Worker(
            server.client, task_queue="stock", workflows=[Order], plugins=[StatePlugin(backend)]
        ),
    ):
        await backend.documents.replace("lamp", {"left": 1}, "stock")
        results = await asyncio.gather(
            *(
                server.client.execute_workflow(Order.run, order, id=order, task_queue="stock")
                for order in ("order-1", "order-2")
            )
        )
        print(sorted(results), await backend.documents.get("lamp", "stock"))


if __name__ == "__main__":
    asyncio.run(main())
