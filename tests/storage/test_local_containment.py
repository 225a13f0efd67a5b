"""Whatever lies in the tree, and whatever a key says, nothing outside the root is reached."""

import asyncio
import os
import shutil
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from temporal_state.errors import ConflictError, DamagedObjectError, InvalidNameError, StoreError
from temporal_state.storage import LocalStore, encode_name

SECRET = b"outside"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nobody may reach, beside the root, with a name that begins like the root's."""
    folder = tmp_path / "root-evil"
    folder.mkdir()
    (folder / "doc.json").write_bytes(SECRET)
    return folder


def untouched(outside: Path) -> bool:
    return {p.name: p.read_bytes() for p in outside.iterdir()} == {"doc.json": SECRET}


async def every_call(store: LocalStore, key: str) -> list[object]:
    """Outcomes of each method, none of which may hang."""
    calls = (
        store.get(key),
        store.head(key),
        store.put(key, b"mine"),
        store.put(key, b"mine", if_absent=True),
        store.update(key, lambda _: b"mine"),
        store.delete(key),
    )
    async with asyncio.timeout(20):
        return [(await asyncio.gather(call, return_exceptions=True))[0] for call in calls]


@pytest.mark.parametrize(
    "key",
    [
        "../root-evil/doc.json",
        "..",
        "a/../../root-evil/doc.json",
        "./../root-evil/doc.json",
        "-evil/../../root-evil/doc.json",
        "..\\root-evil\\doc.json",
        "%2e%2e/root-evil/doc.json",
        "..%2froot-evil%2fdoc.json",
        "\uff0e\uff0e/root-evil/doc.json",
        "a\0/../../root-evil/doc.json",
        "~/doc.json/..",
        "//root-evil/doc.json",
        "file:///etc/passwd",
        "/etc/passwd",
        ".temporal_state/tmp/x",
    ],
)
async def test_a_hostile_key_reaches_nothing(local, outside, key):
    for made in (key, key.replace("/etc", str(outside))):
        outcomes = await every_call(local, made)
        assert {isinstance(outcome, InvalidNameError) for outcome in outcomes} == {True}
    with pytest.raises(InvalidNameError):
        await local.list(key)
    assert untouched(outside)
    assert await local.list() == []


async def test_an_encoded_hostile_name_stays_inside(local, outside):
    key = encode_name("../root-evil/doc.json")
    await local.put(key, b"mine")
    assert await local.list() == [key]
    assert untouched(outside)


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "doc.json")


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "new.json")


def relative(path: Path, outside: Path) -> None:
    path.symlink_to(f"../{outside.name}/doc.json")


def folder_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside, target_is_directory=True)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def socket(path: Path, outside: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


@pytest.mark.parametrize("make", [link, dangling, relative, folder_link, folder, fifo, socket])
async def test_what_is_no_regular_file_is_damage_and_never_a_hang(local, outside, make):
    make(local.root / "doc.json", outside)
    outcomes = await every_call(local, "doc.json")
    assert {isinstance(outcome, DamagedObjectError) for outcome in outcomes} == {True}
    assert {"doc.json" in str(outcome) for outcome in outcomes} == {True}
    assert await local.list() == []
    assert untouched(outside)


@pytest.mark.parametrize("make", [folder_link, link, dangling, fifo])
@pytest.mark.parametrize("key", ["d/doc.json", "d/e/f/doc.json"])
async def test_what_is_no_folder_is_damage_and_never_followed(local, outside, make, key):
    make(local.root / "d", outside)
    outcomes = await every_call(local, key)
    assert {isinstance(outcome, DamagedObjectError) for outcome in outcomes} == {True}
    for prefix in ("", "d", "d/", key):
        assert await local.list(prefix) == []
    assert untouched(outside)


@pytest.mark.parametrize(
    "name", [".temporal_state", ".temporal_state/tmp", ".temporal_state/locks"]
)
async def test_linked_private_folders_are_not_followed(tmp_path, outside, name):
    (outside / "deep").mkdir()
    (outside / "deep" / "kept").write_bytes(b"")
    root = tmp_path / "root"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    store = LocalStore(root)
    await store.open()
    with pytest.raises(DamagedObjectError):
        await store.put("doc.json", b"mine")
    await store.close()
    assert sorted(p.name for p in outside.rglob("*")) == ["deep", "doc.json", "kept"]


async def test_the_sweep_follows_no_link(tmp_path, outside):
    swept = tmp_path / "root" / ".temporal_state" / "tmp"
    (swept / "dead").mkdir(parents=True)
    (swept / "dead" / "0").symlink_to(outside / "doc.json")
    (swept / "linked").symlink_to(outside)
    store = LocalStore(tmp_path / "root")
    await store.open()
    await store.close()
    assert untouched(outside)
    assert [p.name for p in swept.iterdir()] == ["linked"]


class Flipper:
    """Makes a name a symbolic link to the outside and back, as fast as it can."""

    def __init__(self, path: Path, target: Path, inside: Path) -> None:
        self._path, self._target, self._inside = path, target, inside
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.flips = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError):
                self._remove()
                self._path.symlink_to(self._target)
                self.flips += 1
                self._path.unlink()
                self._inside.parent.mkdir(exist_ok=True)
                self._inside.write_bytes(b"inside")

    def _remove(self) -> None:
        if self._path.is_symlink() or self._path.is_file():
            self._path.unlink()
        else:
            shutil.rmtree(self._path, ignore_errors=True)


@pytest.mark.parametrize("flipped", ["d", "d/doc.json"])
async def test_no_call_escapes_through_a_flipping_link(local, outside, flipped):
    inside = local.root / "d" / "doc.json"
    inside.parent.mkdir()
    target = outside if flipped == "d" else outside / "doc.json"
    done = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.6
    with Flipper(local.root / flipped, target, inside) as flipper:
        while loop.time() < end or done < 100 or flipper.flips < 100:
            outcomes = await every_call(local, "d/doc.json")
            errors = [o for o in outcomes if isinstance(o, BaseException)]
            assert {isinstance(e, (StoreError, ConflictError)) for e in errors} <= {True}
            assert outcomes[0] is None or getattr(outcomes[0], "data", b"") != SECRET
            assert set(await local.list()) <= {"d/doc.json"}
            done += len(outcomes)
    assert untouched(outside)


async def test_a_link_may_be_the_root_and_is_followed_once(tmp_path, outside):
    real, name = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    name.symlink_to(real)
    store = LocalStore(name)
    await store.open()
    assert store.root == real
    name.unlink()
    name.symlink_to(outside)
    await store.put("a.json", b"1")
    await store.close()
    assert (real / "a.json").read_bytes() == b"1"
    assert untouched(outside)


async def test_a_root_that_was_removed_is_an_error_and_not_empty(local):
    await local.put("a/b.json", b"1")
    shutil.rmtree(local.root)
    outcomes = await every_call(local, "a/b.json")
    outcomes += await asyncio.gather(local.list(), local.list("a/"), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreError}
    assert {"removed" in str(outcome) for outcome in outcomes} == {True}
    assert not local.root.exists()
