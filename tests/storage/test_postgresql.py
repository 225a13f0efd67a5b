"""What PostgreSQL can do to a store: lose replies, end sessions, stop, refuse, be silent."""

import asyncio
import os
import random
import signal
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from children import IN_A_FORK
from proxies import Proxy
from psycopg import sql
from servers import PostgresServer, second_try

from temporal_state.errors import (
    ConfigurationError,
    ConflictError,
    StateError,
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.storage import PostgresStore, open_store
from temporal_state.storage._postgresql_errors import on_statement
from temporal_state.storage._postgresql_link import Link

SECRET = "s3cret-word"


@pytest.fixture
def url(postgres_url) -> str:
    """A schema of the test's own."""
    return f"{postgres_url}?schema=test_{uuid.uuid4().hex}"


@pytest.fixture
def execute(postgres_url):
    """Runs a statement as the superuser."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield lambda query, *args: connection.execute(query, args)


@pytest.fixture
async def postgres(url) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def proxy(postgres_url) -> AsyncIterator[Proxy]:
    made = Proxy(psycopg.conninfo.conninfo_to_dict(postgres_url)["port"])
    yield made
    made.close()


@pytest.fixture
async def proxied(url, proxy) -> AsyncIterator[PostgresStore]:
    """A store with one connection, which goes through the proxy."""
    port = psycopg.conninfo.conninfo_to_dict(url.partition("?")[0])["port"]
    store = PostgresStore(url.replace(f":{port}", f":{proxy.port}"), connections=1)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    server = second_try(PostgresServer.started)
    yield server
    server.remove()


@pytest.fixture
async def on_own(own_server) -> AsyncIterator[PostgresStore]:
    url = f"{own_server.url}?schema=test_{uuid.uuid4().hex}"
    store = PostgresStore(url, timeout=timedelta(seconds=8))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def role(execute, postgres_url) -> Iterator[str]:
    name = f"role_{uuid.uuid4().hex}"
    execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def appending(word):
    """Return a change that adds a word, and never notices that it is there already."""
    return lambda data: (data or b"") + word.encode() + b"\n"


async def words(store, key="log.txt"):
    found = await store.get(key)
    return [] if found is None else found.data.decode().split()


# Many writers


async def test_two_stores_that_change_the_same_many_keys_never_block_each_other(postgres, url):
    other = PostgresStore(url)
    await other.open()
    keys = [f"k{n}.txt" for n in range(40)]
    changes = [
        store.update(key, appending(f"{n}"))
        for n in range(3)
        for store, order in ((postgres, keys), (other, keys[::-1]))
        for key in order
    ]
    await asyncio.gather(*changes)
    assert {len(await words(postgres, key)) for key in keys} == {6}
    await other.close()


OPENER = """
import asyncio, sys
from temporal_state.storage import open_store

async def main(url, name):
    store = open_store(url)
    await store.open()
    await store.put(f"{name}.txt", b"1")
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_eight_stores_can_be_the_first_at_once(url):
    stores = [PostgresStore(url) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    for n, store in enumerate(stores):
        await store.put(f"{n}.txt", b"1")
    assert len(await stores[0].list()) == 8
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.slow
async def test_eight_processes_can_be_the_first_at_once(url, children):
    started = [children.start(OPENER, url, name) for name in "abcdefgh"]
    await asyncio.gather(*map(children.output, started))
    store = PostgresStore(url)
    await store.open()
    assert len(await store.list()) == 8
    await store.close()


@contextmanager
def hurry(store):
    """Gives each call half a second, for calls that are not to succeed."""
    link = store._opened._link
    patient = dict(vars(link))
    vars(link).update(vars(Link(link._address, link._claim, 0.5)) | {"_idle": link._idle})
    try:
        yield
    finally:
        vars(link).update(patient)


# Lost connections


async def test_every_change_is_made_once_while_sessions_are_ended(url, execute):
    store = PostgresStore(f"{url}&application_name=victim", timeout=timedelta(seconds=30))
    await store.open()
    done, ended = asyncio.Event(), []

    async def kill():
        while not done.is_set():
            await asyncio.sleep(random.uniform(0, 0.03))
            ended.extend(
                execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'victim' AND random() < 0.5"
                )
            )

    async def write(writer):
        for n in range(8):
            await store.update("log.txt", appending(f"{writer}-{n}"))
            await store.put(f"{writer}-{n}.txt", b"", if_absent=True)
            etag = await store.put(f"{writer}.txt", f"{n}".encode())
            await store.put(f"{writer}.txt", b"changed", if_match=etag)
            assert await store.delete(f"{writer}-{n}.txt")

    killer = asyncio.create_task(kill())
    await asyncio.gather(*(write(writer) for writer in range(6)))
    done.set()
    await killer
    assert len(ended) > 5
    found = Counter(await words(store))
    assert found == Counter(f"{writer}-{n}" for writer in range(6) for n in range(8))
    await store.close()


async def test_a_change_is_made_once_though_the_reply_to_its_commit_is_lost(proxy, proxied):
    chance = random.Random(7)

    def note(n, data):
        seen[n] = (data or b"").decode().split()
        return data

    proxy.cut_reply = lambda chunk: b"COMMIT\0" in chunk and chance.random() < 0.6
    seen = {}
    for n in range(12):
        change = appending(f"{n}")
        await proxied.update("log.txt", lambda data, n=n, change=change: change(note(n, data)))
    assert proxy.cuts >= 5
    assert await words(proxied) == [f"{n}" for n in range(12)]
    # A change leaves its result for its caller, so no run may come after the one that counted.
    assert [*seen.values()] == [[f"{before}" for before in range(n)] for n in range(12)]


@pytest.mark.parametrize("late", [0, 0.3])
async def test_a_change_is_made_once_though_its_commit_arrives_late(proxy, proxied, late):
    await proxied.update("log.txt", appending("0"))
    proxy.late = late
    proxy.cut_request = lambda chunk: b"COMMIT\0" in chunk and not proxy.cuts
    await proxied.update("log.txt", appending("1"))
    assert proxy.cuts == 1
    await asyncio.sleep(late)
    assert await words(proxied) == ["0", "1"]


def cut_once(proxy, marker):
    """Lose the reply to the next request that holds ``marker``."""
    armed = []
    proxy.cut_request = lambda chunk: marker in chunk and armed.append(1)
    proxy.cut_reply = lambda _: bool(armed) and not proxy.cuts


async def test_a_put_whose_reply_is_lost_is_no_conflict(proxy, proxied):
    await proxied.put("warm.txt", b"")
    cut_once(proxy, b"made.txt")
    etag = await proxied.put("made.txt", b"1", if_absent=True)
    assert proxy.cuts == 1
    assert (await proxied.get("made.txt")).etag == etag
    proxy.cuts = 0
    cut_once(proxy, b"made.txt")
    etag = await proxied.put("made.txt", b"2", if_match=etag)
    assert proxy.cuts == 1
    assert (await proxied.get("made.txt")).etag == etag


async def test_a_put_whose_reply_is_lost_does_not_undo_what_came_after(proxy, proxied, postgres):
    await proxied.put("a.txt", b"0")
    first = threading.Event()

    def cut(_chunk):
        if not armed or proxy.cuts:
            return False
        asyncio.run_coroutine_threadsafe(postgres.put("a.txt", b"2"), loop).result(10)
        first.set()
        return True

    armed, loop = [], asyncio.get_running_loop()
    proxy.cut_request = lambda chunk: b"a.txt" in chunk and armed.append(1)
    proxy.cut_reply = cut
    await proxied.put("a.txt", b"1")
    assert first.is_set()
    assert (await postgres.get("a.txt")).data == b"2"


async def test_a_delete_whose_reply_is_lost_tells_that_there_was_one(proxy, proxied):
    await proxied.put("a.txt", b"1")
    cut_once(proxy, b"a.txt")
    assert await proxied.delete("a.txt") is True
    assert proxy.cuts == 1


async def test_work_goes_on_after_the_server_was_down(own_server, on_own):
    await on_own.update("log.txt", appending("before"))
    own_server.stop()
    during = asyncio.create_task(on_own.update("log.txt", appending("during")))
    await asyncio.sleep(0.2)
    assert not during.done()
    await asyncio.to_thread(own_server.start)
    await during
    assert await words(on_own) == ["before", "during"]


async def test_a_server_that_stays_down_is_a_timeout_and_at_open_an_error(own_server):
    store = PostgresStore(own_server.url)
    await store.open()
    own_server.stop()
    try:
        with hurry(store):
            with pytest.raises(StoreTimeoutError, match="unknown: read again"):
                await store.put("a.txt", b"1")
            with pytest.raises(StoreTimeoutError):
                await store.get("a.txt")
        with pytest.raises(StoreError, match="see that the server runs") as caught:
            await PostgresStore(own_server.url).open()
        assert caught.value.retryable
    finally:
        own_server.start()
    await store.put("a.txt", b"1")
    await store.close()


async def test_a_silent_server_is_a_timeout(own_server):
    store = PostgresStore(own_server.url)
    await store.open()
    with psycopg.connect(own_server.url) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'temporal_state'"
        pids = [pid for (pid,) in connection.execute(query)]
    for pid in [own_server.pid, *pids]:
        os.kill(pid, signal.SIGSTOP)
    try:
        with hurry(store), pytest.raises(StoreTimeoutError):
            await store.get("silence.txt")
    finally:
        for pid in [own_server.pid, *pids]:
            os.kill(pid, signal.SIGCONT)
    assert await store.get("silence.txt") is None
    await store.close()


async def test_an_object_locked_by_another_is_a_timeout(url, postgres, execute):
    await postgres.put("a.txt", b"1")
    schema = url.partition("schema=")[2]
    with execute(f"SELECT {1}").connection.transaction():
        execute(f"SELECT FROM {schema}.temporal_state_objects FOR UPDATE")
        with hurry(postgres):
            postgres._opened._link.close()  # so that the sessions of these calls are in a hurry too
            with pytest.raises(StoreTimeoutError):
                await postgres.update("a.txt", appending("2"))
            with pytest.raises(StoreTimeoutError):
                await postgres.put("a.txt", b"2")
        assert (await postgres.get("a.txt")).data == b"1"


# The contract


async def test_equal_content_never_has_an_equal_etag(postgres):
    first = await postgres.put("a.txt", b"1")
    assert await postgres.put("a.txt", b"1") != first
    await postgres.update("a.txt", lambda _: b"1")
    with pytest.raises(ConflictError):
        await postgres.put("a.txt", b"2", if_match=first)


async def test_conditions_that_exclude_each_other_never_hold(postgres):
    with pytest.raises(ConflictError):
        await postgres.put("a.txt", b"1", if_absent=True, if_match="x")
    assert await postgres.list() == []


async def test_commits_are_durable_whatever_the_roles_default_is(url, role, execute):
    schema = url.partition("schema=")[2]
    name = sql.Identifier(role)
    execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = off").format(name))
    execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(sql.Identifier(schema), name))
    store = PostgresStore(url.replace("postgres@", f"{role}@"))
    await store.open()
    link = store._opened._link
    query = "SELECT current_setting('synchronous_commit'), current_user"
    assert link.read(lambda c: c.execute(query).fetchone(), "ask") == ("on", role)
    await store.close()


