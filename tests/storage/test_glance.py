"""What is in memory is read without a thread; whatever is not, is read by one, and no other way."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from disks import unavailable

from temporal_state.errors import DamagedObjectError, PathTraversalError, StoreError
from temporal_state.storage import LocalStore, _glance, _openat2
from temporal_state.storage._glance import Glance
from temporal_state.storage._local import _Opened

KEY = "a/b/c.json"
SMALL = 32 * 1024


@pytest.fixture
async def root(tmp_path):
    """A folder of a system that can tell what is in memory, with one object in it."""
    store = LocalStore(tmp_path)
    await store.open()
    await store.put(KEY, b"1")
    readable = store._opened.glance.read(KEY) == b"1"
    await store.close()
    if not readable:
        unavailable("the system cannot tell what it has in memory (ext4 or XFS, from Linux 6.5)")
    return tmp_path


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a busy machine any read may take long."""
    monkeypatch.setattr(_glance, "_LONG", 60)


@pytest.fixture
def glance(root):
    """What reads below that folder."""
    descriptor = os.open(root, os.O_RDONLY)
    with ThreadPoolExecutor(1) as pool:
        glance = Glance(descriptor, "ext4", pool.submit)
        yield glance
        glance.close()
    os.close(descriptor)


@pytest.fixture
async def store(root):
    """An open store on that folder."""
    async with opened(root) as store:
        yield store


class opened:  # noqa: N801 used like a function
    def __init__(self, root):
        self.store = LocalStore(root)

    async def __aenter__(self):
        await self.store.open()
        return self.store

    async def __aexit__(self, *_):
        await self.store.close()


@pytest.fixture
def hops(monkeypatch):
    """The keys that were read by a thread."""
    read, keys = _Opened.get, []

    def counted(self, key):
        keys.append(key)
        return read(self, key)

    monkeypatch.setattr(_Opened, "get", counted)
    return keys


@pytest.mark.parametrize("data", [b"", b"1", b"x" * SMALL])
async def test_a_small_file_in_memory_takes_no_thread(store, hops, data):
    await store.put(KEY, data)
    found = await store.get(KEY)
    assert (found.data, hops) == (data, [])
    assert found == _Opened.get(store._opened, KEY)  # as a thread reads it, with the same ETag


def test_a_large_file_is_left_to_a_thread(root, glance):
    (root / KEY).write_bytes(b"x" * (SMALL + 1))
    assert glance.read(KEY) is None


def test_what_is_not_in_memory_is_not_asked_for(glance, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "preadv", lambda *given: asked.append(given))
    monkeypatch.setattr(_glance, "_PAGE", 0)  # as if the pages that are there held nothing
    assert glance.read(KEY) is None
    assert asked == []


@pytest.mark.parametrize("outcome", ["none of it", "a part of it", "more of it"])
def test_what_leaves_memory_or_changes_meanwhile_is_left_to_a_thread(glance, monkeypatch, outcome):
    flags = []

    def preadv(file, _buffers, _offset, given):
        flags.append(given)
        if outcome == "none of it":
            raise BlockingIOError
        return 0 if outcome == "a part of it" else 2

    monkeypatch.setattr(os, "preadv", preadv)
    assert glance.read(KEY) is None
    assert flags == [os.RWF_NOWAIT]


def test_the_kernel_opens_what_it_knows_on_this_file_system_and_no_link(glance, monkeypatch):
    call, resolved = _openat2.system_call, []

    def spied(*types):
        def made(number, folder, path, how, size):
            resolved.append(how.resolve)
            return call(*types)(number, folder, path, how, size)

        return made

    monkeypatch.setattr(_openat2, "system_call", spied)
    assert glance.read(KEY) == b"1"
    no_other_file_system, no_link, cached = 0x01, 0x04, 0x20  # as openat2(2) has them
    assert resolved == [no_other_file_system | no_link | cached]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "nothing"])
