"""P1: whatever lies in the tree, at any level and however it changes, nothing outside is reached.

One file outside may be seen, and is decided so: a hard link is a name of the file itself, which no
system call tells from any other, and only who may write below the root can make one. It is read,
as it would be if it had been copied; it is never written, since a save replaces the name.
"""

import asyncio
import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from disks import need_root

from temporal_state import DamagedObjectError, StateBackend, StateError, StoreError

SECRET = b'{"secret": "outside"}'
KEY = "persistent-artifacts/apps/tests/workflows/a/config.json"
LEVELS = [
    "root/persistent-artifacts",
    "root/persistent-artifacts/apps",
    "root/persistent-artifacts/apps/tests",
    "root/persistent-artifacts/apps/tests/workflows",
    "root/persistent-artifacts/apps/tests/workflows/a",
    f"root/{KEY}",
]
PRIVATE = ["root/.temporal_state", "root/.temporal_state/locks", "root/.temporal_state/tmp"]


@pytest.fixture
def outside(tmp_path):
    """Beside the root, under a name that begins like it: all that a link could lead to."""
    evil = tmp_path / "root-evil"
    file = evil / KEY
    file.parent.mkdir(parents=True)
    for folder in [evil, *file.relative_to(evil).parents[:-1]]:
        (evil / folder / "config.json").write_bytes(SECRET)
    return evil


def snapshot(outside):
    """Everything there, with its content and times of change."""
    found = {}
    for path in [outside, *outside.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_nlink, content)
    return found


def target(outside, level):
    return outside / Path(*Path(level).parts[1:])


async def every_call(backend):
    documents = backend.documents

    async def transaction():
        async with backend.transaction() as tx:
            await tx.merge("a", {"n": 1})
            await tx.merge("b", {"n": 1})

    async def batch():
        async with documents.batch() as changes:
            await changes.merge("a", {"n": 1})

    calls = [
        *(documents.get("a"), documents.exists("a"), documents.list(), documents.merge("a", {})),
        *(documents.replace("a", {"n": 1}), documents.get_many(["a", "b"]), transaction()),
        *(batch(), documents.delete("a"), backend.store.delete(KEY), backend.store.head(KEY)),
    ]
    async with asyncio.timeout(60):
        return [(await asyncio.gather(call, return_exceptions=True))[0] for call in calls]


WRITES = [3, 4, 6, 8, 9]  # those of `every_call` that raise what the store did


def assert_honest(outcomes):
    for outcome in outcomes:
        assert not isinstance(outcome, BaseException) or isinstance(outcome, StateError), outcome
        assert "outside" not in repr(outcome)


async def prepared(tmp_path):
    backend = StateBackend.open(tmp_path / "root", app="tests")
    await backend.start()
    await backend.documents.merge("a", {"mine": True})
    return backend


@pytest.mark.parametrize("level", LEVELS)
async def test_a_link_at_any_level_is_followed_by_no_call(tmp_path, outside, level):
    backend, before = await prepared(tmp_path), snapshot(outside)
    path = tmp_path / level
    path.unlink() if path.is_file() else shutil.rmtree(path)
    path.symlink_to(target(outside, level))
    outcomes = await every_call(backend)
    assert_honest(outcomes)
    assert isinstance(outcomes[0], DamagedObjectError)
    assert outcomes[2].ids == []
    assert snapshot(outside) == before
    await backend.close()


@pytest.mark.parametrize("level", PRIVATE)
@pytest.mark.parametrize("kind", ["link", "dangling", "file", "fifo"])
async def test_nothing_in_the_place_of_a_private_folder_is_followed(tmp_path, outside, level, kind):
    before = snapshot(outside)
    path = tmp_path / level
    path.parent.mkdir(parents=True)
    make(kind, path, outside)
    backend = StateBackend.open(tmp_path / "root", app="tests")
    await backend.start()
    outcomes = await every_call(backend)
    assert_honest(outcomes)
    assert isinstance(outcomes[4], DamagedObjectError)
    await backend.close()
    assert snapshot(outside) == before


