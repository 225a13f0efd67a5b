"""Hello, state: a workflow writes it, a script reads it. Run: ``python -m samples.hello``."""

import asyncio

from temporalio import workflow
from temporalio.worker import Worker

from temporal_state import StateBackend, StatePlugin, state
from temporal_state.testing import dev_server

STORE = "./local/tmp"


@workflow.defn
class Hello:
    """Greets, and remembers whom."""

    @workflow.run
    async def run(self, name: str) -> str:
        """Return the greeting."""
        await state.update(greeting=f"Hello, {name}!", greeted=name)
        return str(await state.get("greeting"))


async def main() -> None:
    """Run the workflow on a server of its own, then read what it left behind."""
    async with (
        await dev_server() as server,
        Worker(server.client, task_queue="hello", workflows=[Hello], plugins=[StatePlugin(STORE)]),
    ):
        await server.client.execute_workflow(Hello.run, "world", id="hello", task_queue="hello")
    # Neither server nor worker are there any more; the document is.
    async with StateBackend.open(STORE) as backend:
        print(await backend.runs.document("hello"))


if __name__ == "__main__":
    asyncio.run(main())