async def test_a_server_that_forgets_is_refused(own_server):
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
    try:
        own_server.restart()
        with pytest.raises(ConfigurationError, match="fsync = off"):
            await PostgresStore(own_server.url).open()
        forced = PostgresStore(own_server.url, force=True)
        await forced.open()
        await forced.close()
    finally:
        with psycopg.connect(own_server.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET fsync")
        own_server.restart()


async def test_a_table_that_would_sort_otherwise_is_refused(url, execute):
    schema = url.partition("schema=")[2]
    execute(f"CREATE SCHEMA {schema}")
    for table in ("objects", "commits"):
        execute(f"CREATE TABLE {schema}.temporal_state_{table} (key text)")
    with pytest.raises(ConfigurationError, match="not one of ours"):
        await PostgresStore(url).open()


async def test_tokens_of_old_changes_go_and_those_of_new_ones_stay(postgres, url, execute):
    commits = f"{url.partition('schema=')[2]}.temporal_state_commits"
    await postgres.put("a.txt", b"1")
    execute(f"UPDATE {commits} SET time = now() - interval '2 hours'")
    await postgres.put("a.txt", b"2")
    table = postgres._opened.table
    table._link.once(lambda c: c.execute(table._sql.prune), "prune")
    assert execute(f"SELECT count(*) FROM {commits}").fetchone() == (1,)


async def test_a_forked_child_is_told_to_open_its_own(postgres):
    await postgres.put("a.txt", b"1")
    postgres._opened.pid += 1
    try:
        with pytest.raises(ConfigurationError, match="across a fork"):
            await postgres.get("a.txt")
    finally:
        postgres._opened.pid -= 1


FORKS = """
import asyncio, os, sys
from temporal_state.storage import PostgresStore

store = PostgresStore(sys.argv[1])

async def opened():
    await store.open()
    await asyncio.gather(*(store.put(f"{n}.txt", b"1") for n in range(8)))

async def child():
    await store.open()
    await store.put("child.txt", b"1")
    await store.close()

async def parent():
    print(len(await store.list()))
    await store.close()

asyncio.run(opened())
"""
FORKS += IN_A_FORK
FORKS += "asyncio.run(parent())\n"


async def test_a_store_opened_again_in_a_child_leaves_the_parents_connections_alone(url, children):
    assert await children.run(FORKS, url) == "9\n"


# Refusals


async def test_a_user_who_may_only_read_can_read(postgres, url, role, execute):
    await postgres.put("a.txt", b"1")
    schema, name = sql.Identifier(url.partition("schema=")[2]), sql.Identifier(role)
    execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
    execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(schema, name))
    reader = PostgresStore(url.replace("postgres@", f"{role}@"))
    await reader.open()
    assert (await reader.get("a.txt")).data == b"1"
    for call in (reader.put("a.txt", b"2"), reader.update("a.txt", bytes), reader.delete("a.txt")):
        with pytest.raises(StorePermissionError, match="GRANT"):
            await call
    await reader.close()


