"""A catalog in PostgreSQL: damaged it is built anew, locked it is waited for, and many share it."""

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from catalog_runs import ended, ids, reference, told

from temporal_state import StateBackend
from temporal_state.documents import Limits
from temporal_state.errors import StoreTimeoutError
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._postgresql import PostgresLink


class Database:
    """What another program does to the catalog that the test made."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self._before = self.schemas()

    @property
    def schema(self) -> str:
        (name,) = self.schemas() - self._before
        return name

    def run(self, statement: str) -> list[tuple]:
        found = self.connection.execute(statement.format(here=self.schema).encode())
        return found.fetchall() if found.description else []

    def tables(self) -> int:
        """Return what tells these tables from those of another build."""
        return self.run("SELECT '{here}.runs'::regclass::oid::bigint")[0][0]

    def schemas(self) -> set[str]:
        sql = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'temporal_state_catalog%'"
        return {name for (name,) in self.connection.execute(sql)}


@pytest.fixture
def database(postgres_url) -> Iterator[Database]:
    made = Database(postgres_url)
    yield made
    made.connection.close()


@pytest.fixture
def opened(tmp_path, postgres_url, clock):
    """Opens the same store and catalog once more."""
    root = tmp_path / uuid.uuid4().hex

    def open_one(**options) -> StateBackend:
        return StateBackend.open(root, app="tests", clock=clock, catalog=postgres_url, **options)

    return open_one


async def filled(backend, number: int = 4) -> list[str]:
    for n in range(number):
        await told(backend.runs, reference(n), **ended(reference(n)), metadata={"n": n})
    return ids(await backend.runs.list())


DAMAGES = {
    "no schema": "DROP SCHEMA {here} CASCADE",
    "no table": "DROP TABLE {here}.headers",
    "no column": "ALTER TABLE {here}.runs DROP COLUMN bytes",
    "of another version": "UPDATE {here}.meta SET value = '0' WHERE name = 'schema'",
    "never finished": "DELETE FROM {here}.runs; DELETE FROM {here}.meta WHERE name = 'built'",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_is_built_anew(opened, database, damage):
    async with opened() as backend:
        before, stats = await filled(backend), await backend.runs.stats()
        loaded = 3 if damage.startswith("no ") else 0
        asking = [asyncio.create_task(backend.runs.list()) for _ in range(loaded)]
        await asyncio.sleep(0)
        await asyncio.to_thread(database.run, DAMAGES[damage])
        assert [ids(page) for page in await asyncio.gather(*asking)] == [before] * loaded
        assert ids(await backend.runs.list()) == before
        assert await backend.runs.stats() == stats
        assert ids(await backend.runs.list(metadata={"n": 3})) == ["run-3"]


async def test_a_locked_one_is_waited_for_and_left_as_it_is(opened, database, monkeypatch):
    begun = asyncio.Event()
    loop, writing = asyncio.get_running_loop(), PostgresLink.writing

    def tell(link):
        loop.call_soon_threadsafe(begun.set)
        return writing(link)

    async with opened() as backend:
        await filled(backend)
        tables = database.tables()
        with database.connection.transaction():
            database.run("LOCK TABLE {here}.tallies IN ACCESS EXCLUSIVE MODE")
            await told(backend.runs, reference(50))
            monkeypatch.setattr(PostgresLink, "writing", tell)
            asking = asyncio.create_task(backend.runs.list())
            await begun.wait()
            assert not asking.done()
        assert "run-50" in ids(await asking)
        assert database.tables() == tables


async def test_one_that_stays_locked_is_an_error_in_time_and_no_damage(opened, database):
    async with opened(limits=Limits(operation_timeout=timedelta(seconds=1))) as backend:
        await filled(backend, 2)
        tables = database.tables()
        with database.connection.transaction():
            database.run("LOCK TABLE {here}.runs IN ACCESS EXCLUSIVE MODE")
            await told(backend.runs, reference(50))
            with pytest.raises(StoreTimeoutError, match="locks"):
                await backend.runs.list()
        assert len(await backend.runs.list()) == 3
        assert database.tables() == tables


async def test_another_version_has_tables_of_its_own_and_old_ones_go_when_nobody_uses_them(
    opened, database, monkeypatch
):
    async with opened() as backend:
        before, old = await filled(backend), database.schema
    monkeypatch.setattr(_sql, "SCHEMA", _sql.SCHEMA + 1)
    async with opened() as backend:
        assert ids(await backend.runs.list()) == before
    async with opened() as backend:
        assert ids(await backend.runs.list()) == before
        assert old in database.schemas()  # its processes go on with it
    database.connection.execute(f"UPDATE {old}.meta SET value = '2020' WHERE name = 'since'")
    async with opened() as backend:
        assert ids(await backend.runs.list()) == before
        assert old not in database.schemas()


async def test_a_lost_connection_is_made_again(opened, database):
    async with opened() as backend:
        before, tables = await filled(backend), database.tables()
        for _ in range(2):
            database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'temporal_state' AND pid <> pg_backend_pid()"
            )
            assert ids(await backend.runs.list()) == before
        assert database.tables() == tables


async def test_who_writes_into_it_waits_for_who_does(opened, database, postgres_url):
    async with opened() as backend:
        await filled(backend, 1)
    one, two = (PostgresLink(postgres_url, database.schema, 30) for _ in range(2))
    waits = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    written = []

    def write() -> None:
        with two.writing():
            written.append("two")

    async with asyncio.timeout(30):
        with one.writing():
            writing = asyncio.create_task(asyncio.to_thread(write))
            while not writing.done() and database.run(waits) == [(0,)]:
                await asyncio.sleep(0.01)
            written.append("one")
        await writing
    assert written == ["one", "two"]
    one.close()
    two.close()


async def test_several_share_one_from_its_first_build_on(opened):
    async with opened() as one, opened() as two, opened() as three:
        backends = (one, two, three)
        await told(one.runs, reference(0))
        pages = await asyncio.gather(*(backend.runs.list() for backend in backends))
        assert [ids(page) for page in pages] == [["run-0"]] * 3
        await asyncio.gather(
            *(
                told(b.runs, reference(n * 3 + k + 1))
                for k, b in enumerate(backends)
                for n in range(4)
            ),
            *(backend.runs.list() for backend in backends),
            two.runs.reindex(),
        )
        everything = [f"run-{n}" for n in range(13)]
        for backend in backends:
            assert ids(await backend.runs.list()) == everything
            assert (await backend.runs.stats()).total == 13
