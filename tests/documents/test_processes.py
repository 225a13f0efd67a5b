"""P3: merges to one document from any number of processes all arrive, each a version of its own."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from temporal_state import StateBackend

PROCESSES, CHANGES = 8, 50

WRITER = f"""
import asyncio, sys
from temporal_state import StateBackend

async def main(root, name):
    async with StateBackend.open(root) as backend:
        for n in range({CHANGES}):
            await backend.documents.merge("shared", {{f"{{name}}-{{n}}": n}})

asyncio.run(main(*sys.argv[1:]))
"""


async def test_eight_processes_merging_into_one_document_lose_nothing(tmp_path):
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(tmp_path), str(name))
        for name in range(PROCESSES)
    ]
    assert await asyncio.gather(*(writer.wait() for writer in writers)) == [0] * PROCESSES
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


def test_a_writer_killed_at_any_moment_leaves_a_whole_document(tmp_path):
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "victim"])
        try:
            writer.wait(0.35)
        except subprocess.TimeoutExpired:
            writer.kill()
            writer.wait()
        document = asyncio.run(read(tmp_path))
        if document is not None:
            count = len(document.value)
            assert document.value == {f"victim-{n}": n for n in range(count)}


async def read(root):
    async with StateBackend.open(root) as backend:
        return await backend.documents.read("shared")
