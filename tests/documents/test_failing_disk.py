"""P2: a disk that is full, broken, read-only or not ours is a clear error, and nothing is lost.

The old documents stay and can be read, and work goes on as soon as the disk lets it.
"""

import json
import os
import resource
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from disks import need_root

from temporal_state import (
    BatchError,
    StateBackend,
    StoreError,
    StoreFullError,
    StorePermissionError,
)
from temporal_state.storage._glance import Glance
from temporal_state.storage._syncfs import FileSystem

OLD = {"n": 0, "text": "old"}
BIG = "x" * 8000  # more than a page


async def merge(backend):
    await backend.documents.merge("a", {"text": BIG})


async def create(backend):
    await backend.documents.replace("new", {"text": BIG})


async def increment(backend):
    await backend.documents.increment("a", "n")


async def transaction(backend):
    async with backend.transaction() as tx:
        await tx.merge("a", {"text": BIG})
        await tx.merge("b", {"text": BIG})


async def batch(backend):
    try:
        async with backend.documents.batch() as changes:
            await changes.merge("a", {"text": BIG})
            await changes.merge("b", {"text": BIG})
    except BatchError as error:
        raise error.failures["workflows/b"] from error


async def delete(backend):
    await backend.documents.delete("a")


CHANGES = [merge, create, increment, transaction, batch, delete]
every_change = pytest.mark.parametrize("change", CHANGES)


@contextmanager
def raising(kind, hint):
    with pytest.raises(StoreError, match=hint) as caught:
        yield
    assert type(caught.value) is kind
    assert isinstance(caught.value, OSError)
    assert "persistent-artifacts" in str(caught.value), "it names the object"


async def assert_old(backend):
    assert [await backend.documents.get(id) for id in ("a", "b", "new")] == [OLD, OLD, {}]
    assert await backend.documents.get_many(["a", "b"]) == [OLD, OLD]
    assert await backend.documents.exists("a")
    assert (await backend.documents.list()).ids == ["a", "b"]


async def assert_work_goes_on(backend, change):
    await backend.documents.merge("a", {"n": 1})
    assert await backend.documents.get("a") == {**OLD, "n": 1}
    await change(backend)
    root = backend.store.root / ".temporal_state" / "tmp"
    assert not [*root.glob("*/*")], "temporary files were left"
    assert await backend.store.list(backend.layout.transaction("")) == []


async def prepared(root):
    backend = StateBackend.open(root, app="tests")
    await backend.start()
    for id in ("a", "b"):
        await backend.documents.replace(id, OLD)
    return backend


@every_change
async def test_a_full_disk_spares_the_old_documents(small_disk, change):
    backend = await prepared(small_disk.path / "root")
    filler = small_disk.path / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with raising(StoreFullError, "No space left.*free space"):
        await change(backend)
    await assert_old(backend)
    filler.unlink()
    await assert_work_goes_on(backend, change)
    await backend.close()


@every_change
async def test_a_disk_without_inodes_spares_the_old_documents(small_disk, change):
    backend = await prepared(small_disk.path / "root")
    used = []
    with suppress(OSError):
        for n in range(100):
            used.append(small_disk.path / f"file-{n}")
            used[-1].touch()
    with raising(StoreFullError, "No space left.*free space"):
        await change(backend)
    await assert_old(backend)
    for file in used[:-1]:
        file.unlink()
    await assert_work_goes_on(backend, change)
    await backend.close()


@every_change
async def test_a_disk_that_turns_read_only_spares_the_old_documents(small_disk, change):
    backend = await prepared(small_disk.path / "root")
    small_disk.remount("ro")
    with raising(StorePermissionError, "Read-only file system.*mount options"):
        await change(backend)
    await assert_old(backend)
    async with StateBackend.open(small_disk.path / "root", app="tests") as other:
        await assert_old(other)
    small_disk.remount("rw")
    await assert_work_goes_on(backend, change)
    await backend.close()