def make(kind, path, outside):
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "link to file":
        path.symlink_to(outside / KEY)
    elif kind == "dangling":
        path.symlink_to(outside / "new")
    elif kind == "file":
        path.write_bytes(b"")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif kind == "folder":
        path.mkdir()
    else:
        need_root("make a device")
        number = os.makedev(1, {"zero": 5, "full": 7}[kind])
        os.mknod(path, stat.S_IFCHR | 0o666, number)


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "zero", "full", "dangling"])
async def test_what_is_no_file_is_damage_at_once_and_stays(tmp_path, outside, kind):
    backend = await prepared(tmp_path)
    path = tmp_path / "root" / KEY
    path.unlink()
    make(kind, path, outside)
    outcomes = await every_call(backend)
    assert_honest(outcomes)
    assert outcomes[2].ids == []
    others = [outcome for at, outcome in enumerate(outcomes) if at not in {2, 7}]
    assert {type(outcome) for outcome in others} == {DamagedObjectError}
    assert path.name in {entry.name for entry in path.parent.iterdir()}
    await backend.close()


# A FIFO below the root keeps writers apart as a file does, so nobody looks for one at each lock.
@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        *((kind, False) for kind in ("link to file", "link", "dangling", "socket", "folder")),
        *((kind, True) for kind in ("file", "fifo")),
    ],
)
async def test_no_lock_is_taken_outside_or_on_what_cannot_be_locked(tmp_path, outside, kind, taken):
    backend, before = await prepared(tmp_path), snapshot(outside)
    locks = tmp_path / "root/.temporal_state/locks"
    shutil.rmtree(locks)
    locks.mkdir()
    for number in range(256):
        make(kind, locks / f"{number:02x}", outside)
    outcomes = await every_call(backend)
    assert_honest(outcomes)
    for at in WRITES:
        assert isinstance(outcomes[at], DamagedObjectError) is not taken, outcomes[at]
    assert snapshot(outside) == before
    await backend.close()


async def test_a_hard_link_is_read_and_its_file_outside_never_written(tmp_path, outside):
    backend, before = await prepared(tmp_path), snapshot(outside)
    path = tmp_path / "root" / KEY
    path.unlink()
    path.hardlink_to(outside / KEY)
    assert await backend.documents.get("a") == {"secret": "outside"}
    await backend.documents.merge("a", {"n": 1})
    await backend.documents.delete("a")
    assert await backend.store.delete(KEY)
    assert snapshot(outside) == before
    await backend.close()


async def test_a_root_that_is_replaced_stays_the_one_that_was_opened(tmp_path, outside):
    backend, before = await prepared(tmp_path), snapshot(outside)
    (tmp_path / "root").rename(tmp_path / "moved")
    (tmp_path / "root").symlink_to(outside)
    await backend.documents.merge("a", {"n": 1})
    assert await backend.documents.get("a") == {"mine": True, "n": 1}
    assert (await backend.documents.list()).ids == ["a"]
    shutil.rmtree(tmp_path / "moved")
    for call in (
        backend.documents.get("a"),
        backend.documents.list(),
        backend.documents.delete("a"),
    ):
        with pytest.raises(StoreError, match="removed"):
            await call
    await backend.close()
    assert snapshot(outside) == before


class Flips:
    """A thread that makes a path a link to the outside and back, as fast as it can."""

    def __init__(self, path, outside):
        self._path, self._outside = path, outside
        self._aside = path.with_name("aside")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.is_set():
            with suppress(OSError):
                self._path.rename(self._aside)
            with suppress(OSError):
                self._path.symlink_to(self._outside)
                self.count += 1
            with suppress(OSError):
                self._path.unlink()
            with suppress(OSError):
                self._aside.rename(self._path)
            for path in (self._aside, self._path):  # a writer has made the folder again
                if self._aside.exists() and path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)


async def flip(tmp_path, outside, level, seconds):
    backend, before = await prepared(tmp_path), snapshot(outside)
    loop = asyncio.get_running_loop()
    end, rounds = loop.time() + seconds, 0
    with Flips(tmp_path / level, target(outside, level)) as flips:
        while loop.time() < end or rounds < 3 or flips.count <= 10:
            for outcomes in await asyncio.gather(*(every_call(backend) for _ in range(3))):
                assert_honest(outcomes)
            rounds += 1
    await backend.close()
    assert snapshot(outside) == before


FLIPPED = [*LEVELS, *PRIVATE]


@pytest.mark.parametrize("level", FLIPPED)
async def test_no_call_escapes_through_a_link_that_flips(tmp_path, outside, level):
    await flip(tmp_path, outside, level, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("level", FLIPPED)
async def test_no_call_escapes_through_a_link_that_flips_for_seconds(tmp_path, outside, level):
    await flip(tmp_path, outside, level, float(os.environ.get("FLIPS", "3")))
