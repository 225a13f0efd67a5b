"""What only local files do: folders, foreign files, mounts, forks, closing."""

import asyncio
import logging
import os
import random
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from children import IN_A_FORK

from temporal_state.errors import ConfigurationError, StoreError
from temporal_state.storage import LocalStore, _files, _listing, _mounts
from temporal_state.storage._syncfs import FileSystem


def names(root: Path) -> set[str]:
    """Everything below the root but what is private."""
    found = (path.relative_to(root) for path in root.rglob("*"))
    return {str(path) for path in found if path.parts[0] != ".temporal_state"}


async def test_the_root_is_made_with_its_parents_and_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO, "temporal_state")
    store = LocalStore(tmp_path / "a" / "b")
    await store.open()
    await store.open()
    await store.close()
    assert store.root.is_dir()
    assert [r.getMessage() for r in caplog.records] == [f"opened the store at {tmp_path / 'a/b'}"]


async def test_a_root_is_absolute_whatever_becomes_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore("relative")
    monkeypatch.chdir("/")
    assert store.root == tmp_path / "relative"
    assert store.url == (tmp_path / "relative").as_uri()


@pytest.mark.parametrize("path", ["file", "file/below"])
async def test_a_file_cannot_be_the_root(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="a file is in the way"):
        await LocalStore(tmp_path / path).open()


async def test_opening_and_reading_leaves_no_trace(local):
    await local.get("a/b.json")
    await local.list()
    assert list(local.root.iterdir()) == []


async def test_a_write_leaves_nothing_but_the_object_and_locks(local):
    await local.put("a/b/c.json", b"1")
    await local.close()
    assert names(local.root) == {"a", "a/b", "a/b/c.json"}
    private = local.root / ".temporal_state"
    assert list((private / "tmp").iterdir()) == []
    assert len(list((private / "locks").iterdir())) == 1


async def test_the_folder_of_temporary_files_goes_at_close(local):
    await local.put("a.json", b"1")
    assert len(list((local.root / ".temporal_state" / "tmp").iterdir())) == 1
    await local.close()
    assert list((local.root / ".temporal_state" / "tmp").iterdir()) == []


async def test_a_living_owner_is_not_swept(local):
    await local.put("a.json", b"1")
    (owned,) = (local.root / ".temporal_state" / "tmp").iterdir()
    other = LocalStore(local.root)
    await other.open()
    await other.put("b.json", b"2")
    assert owned.is_dir()
    await other.close()
    await local.put("a.json", b"3")


async def test_a_write_survives_the_removal_of_what_is_private(local):
    await local.put("a.json", b"1")
    await asyncio.to_thread(os.system, f"rm -rf '{local.root}/.temporal_state'")
    await local.put("a.json", b"2")
    assert (local.root / "a.json").read_bytes() == b"2"


async def test_delete_removes_folders_that_are_empty_then(local):
    for key in ("a/b/c/d.json", "a/e.json"):
        await local.put(key, b"")
    await local.delete("a/b/c/d.json")
    assert names(local.root) == {"a", "a/e.json"}
    await local.delete("a/e.json")
    assert names(local.root) == set()
    assert local.root.is_dir()


async def test_delete_keeps_a_folder_with_foreign_files(local):
    await local.put("a/b.json", b"")
    (local.root / "a" / ".DS_Store").write_bytes(b"")
    assert await local.delete("a/b.json")
    assert names(local.root) == {"a", "a/.DS_Store"}


async def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(local, tmp_path):
    other = LocalStore(local.root)
    await other.open()
    rng = random.Random(3)
    calls = []
    for n in range(300):
        store, key = rng.choice([local, other]), f"d/e/{rng.randrange(3)}/doc.json"
        calls.append(store.put(key, str(n).encode()) if rng.random() < 0.5 else store.delete(key))
    await asyncio.gather(*calls)
    await asyncio.gather(*(local.delete(key) for key in await local.list()))
    await other.close()
    assert names(local.root) == set()


async def test_a_folder_that_goes_away_under_a_writer_is_made_again(local, monkeypatch):
    rename = os.rename
    lost = iter(range(3))

    def lose_the_race(*args, **kwargs):
        if next(lost, None) is not None:
            (local.root / "d" / "e").rmdir()
            (local.root / "d").rmdir()
        rename(*args, **kwargs)

    monkeypatch.setattr(_files.os, "rename", lose_the_race)
    await local.put("d/e/doc.json", b"1")
    assert (local.root / "d" / "e" / "doc.json").read_bytes() == b"1"


async def test_a_folder_that_always_goes_away_is_an_error_and_no_endless_loop(local, monkeypatch):
    def lose_the_race(*_args, **_kwargs):
        (local.root / "d").rmdir()
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(_files.os, "rename", lose_the_race)
    with pytest.raises(StoreError, match="vanishes"):
        await local.put("d/doc.json", b"1")