async def test_a_user_who_may_not_make_the_tables_is_told(url, role):
    with pytest.raises(StorePermissionError, match=r"permission denied.*GRANT"):
        await PostgresStore(url.replace("postgres@", f"{role}@")).open()


async def test_a_wrong_password_is_a_matter_of_permission(url, execute):
    execute("DROP ROLE IF EXISTS secretive")
    execute("CREATE ROLE secretive LOGIN PASSWORD 'right'")
    try:
        store = open_store(url.replace("postgres@", f"secretive:{SECRET}@"))
        with pytest.raises(StorePermissionError, match="check user, password") as caught:
            await store.open()
        assert_tells_no_secret(store, caught.value)
    finally:
        execute("DROP ROLE secretive")


@pytest.mark.parametrize(
    ("before", "after", "error", "match"),
    [
        ("/postgres?", "/nowhere?", ConfigurationError, "CREATE DATABASE"),
        ("postgres:", "nobody-known:", StorePermissionError, "check user"),
        ("127.0.0.1", "no-host.invalid", StoreError, "see that the server runs"),
        ("?", "?sslmode=require&", StoreError, "SSL"),
    ],
)
async def test_a_refused_connection_tells_why_and_no_secret(url, before, after, error, match):
    secretive = url.replace("postgres@", f"postgres:{SECRET}@").replace(before, after, 1)
    store = open_store(f"{secretive}&sslpassword={SECRET}")
    with pytest.raises(error, match=match) as caught:
        await store.open()
    assert_tells_no_secret(store, caught.value)