@every_change
async def test_the_limit_of_a_files_size_spares_the_old_documents(tmp_path, change):
    backend = await prepared(tmp_path / "root")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with raising(StoreFullError, "File too large.*file size limit"):
            await change(backend)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await assert_old(backend)
    await assert_work_goes_on(backend, change)
    await backend.close()


BROKEN = [(change, call) for change in CHANGES for call in ("write", "fsync", "rename", "open")]


@pytest.mark.parametrize(("change", "call"), [*BROKEN, (create, "mkdir")])
async def test_a_broken_disk_spares_the_old_documents(tmp_path, monkeypatch, change, call):
    backend = await prepared(tmp_path / "root")
    real = getattr(os, call)

    def fail(*args, **options):
        if call == "open" and not args[1] & os.O_CREAT:
            return real(*args, **options)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", fail)
        if call == "fsync":
            patch.setattr(FileSystem, "can_flush", False)  # so each file is
        with raising(StoreError, "Input/output error.*look for disk errors"):
            await change(backend)
    await assert_old(backend)
    await assert_work_goes_on(backend, change)
    await backend.close()


@pytest.mark.parametrize("call", ["open", "read", "fstat", "stat"])
async def test_a_disk_that_cannot_be_read_is_an_error_and_no_empty_document(
    tmp_path, monkeypatch, call
):
    backend = await prepared(tmp_path / "root")
    documents = backend.documents

    def fail(*args, **options):
        raise OSError(5, "Input/output error")

    reads = [documents.get, documents.read, documents.exists, lambda _: documents.get_many(["a"])]
    if call == "stat":
        reads = [lambda _: backend.store.head(backend.layout.document("a", "workflows").key)]
    elif call == "open":
        reads += [lambda _: documents.list()]
    with monkeypatch.context() as patch:
        # What the kernel cannot open in one call, the walk tries, and it has the last word.
        patch.setattr(Glance, "read", lambda *_: None)
        patch.setattr("temporal_state.storage._files.open_below", lambda *_: None)
        patch.setattr(f"os.{call}", fail)
        for read in reads:
            with raising(StoreError, "Input/output error"):
                await read("a")
    await assert_old(backend)
    await backend.close()


OTHER_USER = """
import asyncio, json, os, sys
from temporal_state import BatchError, StateBackend, StoreError
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
async def attempt(change):
    try:
        await change
    except BatchError as error:
        return type(error.failures["workflows/a"]).__name__
    except StoreError as error:
        return type(error).__name__
async def transaction(backend):
    async with backend.transaction() as tx:
        await tx.merge("a", {"n": 1})
        await tx.merge("b", {"n": 1})
async def batch(backend):
    async with backend.documents.batch() as changes:
        await changes.merge("a", {"n": 1})
async def main():
    async with StateBackend.open(sys.argv[1], app="tests") as backend:
        documents = backend.documents
        reads = await attempt(documents.get("a")), await attempt(documents.get_many(["a", "b"]))
        changes = [
            documents.merge("a", {"n": 1}), documents.replace("new", {}), documents.delete("a"),
            transaction(backend), batch(backend),
        ]
        print(json.dumps([reads, [await attempt(change) for change in changes]]))
asyncio.run(main())
"""


@pytest.fixture
def others_root():
    """A root in a place that everybody may pass."""
    need_root("be another user")
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path / "root"
    shutil.rmtree(path)


async def test_who_may_only_read_reads_and_is_told(children, others_root):
    backend = await prepared(others_root)
    said = json.loads(await children.run(OTHER_USER, others_root))
    assert said == [[None, None], ["StorePermissionError"] * 5]
    await assert_old(backend)
    await backend.close()


async def test_who_may_not_even_read_is_told_and_finds_nothing_empty(children, others_root):
    backend = await prepared(others_root)
    for id in ("a", "b"):
        (others_root / backend.layout.document(id, "workflows").key).chmod(0)
    said = json.loads(await children.run(OTHER_USER, others_root))
    assert said == [["StorePermissionError"] * 2, ["StorePermissionError"] * 5]
    await assert_old(backend)
    await backend.close()
