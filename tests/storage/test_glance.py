"""What is in memory is read without a thread; whatever is not, is read by one, and no other way."""

import asyncio
import errno
import os
import threading

import pytest

from temporal_state.errors import DamagedObjectError, StoreError
from temporal_state.storage import LocalStore
from temporal_state.storage._glance import Glance
from temporal_state.storage._local import _Opened
from temporal_state.storage._mounts import file_system

KEY = "a/b/c.json"
SMALL = 64 * 1024


@pytest.fixture
async def root(tmp_path):
    """A folder of a file system that is trusted, with one object in it."""
    if file_system(str(tmp_path)) not in {"ext4", "xfs"}:
        pytest.skip("the folder of temporary files is on no file system that is trusted")
    store = LocalStore(tmp_path)
    await store.open()
    await store.put(KEY, b"1")
    await store.close()
    return tmp_path


@pytest.fixture
def glance(root):
    """What reads below that folder."""
    descriptor = os.open(root, os.O_RDONLY)
    glance = Glance(descriptor, "ext4")
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


async def test_what_lies_on_the_disk_is_left_to_a_thread(root, store, hops):
    descriptor = os.open(root / KEY, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    assert (await store.get(KEY)).data == b"1"
    assert (await store.get(KEY)).data == b"1"  # in memory by now
    assert hops == [KEY]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "nothing"])
async def test_what_is_no_file_is_left_to_a_thread(root, glance, store, kind):
    path = root / "a" / "b" / "other.json"
    if kind == "link":
        path.symlink_to(root / KEY)
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    assert glance.read("a/b/other.json") is None
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
def test_no_other_file_system_is_asked(root, glance, kind):
    assert glance.read(KEY) == b"1"
    assert Glance(glance._root, kind).read(KEY) is None


@pytest.mark.parametrize(("error", "again"), [(errno.EOPNOTSUPP, False), (errno.EAGAIN, True)])
def test_a_file_system_that_cannot_tell_is_not_asked_again(root, glance, monkeypatch, error, again):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", refuse)
        assert glance.read(KEY) is None
    assert glance.read(KEY) == (b"1" if again else None)


async def test_who_reads_in_a_loop_lets_others_run(store, hops):
    ran = asyncio.create_task(asyncio.sleep(0))
    for _ in range(3):
        await store.get(KEY)
    assert ran.done()
    assert hops == []


def test_the_root_is_not_closed_under_a_reader(root, glance, monkeypatch):
    reading, go_on, order = threading.Event(), threading.Event(), []
    preadv = os.preadv

    def slow(*args):
        reading.set()
        assert go_on.wait(10)
        order.append("read")
        return preadv(*args)

    def close():
        glance.close()
        order.append("closed")

    monkeypatch.setattr(os, "preadv", slow)
    reader = threading.Thread(target=glance.read, args=(KEY,))
    reader.start()
    assert reading.wait(10)
    assert glance.read(KEY) is None  # nor does another loop wait for it
    closer = threading.Thread(target=close)
    closer.start()
    go_on.set()
    reader.join(10)
    closer.join(10)
    assert order == ["read", "closed"]
    assert glance.read(KEY) is None


async def test_a_closed_store_says_so(root):
    async with opened(root) as store:
        assert (await store.get(KEY)).data == b"1"
    with pytest.raises(StoreError, match="is closed"):
        await store.get(KEY)