async def test_what_is_no_file_is_left_to_a_thread(root, glance, store, kind, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "preadv", lambda *given: asked.append(given))
    path = root / "a" / "b" / "other.json"
    if kind == "link":
        path.symlink_to(root / KEY)
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    assert glance.read("a/b/other.json") is None
    assert asked == []
    if kind == "nothing":
        assert await store.get("a/b/other.json") is None
    else:
        with pytest.raises(DamagedObjectError):
            await store.get("a/b/other.json")


def test_a_link_on_the_way_is_not_followed(root, glance):
    (root / "link").symlink_to(root / "a")
    assert glance.read("a/b/c.json") == b"1"
    assert glance.read("link/b/c.json") is None


def test_the_time_of_access_is_not_noted(root, glance):
    os.utime(root / KEY, (1, 2))  # it would be noted now even where that is done once a day
    assert glance.read(KEY) == b"1"
    assert (root / KEY).stat().st_atime == 1


@pytest.mark.parametrize("kind", ["tmpfs", "fuse.sshfs", "overlay", ""])
def test_no_other_file_system_is_asked(root, kind):
    descriptor = os.open(root, os.O_RDONLY)
    glance = Glance(descriptor, kind, lambda _: None)
    assert glance.read(KEY) is None
    glance.close()
    os.close(descriptor)


def test_after_a_read_that_took_long_threads_read_for_a_time(glance, monkeypatch):
    monkeypatch.setattr(_glance, "_LONG", -1)  # as if it had
    monkeypatch.setattr(_glance, "_REST", 0.0)
    assert [glance.read(KEY), glance.read(KEY)] == [b"1", b"1"]
    monkeypatch.setattr(_glance, "_REST", 60.0)
    assert [glance.read(KEY), glance.read(KEY)] == [b"1", None]


def test_where_nothing_is_found_threads_read_for_a_time(glance):
    for _ in range(_glance._MISSES - 1):
        assert glance.read("none") is None
    assert glance.read(KEY) == b"1"  # so it begins to count anew
    for _ in range(_glance._MISSES):
        assert glance.read("none") is None
    assert glance.read(KEY) is None


async def test_who_reads_in_a_loop_lets_others_run(store, hops):
    ran = asyncio.create_task(asyncio.sleep(0))
    for _ in range(3):
        await store.get(KEY)
    assert ran.done()
    assert hops == []


def test_the_root_is_not_closed_under_a_reader(glance, monkeypatch):
    reading, go_on, found = threading.Event(), threading.Event(), []
    preadv, copy = os.preadv, glance._root.descriptor

    def slow(*args):
        reading.set()
        assert go_on.wait(10)
        os.fstat(copy)
        return preadv(*args)

    monkeypatch.setattr(os, "preadv", slow)
    reader = threading.Thread(target=lambda: found.append(glance.read(KEY)))
    reader.start()
    assert reading.wait(10)
    glance.close()  # does not wait
    assert glance.read(KEY) is None
    go_on.set()
    reader.join(10)
    assert found == [b"1"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(copy)


async def test_files_are_closed_by_a_thread_for_the_last_one_frees_what_was_replaced(
    root, monkeypatch
):
    def descriptors() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    before, threads, close = descriptors(), set(), os.close

    def spied(descriptor):
        threads.add(threading.current_thread())
        close(descriptor)

    async with opened(root) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", spied)
            for _ in range(3 * _glance._KEPT_OPEN):
                await store.get(KEY)
            async with asyncio.timeout(10):
                while len(store._opened.glance._open) >= _glance._KEPT_OPEN:
                    await asyncio.sleep(0.01)
        assert threads
        assert threading.current_thread() not in threads
    assert descriptors() == before


async def test_a_bad_key_is_refused_before_all_else(root):
    with pytest.raises(PathTraversalError):
        await LocalStore(root).get("../escape")


async def test_a_closed_store_says_so(root):
    async with opened(root) as store:
        assert (await store.get(KEY)).data == b"1"
    with pytest.raises(StoreError, match="is closed"):
        await store.get(KEY)
