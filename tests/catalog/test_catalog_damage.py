"""A catalog can be deleted, damaged and locked at any time: the answers stay the same."""

import asyncio
import os
import shutil
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE

import pytest
from catalog_runs import ended, ids, reference, told

from temporal_state import StateBackend
from temporal_state.documents import Layout, Limits
from temporal_state.errors import ConfigurationError, StoreTimeoutError
from temporal_state.runs.catalog import _sql, home_of
from temporal_state.runs.catalog._sqlite import SqliteLink
from temporal_state.storage import LocalStore, MemoryStore, ObjectStorage
from temporal_state.testing import FailingStore


def folder_of(backend) -> Path:
    return backend.store.root / ".temporal_state" / "catalog"


def database_of(backend) -> Path:
    (pointer,) = folder_of(backend).glob("*.current")
    return folder_of(backend) / pointer.read_text()


async def filled(backend, number: int = 8) -> list[str]:
    for n in range(number):
        ref = reference(n)
        await told(backend.runs, ref, **ended(ref), metadata={"n": n})
    return ids(await backend.runs.list())


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    shutil.rmtree(path.parent, ignore_errors=True)  # somebody may be making it anew


def delete_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    path.write_bytes(path.read_bytes()[:5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, and never was one\n" * 500)


def garbage_inside(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def drop_a_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE headers")


def of_another_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'schema'")


def never_finished(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'built'")
        connection.execute("DELETE FROM runs")


DAMAGES = [
    delete,
    delete_all,
    delete_log,
    empty,
    truncate,
    garbage,
    garbage_inside,
    drop_a_table,
    of_another_version,
    never_finished,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_what_is_damaged_while_nobody_looks_is_built_anew(tmp_path, clock, damage):
    async with StateBackend.open(tmp_path, clock=clock) as backend:
        before = await filled(backend)
        stats = await backend.runs.stats()
    damage(database_of(backend))
    async with StateBackend.open(tmp_path, clock=clock) as backend:
        assert ids(await backend.runs.list()) == before
        assert await backend.runs.stats() == stats
        assert ids(await backend.runs.list(metadata={"n": 3})) == ["run-3"]


@pytest.mark.parametrize(
    "damage",
    [delete, delete_all, garbage, drop_a_table],
    ids=lambda damage: damage.__name__,
)
async def test_what_is_damaged_under_load_is_built_anew(local, damage):
    before = await filled(local)
    stats = await local.runs.stats()
    for _ in range(5):
        asking = [asyncio.create_task(local.runs.list()) for _ in range(10)]
        await asyncio.sleep(0)
        await asyncio.to_thread(damage, database_of(local))
        for page in await asyncio.gather(*asking):
            assert ids(page) == before
        await told(local.runs, reference(0), **ended(reference(0)), metadata={"n": 0})
        assert ids(await local.runs.list()) == before
    assert (await local.runs.stats()).by_status == stats.by_status


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


async def test_a_locked_catalog_is_waited_for_and_left_where_it_is(local, monkeypatch):
    await filled(local)
    path, begun = database_of(local), asyncio.Event()
    inode, loop, writing = path.stat().st_ino, asyncio.get_running_loop(), SqliteLink.writing
    pipes = {"stdin": PIPE, "stdout": PIPE}

    def tell(link):
        loop.call_soon_threadsafe(begun.set)
        return writing(link)

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(path), **pipes)
    assert await process.stdout.readline() == b"held\n"
    await told(local.runs, reference(50))
    monkeypatch.setattr(SqliteLink, "writing", tell)
    asking = asyncio.create_task(local.runs.list())
    await begun.wait()
    assert not asking.done()
    await process.communicate(b"enough\n")
    assert "run-50" in ids(await asking)
    assert (database_of(local), path.stat().st_ino) == (path, inode)


async def test_one_that_stays_locked_is_an_error_in_time_and_no_damage(tmp_path, clock):
    limits = Limits(operation_timeout=timedelta(seconds=2))
    async with StateBackend.open(tmp_path, clock=clock, limits=limits) as backend:
        await filled(backend, 2)
        path = database_of(backend)
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            await told(backend.runs, reference(50))
            with pytest.raises(StoreTimeoutError, match="locked"):
                await backend.runs.list()
            connection.execute("ROLLBACK")
        assert len(await backend.runs.list()) == 3
        assert database_of(backend) == path


async def test_another_version_has_tables_of_its_own_and_old_ones_go_when_nobody_uses_them(
    tmp_path, clock, monkeypatch
):
    async with StateBackend.open(tmp_path, clock=clock) as backend:
        before = await filled(backend)
        old = database_of(backend)
        names = {path.name for path in old.parent.iterdir()}
    monkeypatch.setattr(_sql, "SCHEMA", _sql.SCHEMA + 1)
    async with StateBackend.open(tmp_path, clock=clock) as backend:
        assert ids(await backend.runs.list()) == before
        assert old.is_file()  # its processes go on with it
    for name in names:
        if (old.parent / name).exists():
            os.utime(old.parent / name, (0, 0))
    async with StateBackend.open(tmp_path, clock=clock) as backend:
        assert ids(await backend.runs.list()) == before
        assert not names & {path.name for path in old.parent.iterdir()}


async def test_it_lies_where_no_key_can_and_no_listing_finds_it(local):
    await filled(local, 1)
    assert database_of(local).is_file()
    assert [key for key in await local.store.list() if "catalog" in key or "sqlite" in key] == []


async def test_a_link_in_its_place_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    async with StateBackend.open(tmp_path / "store") as backend:
        (tmp_path / "store" / ".temporal_state").mkdir(exist_ok=True)
        folder_of(backend).symlink_to(outside)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            await backend.runs.list()
    assert list(outside.iterdir()) == []


async def test_it_is_made_anew_while_others_read_and_write(local):
    await filled(local, 30)
    path, seen = database_of(local), []
    done = asyncio.Event()

    async def go_on() -> None:
        n = 100
        while not done.is_set():
            await told(local.runs, reference(n))
            assert len(await local.runs.list(limit=None)) == 30 + n - 99
            n += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(go_on())
    await local.runs.reindex(seen.append)
    done.set()
    await going
    assert seen
    assert database_of(local) != path
    assert not path.exists()
    total = (await local.runs.stats()).total
    assert total == len(await local.runs.list(limit=None)) >= 30


@pytest.mark.parametrize("catalog", ["https://example.org", "", "s3://bucket"])
async def test_a_catalog_can_only_be_where_one_can(tmp_path, catalog):
    async with StateBackend.open(tmp_path, catalog=catalog) as backend:
        with pytest.raises(ConfigurationError):
            await backend.runs.list()


async def test_by_default_it_is_in_the_cache_folder_if_the_store_is_elsewhere(
    tmp_path, monkeypatch
):

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = home_of(FailingStore(ObjectStorage("s3://bucket")), Layout("a"), None, 1)
    home.release(home.publish(home.fresh()))
    (found,) = (tmp_path / "temporal_state").glob("*.current")
    other = home_of(FailingStore(ObjectStorage("s3://bucket/x")), Layout("a"), None, 1)
    assert other.open() is None
    assert found.name.startswith("a-")


async def test_by_default_it_is_where_the_objects_are_whoever_stands_before_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for inner in (MemoryStore(), LocalStore(tmp_path / "root")):
        async with StateBackend.open(FailingStore(inner), app="a") as backend:
            await backend.runs.start("w", workflow_type="T")
            assert len(await backend.runs.list()) == 1
    assert not (tmp_path / "cache").exists()
    assert list((tmp_path / "root" / ".temporal_state" / "catalog").iterdir())


async def test_what_is_encrypted_in_the_store_is_not_plain_in_the_catalog(tmp_path, clock):
    class Reversed:
        async def encode(self, key: str, data: bytes) -> bytes:
            return b"\x01" + data[::-1]

        async def decode(self, key: str, data: bytes) -> bytes:
            return data[:0:-1]

    async with StateBackend.open(tmp_path, clock=clock, transform=Reversed()) as backend:
        note = {"secret": "SESAME", "in": {"x": 1}}
        await backend.runs.start("order-1", workflow_type="T", input=["OPEN"], metadata=note)
        for wanted in (note, {"secret": "SESAME"}, {"in": {}}):
            (run,) = await backend.runs.list(metadata=wanted)
            assert run.metadata == note
        assert await backend.runs.list(metadata={"secret": "other"}) == []
        (pointer,) = tmp_path.rglob("*.current")
        path = pointer.with_name(pointer.read_text())
        found = b"".join(p.read_bytes() for p in path.parent.glob(f"{path.name}*"))
    assert b"order-1" in found
    for secret in (b"SESAME", b"OPEN", b"secret"):
        assert secret not in found