def assert_tells_no_secret(store: PostgresStore, error: BaseException) -> None:
    told = [store.url, repr(store), repr(store._address), str(error), repr(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        told += [str(error), repr(error)]
    assert not [text for text in told if SECRET in text]


async def test_no_secret_is_told_when_calls_fail(own_server):
    url = own_server.url.replace("postgres@", f"postgres:{SECRET}@")
    store = PostgresStore(url)
    await store.open()
    own_server.stop()
    try:
        with hurry(store), pytest.raises(StoreTimeoutError) as caught:
            await store.put("a.txt", b"1")
    finally:
        own_server.start()
    assert_tells_no_secret(store, caught.value)
    await store.close()
    with pytest.raises(StoreError) as caught:
        await store.get("a.txt")
    assert_tells_no_secret(store, caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.DiskFull, StoreFullError),
        (psycopg.errors.QueryCanceled, StoreTimeoutError),
        (psycopg.errors.InsufficientPrivilege, StorePermissionError),
        (psycopg.errors.ReadOnlySqlTransaction, StorePermissionError),
        (psycopg.errors.UndefinedTable, StoreError),
        (psycopg.errors.InternalError_, StoreError),
    ],
)
def test_each_kind_of_failure_has_its_error(error, expected):
    made = on_statement(error("reason"), "write 'a.txt'", "postgresql://host/db")
    assert type(made) is expected
    assert isinstance(made, StateError)
    assert "write 'a.txt'" in str(made)