async def test_list_leaves_out_what_is_no_object(local):
    await local.put("a/doc.json", b"")
    for name in ("README.TXT", ".hidden", "a/.DS_Store", "a/ü.json", "a/b c", "a/~x\n", "a/x:y"):
        (local.root / name).write_bytes(b"")
    (local.root / "Upper").mkdir()
    (local.root / "Upper" / "doc.json").write_bytes(b"")
    (local.root / "link.json").symlink_to(local.root / "a" / "doc.json")
    (local.root / "linked").symlink_to(local.root / "a")
    os.mkfifo(local.root / "fifo.json")
    assert await local.list() == ["a/doc.json"]


async def test_list_tolerates_folders_that_vanish(local, monkeypatch):
    for n in range(5):
        await local.put(f"d{n}/doc.json", b"")
    enter = _listing._enter

    def vanish(folder, path):
        if path == ["d2"]:
            (local.root / "d2" / "doc.json").unlink()
            (local.root / "d2").rmdir()
        return enter(folder, path)

    monkeypatch.setattr(_listing, "_enter", vanish)
    assert await local.list() == [f"d{n}/doc.json" for n in (0, 1, 3, 4)]


async def test_a_page_reads_only_the_folders_it_needs(local, monkeypatch):
    for a in range(10):
        for b in range(10):
            await asyncio.gather(*(local.put(f"{a}/{b}/{c}.json", b"") for c in range(3)))
    read = []
    scandir = os.scandir
    monkeypatch.setattr(_listing.os, "scandir", lambda fd: (read.append(fd), scandir(fd))[1])

    async def cost(*args, **kwargs):
        read.clear()
        await local.list(*args, **kwargs)
        return len(read)

    assert await cost("3/4/") == 1
    assert await cost("3/4") == 2
    assert await cost("3/") == 11
    assert await cost(limit=3) == 3
    assert await cost(after="7/8/0.json", limit=5) == 4
    assert await cost("absent/") == 0


async def test_list_fails_where_it_may_not_look(local, monkeypatch):
    def refuse(_fd):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_listing.os, "scandir", refuse)
    with pytest.raises(StoreError, match="Permission denied"):
        await local.list()


async def test_no_descriptor_is_left_open(local):
    def count() -> int:
        targets = []
        for descriptor in Path("/dev/fd").iterdir():
            with suppress(OSError):  # that of the listing itself is closed by now
                targets.append(descriptor.readlink())
        return sum(target.is_relative_to(local.root) for target in targets)

    async def work() -> None:
        await asyncio.gather(*(local.put(f"{n}/doc.json", b"x") for n in range(40)))
        await asyncio.gather(*(local.delete(f"{n}/doc.json") for n in range(20)))
        await asyncio.gather(*(local.get(f"{n}/doc.json") for n in range(40)))
        await asyncio.gather(local.list(limit=2), local.list("30/"), local.head("nothing"))
        (local.root / "bad").symlink_to("nowhere")
        await asyncio.gather(local.put("bad/x", b""), local.get("bad"), return_exceptions=True)
        (local.root / "bad").unlink()

    await work()
    local._opened.glance._close_all()  # as is done now and then
    before = count()
    await work()
    local._opened.glance._close_all()
    assert count() == before <= 3  # the root, perhaps twice, and the folder of temporary files
    await work()
    await local.close()
    assert count() == 0


async def test_close_lets_calls_in_flight_finish(local):
    calls = [asyncio.ensure_future(local.put(f"{n}.json", b"1")) for n in range(50)]
    calls += [
        asyncio.ensure_future(local.update("n", lambda d: (d or b"") + b"x")) for _ in range(9)
    ]
    await asyncio.sleep(0)
    await local.close()
    await asyncio.gather(*calls)
    await local.open()
    assert (await local.get("n")).data == b"x" * 9
    assert len(await local.list()) == 51


async def test_close_from_another_thread_fails_no_call_in_an_unknown_way(local):
    def both():
        calls = (local.get("a.json"), local.put("a.json", b"1"))
        return asyncio.gather(*calls, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(local.close(),))
    under_way = both()
    await asyncio.sleep(0)
    thread.start()
    outcomes = [*await under_way]
    while thread.is_alive():
        outcomes += await both()
    thread.join()
    last = await both()
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {type(error) for error in [*errors, *last]} == {StoreError}


