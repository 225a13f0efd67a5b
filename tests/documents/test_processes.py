"""P3: merges to one document from any number of processes all arrive, each a version of its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from temporal_state import StateBackend

PROCESSES, CHANGES = 8, 12

WRITER = f"""
import asyncio, sys
from temporal_state import StateBackend

async def main(root, name):
    async with StateBackend.open(root) as backend:
        for n in range({CHANGES}):
            await backend.documents.merge("shared", {{f"{{name}}-{{n}}": n}})

asyncio.run(main(*sys.argv[1:]))
"""


async def test_eight_processes_merging_into_one_document_lose_nothing(children, tmp_path):
    writers = [children.start(WRITER, tmp_path, name) for name in range(PROCESSES)]
    await asyncio.gather(*(children.output(writer) for writer in writers))
    async with StateBackend.open(tmp_path) as backend:
        document = await backend.documents.read("shared")
    expected = {f"{name}-{n}": n for name in range(PROCESSES) for n in range(CHANGES)}
    assert document.value == expected
    assert document.version == PROCESSES * CHANGES


def test_one_backend_serves_several_event_loops_at_once(tmp_path):
    backend = StateBackend.open(tmp_path)

    async def work(name):
        for n in range(20):
            async with backend:
                await backend.documents.merge("shared", {f"{name}-{n}": n})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: asyncio.run(work(name)), range(6)))
    document = asyncio.run(read(tmp_path))
    assert document.version == len(document.value) == 120


async def read(root):
    async with StateBackend.open(root) as backend:
        return await backend.documents.read("shared")