async def test_a_dropped_table_is_an_error_and_never_an_absent_object(postgres, url, execute):
    execute(f"DROP TABLE {url.partition('schema=')[2]}.temporal_state_objects")
    with pytest.raises(StoreError, match="Open the store again"):
        await postgres.get("a.txt")
    await postgres.close()
    await postgres.open()
    assert await postgres.get("a.txt") is None


# URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://u:pw@host:5433/db", "postgresql://u@host:5433/db"),
        ("postgresql://u:p%40w@h1:1,h2:2/db", "postgresql://u@h1:1,h2:2/db"),
        ("postgresql://:pw@host/db", "postgresql://host/db"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("postgresql://u@%2Frun%2Fpg/db", "postgresql://u@%2Frun%2Fpg/db"),
        ("postgresql://u@h/db?schema=s&password=pw", "postgresql://u@h/db?schema=s"),
        (
            "postgresql://u@h/db?p%61ssword=pw&sslmode=require",
            "postgresql://u@h/db?sslmode=require",
        ),
        ("POSTGRESQL://h/db?sslpassword=pw", "postgresql://h/db"),
    ],
)
def test_a_url_is_shown_without_secrets_and_leads_back(url, shown):
    store = open_store(url)
    assert isinstance(store, PostgresStore)
    assert store.url == shown
    assert open_store(shown).url == shown
    assert "pw" not in repr(store)


def test_parameters_of_libpq_pass_through():
    store = PostgresStore("postgresql://u:p%40w@h1,h2/db?sslmode=verify-full&connect_timeout=3")
    given = psycopg.conninfo.conninfo_to_dict(store._address.conninfo)
    assert given["password"] == "p@w"
    assert (given["host"], given["sslmode"]) == ("h1,h2", "verify-full")
    assert str(given["connect_timeout"]) == "3"


@pytest.mark.parametrize("options", [{"connections": 0}, {"timeout": timedelta(0)}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigurationError, match="positive"):
        PostgresStore("postgresql://host/db", **options)


async def test_without_the_driver_only_this_store_is_missing_and_names_the_extra(children):
    program = """
import sys
import temporal_state
from temporal_state.storage import open_store
open_store("memory://")
assert "psycopg" not in sys.modules
sys.modules["psycopg"] = None
try:
    open_store("postgresql://host/db")
except RuntimeError as error:
    print(type(error).__name__, error)
"""
    told = await children.run(program, fresh=True)
    assert told.startswith("ConfigurationError")
    assert "pip install 'temporal-state[postgresql]'" in told