async def test_a_cancelled_writer_takes_nobody_along(local):
    tasks = [
        asyncio.ensure_future(local.update("n", lambda d: (d or b"") + b"x")) for _ in range(9)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [None] * 4
    assert 4 <= len((await local.get("n")).data) <= 9


async def test_a_failed_flush_fails_its_own_object_only(local, monkeypatch):
    await asyncio.gather(*(local.put(f"{n}.json", b"old") for n in range(20)))
    sync = _files.sync

    def fail_for_large_files(descriptor):
        if os.fstat(descriptor).st_size == 7:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(_files, "sync", fail_for_large_files)
    monkeypatch.setattr(FileSystem, "can_flush", False)  # so each file is
    contents = [b"corrupt" if n % 5 == 0 else b"new" for n in range(20)]
    puts = (local.put(f"{n}.json", content) for n, content in enumerate(contents))
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    for n, outcome in enumerate(outcomes):
        stored = (local.root / f"{n}.json").read_bytes()
        if n % 5 == 0:
            assert isinstance(outcome, StoreError)
            assert f"'{n}.json': Input/output error" in str(outcome)
            assert stored == b"old"
        else:
            assert stored == b"new"
    (owned,) = (local.root / ".temporal_state" / "tmp").iterdir()
    assert list(owned.iterdir()) == []


async def test_the_folder_that_many_new_documents_share_is_flushed_once(local, monkeypatch):
    flushed: list[int] = []
    sync = _files.sync
    monkeypatch.setattr(_files, "sync", lambda fd: (flushed.append(os.fstat(fd).st_ino), sync(fd)))
    monkeypatch.setattr(FileSystem, "can_flush", False)  # so each file is
    await local.put("d/first.json", b"")
    flushed.clear()
    await asyncio.gather(*(local.put(f"d/{n}.json", b"") for n in range(20)))
    assert flushed.count((local.root / "d").stat().st_ino) <= 3
    assert len(set(flushed)) == 21


MOUNTS = r"""
1 0 0:1 / / rw - ext4 /dev/vda rw
2 1 0:2 / /mnt/share rw shared:1 - nfs4 server:/x rw
3 1 0:3 / /mnt/share/disk rw - xfs /dev/vdb rw
4 1 0:4 / /mnt/with\040space rw - cifs //server/x rw
5 1 0:5 / /mnt/ssh rw - fuse.sshfs me@host: rw
6 1 0:6 / /mnt/over rw - nfs server:/y rw
7 1 0:7 / /mnt/over rw - ext4 /dev/vdc rw
""".lstrip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/data", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/a/b", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/share/disk/a", None),
        ("/mnt/with space/a", "cifs"),
        ("/mnt/ssh/a", "fuse.sshfs"),
        ("/mnt/over/a", None),
    ],
)
def test_network_file_systems_are_known_by_their_mount(tmp_path, monkeypatch, path, kind):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(_mounts, "_MOUNTS", tmp_path / "mountinfo")
    found = _mounts.file_system(path)
    assert (found if _mounts.is_network(found) else None) == kind


def test_without_mountinfo_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_mounts, "_MOUNTS", tmp_path / "absent")
    assert _mounts.file_system("/") == ""
    assert not _mounts.is_network("")


async def test_a_network_file_system_is_refused_unless_forced(tmp_path, monkeypatch):
    (tmp_path / "mountinfo").write_text("1 0 0:1 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(_mounts, "_MOUNTS", tmp_path / "mountinfo")
    with pytest.raises(ConfigurationError, match=r"nfs4.*force=True"):
        await LocalStore(tmp_path / "root").open()
    assert not (tmp_path / "root").exists()
    forced = LocalStore(tmp_path / "root", force=True)
    await forced.open()
    await forced.put("a.json", b"1")
    await forced.close()


async def test_windows_is_refused_with_what_works_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match=r"memory:// or object storage"):
        await LocalStore(tmp_path).open()


async def test_memory_works_without_anything_that_only_posix_has(children):
    program = """
import asyncio, logging, os, pathlib, subprocess, sys, types, aiofiles.os, concurrent.futures.thread
package = types.ModuleType("temporal_state")
package.__path__ = [str(pathlib.Path(sys.argv[1]))]
sys.modules["temporal_state"] = package
sys.modules["fcntl"] = None
for name in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC"):
    delattr(os, name)
sys.platform = "win32"
from temporal_state.storage import open_store
async def main():
    store = open_store("memory://")
    await store.open()
    await store.put("a.json", b"1")
    print((await store.get("a.json")).data)
asyncio.run(main())
"""
    package = Path(_files.__file__).parents[1]
    assert await children.run(program, package, fresh=True) == "b'1'\n"


async def test_after_a_fork_the_child_must_open_its_own(children, tmp_path):
    program = """
import asyncio, os, sys
from temporal_state.errors import ConfigurationError
from temporal_state.storage import LocalStore
store = LocalStore(sys.argv[1])
async def opened():
    await store.open()
    await store.put("a.json", b"parent")
asyncio.run(opened())
async def child():
    try:
        await store.get("a.json")
    except ConfigurationError as error:
        assert "in each process" in str(error), error
    else:
        raise AssertionError("shared over a fork")
    own = LocalStore(sys.argv[1])
    await own.open()
    await own.put("b.json", b"child")
    await own.close()
    await store.close()
"""
    program += IN_A_FORK
    program += """
async def parent():
    assert len(os.listdir(sys.argv[1] + "/.temporal_state/tmp")) == 1
    await store.put("c.json", b"parent")
    print(await store.list())
    await store.close()
asyncio.run(parent())
"""
    assert await children.run(program, tmp_path) == "['a.json', 'b.json', 'c.json']\n"
