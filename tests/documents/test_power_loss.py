"""P2: what was acknowledged survives a power loss: nothing lost, stale or torn.

The power of a real file system is cut at the moment after the last acknowledgement, and everything
that had not reached the disk by then is gone. That the proof can fail is shown beside it: without
the flush of the folders, or without any, acknowledged changes are missing.
"""

import asyncio
import json
from datetime import timedelta

import pytest

from temporal_state import Limits, StateBackend

PROGRAM = """
import asyncio, json, os, random, stat, sys, time
from temporal_state import StateBackend
from temporal_state.storage import _files, _syncfs
root, operation, log, flushes = sys.argv[1:]
acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sync = _files.sync

def flush(descriptor):
    folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    if flushes == "all" or (flushes == "files" and not folder):
        sync(descriptor)

_files.sync = flush
if flushes == "files":
    _syncfs.FileSystem.can_flush = False  # so that it is all up to the flush above
if flushes == "none":
    _syncfs.FileSystem.flush = lambda self: None

def acknowledge(**states):
    os.write(acknowledged, (json.dumps(states) + "\\n").encode())

def big(n):
    return {"n": n, "fill": str(n) * 3000}

async def save(documents):
    for n in range(1, 21):
        await documents.replace("a", big(n))
        acknowledge(a=n)
        await documents.replace(f"new-{n}", big(n))
        acknowledge(**{f"new-{n}": n})

async def together(documents):
    async def write(id):
        for n in range(1, 6):
            await documents.replace(id, big(n))
            acknowledge(**{id: n})
    await asyncio.gather(*(write(f"d{k}") for k in range(16)))

async def delete(documents):
    for n in range(1, 11):
        await documents.replace(f"d{n}", big(n))
    for n in range(1, 11):
        await documents.delete(f"d{n}")
        acknowledge(**{f"d{n}": None})

async def transactions(documents):
    for n in range(1, 6):
        async with documents.transactions.transaction() as tx:
            for id in "abc":
                await tx.replace(id, big(n))
        acknowledge(a=n, b=n, c=n)

async def batch(documents):
    async with documents.batch(size=1000) as changes:
        for n in range(1, 6):
            for k in range(16):
                await changes.replace(f"d{k}", big(n))
            await changes.flush()
            acknowledge(**{f"d{k}": n for k in range(16)})

async def erase(backend):
    await backend.documents.replace("gone", big(1))
    await backend.documents.replace("a", big(1))  # by now the first is on the disk, at any rate
    await backend.store.delete(backend.layout.document("gone", "workflows").key)
    acknowledge(gone=None)

async def main():
    async with StateBackend.open(root, app="tests") as backend:
        await (erase(backend) if operation == "erase" else globals()[operation](backend.documents))
        os.write(1, b"done")
        time.sleep(600)  # the power goes first

asyncio.run(main())
"""

OPERATIONS = ["save", "together", "delete", "transactions", "batch", "erase"]


async def what_is_missing(children, disk, tmp_path, operation, *, flushes="all"):
    """Cut the power after the last acknowledgement; return what is not as it was acknowledged."""
    root, log = disk.path / "new" / "root", tmp_path / "acknowledged"
    child = children.start(PROGRAM, root, operation, log, flushes)
    async with asyncio.timeout(60):
        while child.output_so_far() != "done":
            assert child.poll() is None, child.communicate()[1]
            await asyncio.sleep(0.01)
    disk.cut_power()
    child.kill()
    child.wait()
    disk.restart()
    last: dict[str, int | None] = {}
    for line in log.read_text().splitlines():
        last |= json.loads(line)
    limits = Limits(transaction_patience=timedelta(milliseconds=1))
    async with StateBackend.open(root, app="tests", limits=limits) as backend:
        return [
            (id, n, found) for id, n in last.items() if (found := await state(backend, id)) != n
        ]


async def state(backend, id):
    """Return the number of a document, ``None`` if it is absent; a torn one is an error."""
    value = await backend.documents.get(id)
    if not value:
        return None
    assert value["fill"] == str(value["n"]) * 3000
    return value["n"]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nothing_acknowledged_is_lost_stale_or_torn(children, disk, tmp_path, operation):
    assert await what_is_missing(children, disk, tmp_path, operation) == []


# A transaction's changes are on the disk before its decision, so the next flush brings all along.
@pytest.mark.parametrize("operation", sorted({*OPERATIONS} - {"transactions"}))
async def test_without_the_flush_of_folders_it_would_be(children, disk, tmp_path, operation):
    assert await what_is_missing(children, disk, tmp_path, operation, flushes="files")


@pytest.mark.parametrize(("operation", "documents"), [("save", 21), ("together", 16)])
async def test_without_any_flush_everything_is_lost(children, disk, tmp_path, operation, documents):
    (disk.path / "new" / "root").mkdir(parents=True)
    missing = await what_is_missing(children, disk, tmp_path, operation, flushes="none")
    assert len(missing) == documents
