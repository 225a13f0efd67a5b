"""Buckets on a network that loses requests and replies, and servers that do not keep their word."""

import asyncio
import secrets
import socket
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import obstore
import pytest
from object_servers import (
    BUCKET,
    CONFLICT,
    HOLD,
    HOST,
    LOSE_REPLY,
    LOSE_REQUEST,
    PASS,
    RELEASE,
    SERVERS,
    STRIP,
    InBucket,
    Proxy,
    SeaweedFS,
)

from temporal_state import StateBackend
from temporal_state.errors import (
    ConfigurationError,
    ConflictError,
    StoreError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.storage import ObjectStorage

KEY = "shared/log.txt"


def line(name):
    """A change that appends a numbered line: the number shows gaps, the name what came twice."""

    def change(data):
        lines = (data or b"").splitlines(keepends=True)
        return b"".join([*lines, f"{len(lines) + 1} {name}\n".encode()])

    return change


def assert_each_once(data, names):
    lines = [text.split() for text in data.decode().splitlines()]
    assert [int(number) for number, _ in lines] == [*range(1, len(lines) + 1)]
    assert sorted(name for _, name in lines) == sorted(names)


@pytest.fixture(params=SERVERS)
def server(request):
    return request.getfixturevalue(SERVERS[request.param])


@pytest.fixture
def proxy(server):
    made = Proxy(server.port)
    yield made
    made.stop()


@pytest.fixture
def s3_proxy(seaweedfs):
    made = Proxy(seaweedfs.port)
    yield made
    made.stop()


def made(server, place, *, timeout=timedelta(seconds=60), **client):
    url = f"{server.scheme}://{BUCKET}/{place}"
    return ObjectStorage(url, client=server.client(place, **client), timeout=timeout)


@asynccontextmanager
async def opened(server, place, **options):
    store = made(server, place, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def environment(monkeypatch, seaweedfs, place):
    """The URL of a place on the S3 server, whose credentials are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.KEYS[1])
    return f"s3://{BUCKET}/{place}?endpoint={seaweedfs.endpoint}&region=us-east-1"


# -- many writers --------------------------------------------------------------------------------


async def append(store, writer, changes):
    for n in range(changes):
        await store.update(KEY, line(f"{writer}-{n}"))


async def append_from_instances(server, place, *, instances, tasks, changes, **options):
    stores = [made(server, place, **options) for _ in range(instances)]
    await asyncio.gather(*(store.open() for store in stores))
    writers = [(store, f"{i}-{t}") for i, store in enumerate(stores) for t in range(tasks)]
    await asyncio.gather(*(append(store, name, changes) for store, name in writers))
    await asyncio.gather(*(store.close() for store in stores))
    return [f"{name}-{n}" for _, name in writers for n in range(changes)]


async def test_no_change_of_32_writers_in_8_instances_is_lost_or_made_twice(server, place):
    names = await append_from_instances(server, place, instances=8, tasks=4, changes=4)
    assert_each_once(InBucket(server, place).get(KEY), names)


# -- lost requests and replies -------------------------------------------------------------------


def every(count, action):
    """Do it to each ``count``-th write; what is held goes out just ahead of the next one."""
    writes = iter(range(1, 1_000_000))
    actions = {0: action, 1: RELEASE if action == HOLD else PASS}
    return lambda method, _path: (
        actions.get(next(writes) % count, PASS) if method == "PUT" else PASS
    )


@pytest.mark.parametrize("loss", [LOSE_REPLY, LOSE_REQUEST, HOLD])
async def test_each_change_is_made_once_whatever_gets_lost(server, place, proxy, loss):
    stores = [made(server, place, port=proxy.port) for _ in range(3)]
    await asyncio.gather(*(store.open() for store in stores))
    proxy.behaviour = every(3, loss)
    writers = [(store, f"{i}-{t}") for i, store in enumerate(stores) for t in range(2)]
    await asyncio.gather(*(append(store, name, 5) for store, name in writers))
    proxy.behaviour = lambda *_: PASS
    await asyncio.gather(*(store.close() for store in stores))
    proxy.release()
    assert proxy.count > 3
    names = [f"{name}-{n}" for _, name in writers for n in range(5)]
    assert_each_once(InBucket(server, place).get(KEY), names)


async def test_a_lost_reply_is_known_though_others_have_written_since(server, place, proxy):
    async with opened(server, place, port=proxy.port) as store, opened(server, place) as other:
        proxy.behaviour = every(1, LOSE_REPLY)
        loop = asyncio.get_running_loop()

        def once(method, path):
            if method == "GET":  # the look that follows the lost reply
                proxy.behaviour = lambda *_: PASS
                for n in range(3):
                    later = other.update(KEY, line(f"other-{n}"))
                    asyncio.run_coroutine_threadsafe(later, loop).result(10)
                return PASS
            return LOSE_REPLY

        def first_read(method, path):
            proxy.behaviour = once
            return PASS

        proxy.behaviour = first_read
        await store.update(KEY, line("first"))
    found = InBucket(server, place).get(KEY)
    assert found == b"1 first\n2 other-0\n3 other-1\n4 other-2\n"


async def test_a_first_try_that_arrives_late_stores_what_the_caller_was_told(server, place, proxy):
    told = []

    def change(_data):
        told.append(secrets.token_hex(8).encode())
        return told[-1]

    async with opened(server, place, port=proxy.port) as store:
        for _ in range(3):
            proxy.behaviour = every(2, HOLD)
            await store.update(KEY, change)
            await store.update(KEY, change)
            assert proxy.held == []
            assert InBucket(server, place).get(KEY) == told[-1]
    assert proxy.count > 2


@pytest.mark.parametrize("loss", [LOSE_REPLY, LOSE_REQUEST])
async def test_conditional_puts_are_told_the_truth(server, place, proxy, loss):
    async with opened(server, place, port=proxy.port) as store:
        proxy.behaviour = every(2, loss)
        etag = await store.put("a.json", b"0", if_absent=True)
        for n in range(1, 8):
            etag = await store.put("a.json", b"%d" % n, if_match=etag)
            with pytest.raises(ConflictError):
                await store.put("a.json", b"again", if_absent=True)
        assert proxy.count > 2
        assert (await store.get("a.json")).data == b"7"
        assert (await store.get("a.json")).etag == etag


async def test_reads_listings_and_deletions_survive_lost_replies(server, place, proxy):
    async with opened(server, place, port=proxy.port) as store:
        requests = iter(range(1_000_000))
        proxy.behaviour = lambda *_: PASS if next(requests) % 2 else LOSE_REPLY
        await store.put("a/b.json", b"1")
        assert (await store.get("a/b.json")).data == b"1"
        assert (await store.head("a/b.json")).size == 1
        assert await store.list("a/") == ["a/b.json"]
        assert await store.delete("a/b.json") is True
        assert await store.get("a/b.json") is None
        assert proxy.count > 4


async def test_a_conflict_with_another_create_is_not_taken_for_an_existing_object(
    seaweedfs, place, s3_proxy
):
    async with opened(seaweedfs, place, port=s3_proxy.port) as store:
        answers = iter([CONFLICT, CONFLICT, PASS])
        s3_proxy.behaviour = lambda method, _path: next(answers) if method == "PUT" else PASS
        await store.put("a.json", b"1", if_absent=True)
    assert s3_proxy.count == 2
    assert InBucket(seaweedfs, place).get("a.json") == b"1"


async def test_bytes_that_were_replaced_within_their_commit_have_no_etag_that_matches(
    seaweedfs, place
):
    async with opened(seaweedfs, place) as store:
        committer = store._opened.committer
        put, receipt = committer.putting("a.json", b"1", if_match=None, if_absent=True)
        last, last_receipt = committer.putting("a.json", b"2", if_match=None, if_absent=False)
        committer.commit({"a.json": lambda data: last(put(data))})
        assert receipt.etag is None
        assert (await store.get("a.json")).etag == last_receipt.etag


# -- opening -------------------------------------------------------------------------------------


async def test_opening_leaves_nothing_behind(server, place):
    async with opened(server, place):
        pass
    assert [*obstore.list(server.client(place))] == []


async def test_a_server_that_ignores_conditions_is_refused(seaweedfs, place, s3_proxy):
    s3_proxy.behaviour = lambda method, _path: STRIP if method == "PUT" else PASS
    store = made(seaweedfs, place, port=s3_proxy.port, keys=None)  # a signature covers headers
    with pytest.raises(ConfigurationError, match="ignores the condition"):
        await store.open()
    with pytest.raises(StoreError, match="closed"):
        await store.get("a.json")
    assert [*obstore.list(seaweedfs.client(place))] == []


async def test_a_missing_bucket_is_a_configuration_error(server, place):
    store = ObjectStorage(f"{server.scheme}://nobody", client=server.client("", bucket="nobody"))
    with pytest.raises(ConfigurationError, match="no such bucket"):
        await store.open()


async def test_a_bucket_that_is_gone_is_never_an_empty_answer(server, place):
    async with opened(server, place) as store:
        store._opened._bucket._client = server.client(place, bucket="nobody")
        for call in (
            store.get("a.json"),
            store.head("a.json"),
            store.put("a.json", b""),
            store.update("a.json", lambda _: b""),
            store.delete("a.json"),
            store.list(),
        ):
            with pytest.raises(ConfigurationError, match="no such bucket"):
                await call


async def test_missing_permission_is_said_at_once(seaweedfs, place):
    store = made(seaweedfs, place, keys=SeaweedFS.READER)
    with pytest.raises(StorePermissionError, match="must allow") as caught:
        await store.open()
    assert "secret" not in f"{caught.value!r} {caught.value.__context__!r}"
    async with opened(seaweedfs, place) as store:
        store._opened._bucket._client = seaweedfs.client(place, keys=SeaweedFS.READER)
        assert await store.get("a.json") is None
        for call in (store.put("a.json", b""), store.update("a.json", lambda _: b"")):
            with pytest.raises(StorePermissionError):
                await call


async def test_a_wrong_azure_key_is_said_at_once(azurite, place):
    wrong = "d3Jvbmctc2VjcmV0"
    with pytest.raises(StorePermissionError) as caught:
        await made(azurite, place, key=wrong).open()
    assert wrong not in str(caught.value)


async def test_a_server_that_does_not_answer_takes_bounded_time(monkeypatch, place):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    for backlog in (0, 1):  # one refuses connections, the other takes them and is silent
        silent = socket.create_server((HOST, 0))
        port = silent.getsockname()[1]
        if not backlog:
            silent.close()
        url = f"s3://{BUCKET}/{place}?endpoint=http://{HOST}:{port}&region=us-east-1"
        start = time.monotonic()
        with pytest.raises(StoreTimeoutError, match="gave up after") as caught:
            await ObjectStorage(url, timeout=timedelta(seconds=0.6)).open()
        assert time.monotonic() - start < 10
        assert "s3cret" not in str(caught.value)
        silent.close()


async def test_closing_waits_for_calls_in_flight(server, place):
    store = made(server, place)
    await store.open()
    updates = [asyncio.ensure_future(store.update(KEY, line(str(n)))) for n in range(10)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*updates)
    assert_each_once(InBucket(server, place).get(KEY), map(str, range(10)))


FORK = """
import asyncio, os, sys
from temporal_state.errors import ConfigurationError
from temporal_state.storage import open_store

async def use(store, url):
    for call in (store.get("a.json"), open_store(url).open()):
        try:
            await call
        except ConfigurationError as error:
            print("forked" in str(error), flush=True)
    await store.close()

async def main(url):
    store = open_store(url)
    await store.open()
    return store

store = asyncio.run(main(sys.argv[1]))
if (child := os.fork()) == 0:
    asyncio.run(use(store, sys.argv[1]))
    os._exit(0)
os.waitpid(child, 0)
asyncio.run(store.close())
"""


async def test_a_forked_process_is_told_instead_of_left_hanging(environment, children):
    assert (await children.run(FORK, environment)).split() == ["True", "True"]


MISSING = """
import sys
sys.modules["obstore"] = None
from temporal_state.errors import ConfigurationError
from temporal_state.storage import open_store
try:
    open_store("s3://bucket/prefix")
except ConfigurationError as error:
    print(error)
"""


async def test_the_extra_is_named_when_it_is_missing(children):
    assert "pip install 'temporal-state[object-storage]'" in await children.run(MISSING, fresh=True)


def test_the_place_of_a_document_in_a_bucket_is_a_url():
    backend = StateBackend.open("s3://bucket/prefix?region=eu-central-1", app="billing")
    path = backend.path("order-7", "workflows")
    assert path.startswith("s3://bucket/prefix/")
    assert path.endswith("/billing/workflows/order-7/config.json?region=eu-central-1")


# -- listing -------------------------------------------------------------------------------------


async def test_a_page_starts_where_it_is_asked_to(seaweedfs, place, s3_proxy):
    """Servers that list folder by folder are read whole; here we pretend that this one does not."""
    async with opened(seaweedfs, place, port=s3_proxy.port) as store:
        for n in range(20):
            await store.put(f"log/{n:03}.json", b"")
        asked = []
        s3_proxy.behaviour = lambda _method, path: asked.append(path) or PASS
        store._opened._in_order = True
        assert await store.list("log/", after="log/016.json", limit=2) == [
            "log/017.json",
            "log/018.json",
        ]
        assert await store.list("log/01", limit=1) == ["log/010.json"]
        assert [path for path in asked if "start-after" not in path] == []
        assert any("log%2F016.json" in path for path in asked)


async def test_what_others_keep_in_the_bucket_is_not_listed(server, place, raw_names):
    async with opened(server, place) as store:
        for name in raw_names:
            obstore.put(server.client(place), name, b"")
        await store.put("a/b.json", b"")
        assert await store.list() == ["a/b.json"]
        assert await store.list("a") == ["a/b.json"]


@pytest.fixture
def raw_names():
    return ["README", "a/.hidden", "a/UPPER.json", ".temporal-state-probe-0/a/x"]
