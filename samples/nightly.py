"""A nightly import that begins where the last one ended. Run: ``python -m samples.nightly``.

How far the import has come belongs to no run, so it is system state: a watermark.
"""

import asyncio
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.worker import Worker

from temporal_state import StateBackend, StatePlugin, StateStore, state
from temporal_state.testing import dev_server

STORE = "./local/tmp"
WATERMARK = "import:customers"


@activity.defn
def import_customers(path: str, offset: int) -> int:
    """Import the lines from a byte on; return where the next import begins.

    A threaded activity (no ``async``), so it uses `state.sync`.
    """
    with Path(path).open("rb") as file:
        file.seek(offset)
        for line in file:
            row = json.loads(line)
            state.sync.call(StateStore.save_state_object(row["id"], row, "customers"))
        return file.tell()


@workflow.defn
class NightlyImport:
    """Imports what is new; a Temporal Schedule would start it every night."""

    @workflow.run
    async def run(self, path: str) -> int:
        """Return how many bytes were new."""
        last = await state.system.get(WATERMARK)
        offset = last.value["offset"] if last is not None else 0
        end = await workflow.execute_activity(
            import_customers, args=[path, offset], start_to_close_timeout=timedelta(minutes=10)
        )
        # The watermark moves last. If the run fails before, the next one imports the same rows
        # again, and merging a row into its document twice changes nothing.
        await state.system.set(WATERMARK, {"offset": end})
        return end - offset


async def main() -> None:
    """Import a file, let it grow, and import it again."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as threads:
        source = Path(folder, "customers.jsonl")
        async with (
            StateBackend.open(STORE, app="nightly") as backend,
            await dev_server() as server,
            Worker(
                server.client,
                task_queue="nightly",
                workflows=[NightlyImport],
                activities=[import_customers],
                activity_executor=threads,
                plugins=[StatePlugin(backend)],
            ),
        ):
            await backend.system.set(WATERMARK, {"offset": 0})  # this sample's file is a new one
            lines = ""
            for night, name in enumerate(["Ada", "Grace"], start=1):
                lines += json.dumps({"id": name.lower(), "name": name}) + "\n"
                await asyncio.to_thread(source.write_text, lines)
                new = await server.client.execute_workflow(
                    NightlyImport.run, str(source), id=f"nightly-{night}", task_queue="nightly"
                )
                print(f"night {night}: {new} new bytes")
            print("customers:", (await backend.documents.list("customers")).ids)


if __name__ == "__main__":
    asyncio.run(main())
