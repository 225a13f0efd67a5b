"""Keys with a lifetime, system state, and what is deleted with an execution; on every store."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from temporal_state import (
    InvalidDocumentError,
    InvalidValueError,
    Limits,
    StateBackend,
    StoreError,
    TooLargeError,
)
from temporal_state.documents import Caller, Token
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def skip(self, time):
        self.now += time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path, clock):
    url = "memory://" if request.param == "memory" else tmp_path / "root"
    async with StateBackend.open(url, clock=clock) as opened:
        yield opened


VALUES = [None, True, 0, -1, 1.5, "", "text", [], {}, {"value": 1}, {"base64": "eA=="}, [{"a": 1}]]
BYTES = [b"", b"\0", bytes(range(256)), bytearray(b"x"), memoryview(b"y")]


@pytest.mark.parametrize(
    "value", [*VALUES, *BYTES], ids=lambda value: repr(value).partition(" at 0x")[0]
)
async def test_a_key_holds_any_json_value_and_bytes(backend, value):
    await backend.keys.set("k", value)
    found = await backend.keys.get("k")
    assert found == value
    assert isinstance(found, bytes) == (value in BYTES and not isinstance(value, str))
    assert await backend.keys.exists("k")


@pytest.mark.parametrize(
    "value",
    [float("nan"), 2**64, {1: 2}, {1, 2}, object()],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
async def test_what_json_cannot_hold_is_no_value(backend, value):
    with pytest.raises(InvalidValueError):
        await backend.keys.set("k", value)
    assert await backend.store.list() == []


@pytest.mark.parametrize("packed", [{"base64": "!"}, {"base64": 1}, {"a": 1}, {"value": 1, "a": 2}])
async def test_a_packed_value_of_another_worker_is_checked(backend, packed):
    with pytest.raises(InvalidValueError):
        await backend.keys.put("k", packed)


async def test_a_missing_key_is_none(backend):
    assert await backend.keys.get("k") is None
    assert not await backend.keys.exists("k")
    assert not await backend.keys.delete("k")
    assert (await backend.keys.list()).ids == []


async def test_a_deleted_key_is_gone_and_can_come_back(backend):
    await backend.keys.set("k", 1)
    assert await backend.keys.delete("k")
    assert not await backend.keys.delete("k")
    assert await backend.keys.get("k") is None
    await backend.keys.set("k", 2)
    assert await backend.keys.get("k") == 2


async def test_an_expired_key_is_gone_for_every_reader(backend, clock):
    await backend.keys.set("k", 1, ttl=HOUR)
    clock.skip(HOUR - timedelta(microseconds=1))
    assert await backend.keys.get("k") == 1
    clock.skip(timedelta(microseconds=1))
    assert await backend.keys.get("k") is None
    assert not await backend.keys.exists("k")
    assert (await backend.keys.list()).ids == []
    assert not await backend.keys.delete("k")


async def test_setting_a_key_again_replaces_its_lifetime(backend, clock):
    await backend.keys.set("k", 1, ttl=HOUR)
    await backend.keys.set("k", 2)
    clock.skip(2 * HOUR)
    assert await backend.keys.get("k") == 2


async def test_a_key_expires_by_its_callers_clock(backend):
    later = backend.keys_for(Caller(START + 2 * HOUR))
    await backend.keys.set("k", 1, ttl=HOUR)
    assert await backend.keys.get("k") == 1
    assert await later.get("k") is None
    await later.set("k", 2, ttl=HOUR)
    assert await backend.keys.get("k") == 2


@pytest.mark.parametrize("ttl", [timedelta(), -HOUR, timedelta(days=400_000)])
async def test_a_lifetime_is_positive_and_finite(backend, ttl):
    with pytest.raises(InvalidValueError):
        await backend.keys.set("k", 1, ttl=ttl)


async def test_keys_are_listed_by_prefix_a_page_at_a_time(backend):
    names = sorted(f"exec:{n}:var:{name}" for n in (1, 10) for name in ("a", "b", "c"))
    for name in names:
        await backend.keys.set(name, 1)
    page = await backend.keys.list("exec:1:", limit=2)
    rest = await backend.keys.list("exec:1:", limit=2, cursor=page.cursor)
    assert page.ids + rest.ids == [name for name in names if name.startswith("exec:1:")]
    assert rest.cursor is None


async def test_a_change_that_is_repeated_is_applied_once(backend):
    for change in (
        lambda keys: keys.set("k", "mine"),
        lambda keys: keys.delete("k"),
    ):
        first = backend.keys_for(Caller(START, Token(repr(change), START)))
        await change(first)
        await backend.keys.set("k", "another's")
        await change(first)
        assert await backend.keys.get("k") == "another's"


async def test_writers_of_different_keys_never_meet(backend):
    await asyncio.gather(*(backend.keys.set(f"k-{n}", n) for n in range(50)))
    assert [await backend.keys.get(f"k-{n}") for n in range(50)] == [*range(50)]


async def test_a_key_over_the_limit_is_refused_with_both_sizes(clock):
    async with StateBackend.open("memory://", limits=Limits(document_bytes=100)) as backend:
        with pytest.raises(TooLargeError, match="limit is 100"):
            await backend.keys.set("k", bytes(100))
        assert await backend.keys.get("k") is None


async def test_an_unreadable_store_is_an_error_and_no_missing_key():
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store) as backend:
        await backend.keys.set("k", 1)
        store.error = StoreError("the disk is gone")
        for call in (
            backend.keys.get("k"),
            backend.keys.exists("k"),
            backend.keys.list(),
            backend.keys.expire(),
            backend.keys.purge(),
            backend.system.get("k"),
            backend.delete_execution_state("k"),
            backend.documents.types(),
        ):
            with pytest.raises(StoreError, match="the disk is gone"):
                await call


# Expiry and cleanup.


async def test_maintenance_takes_away_what_has_expired_and_says_how_much(backend, clock):
    for n in range(5):
        await backend.keys.set(f"short-{n}", "gone", ttl=HOUR)
    await backend.keys.set("long", 1, ttl=3 * HOUR)
    await backend.keys.set("for-ever", 1)
    assert await backend.keys.expire() == 0
    clock.skip(2 * HOUR)
    assert await backend.keys.expire(limit=2) == 2
    assert await backend.keys.expire() == 3
    assert await backend.keys.expire() == 0
    assert len(await backend.store.list()) == 2
    assert await backend.keys.expire(clock.now + HOUR) == 1


async def test_an_expired_key_keeps_its_tokens_but_not_its_value(backend, clock):
    once = backend.keys_for(Caller(START, Token("step", START)))
    await once.set("k", "the value", ttl=HOUR)
    clock.skip(2 * HOUR)
    assert await backend.keys.expire() == 1
    assert await backend.keys.expire() == 0
    [key] = await backend.store.list()
    assert b"the value" not in (await backend.store.get(key)).data
    await once.set("k", "the value", ttl=HOUR)  # the same change, repeated late
    assert await backend.keys.get("k") is None
    clock.skip(timedelta(hours=24))
    assert await backend.keys.purge() == 1
    assert await backend.store.list() == []


async def test_a_tombstone_is_purged_only_after_the_retry_horizon(backend, clock):
    await backend.documents.set("a", "k", 1)
    await backend.documents.set("b", "k", 1, "mine")
    await backend.documents.replace("c", {"k": 1}, ttl=HOUR)
    await backend.documents.set("living", "k", 1, ttl=HOUR)
    await backend.documents.delete("a")
    await backend.documents.delete("b", "mine")
    clock.skip(timedelta(hours=23))
    assert await backend.documents.purge() == 0
    clock.skip(HOUR)
    assert await backend.documents.purge("workflows") == 1
    assert await backend.documents.purge() == 1  # that of the other type
    clock.skip(HOUR)
    assert await backend.documents.purge() == 1  # what had expired an hour after its write
    assert await backend.documents.purge() == 0
    assert (await backend.documents.list()).ids == ["living"]
    assert len(await backend.store.list()) == 1


async def test_a_change_keeps_its_tombstone_for_the_whole_horizon(backend, clock):
    await backend.documents.set("a", "k", 1)
    await backend.documents.delete("a")
    clock.skip(timedelta(hours=20))
    late = backend.documents_for(Caller(clock.now, Token("late", START)))
    assert not await late.delete("a")
    clock.skip(timedelta(hours=20))
    assert await backend.documents.purge() == 0
    clock.skip(timedelta(hours=4))
    assert await backend.documents.purge() == 1


async def test_a_purge_within_the_horizon_is_refused(backend):
    with pytest.raises(InvalidValueError, match="retry_horizon"):
        await backend.documents.purge("workflows", older_than=HOUR)
    with pytest.raises(InvalidValueError, match="retry_horizon"):
        await backend.keys.purge(older_than=HOUR)


async def test_a_document_that_comes_back_during_a_purge_is_not_lost(backend, clock, monkeypatch):
    await backend.documents.set("a", "k", 1)
    await backend.documents.delete("a")
    await backend.keys.set("k", 1, ttl=HOUR)
    clock.skip(timedelta(hours=30))
    removes = backend.store.delete_if_match

    async def revived_in_between(key, etag):
        await backend.documents.set("a", "k", "new")
        await backend.keys.set("k", "new")
        return await removes(key, etag)

    monkeypatch.setattr(backend.store, "delete_if_match", revived_in_between)
    assert await backend.documents.purge() == 0
    assert await backend.keys.expire() == 0
    assert await backend.documents.get("a") == {"k": "new"}
    assert await backend.keys.get("k") == "new"


async def test_a_store_that_cannot_remove_on_a_condition_keeps_its_tombstones(clock):
    class Plain:
        """A store without the capability."""

        def __init__(self):
            inner = MemoryStore()
            for name in ("open", "close", "get", "head", "put", "update", "delete", "list", "url"):
                setattr(self, name, getattr(inner, name))

    async with StateBackend.open(Plain(), clock=clock) as backend:
        await backend.keys.set("k", "the value", ttl=HOUR)
        clock.skip(timedelta(hours=30))
        assert await backend.keys.expire() == 1
        [key] = await backend.store.list()
        assert b"the value" not in (await backend.store.get(key)).data
        assert await backend.keys.purge() == 0


async def test_files_of_other_tools_and_damaged_ones_are_never_cleaned_away(backend, clock):
    for id, data in (("plain", b'{"a": 1}'), ("damaged", b"{")):
        await backend.store.put(backend.layout.document(id, "workflows").key, data)
        await backend.store.put(backend.layout.keys.address(id).key, data)
    clock.skip(timedelta(days=1000))
    assert await backend.documents.purge() + await backend.keys.purge() == 0
    assert await backend.keys.expire() == 0
    assert len(await backend.store.list()) == 4


async def test_the_types_that_have_documents_are_known(backend):
    await backend.keys.set("k", 1)
    for type in ("b-type", "workflows", "a", "b"):
        for n in range(3):
            await backend.documents.set(f"{n}", "k", 1, type)
    assert sorted(await backend.documents.types()) == ["a", "b", "b-type", "workflows"]


# System state.


async def test_system_state_has_a_value_and_the_time_of_its_last_change(backend, clock):
    assert await backend.system.get("orders") is None
    await backend.system.set("orders", {"offset": 7})
    clock.skip(HOUR)
    await backend.system.set("orders", {"offset": 8})
    found = await backend.system.get("orders")
    assert (found.value, found.updated_at) == ({"offset": 8}, START + HOUR)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value).partition(" at 0x")[0])
async def test_system_state_holds_any_json_value(backend, value):
    await backend.system.set("k", value)
    assert (await backend.system.get("k")).value == value


async def test_the_callers_value_is_never_aliased(backend):
    mine = {"list": [1]}
    await backend.system.set("k", mine)
    await backend.keys.set("k", mine)
    mine["list"].append(2)
    (await backend.system.get("k")).value["list"].append(3)
    (await backend.keys.get("k"))["list"].append(3)
    assert (await backend.system.get("k")).value == {"list": [1]}
    assert await backend.keys.get("k") == {"list": [1]}


async def test_system_state_is_documents_of_its_type(backend):
    await backend.system.set("k", 1)
    assert await backend.documents.get("k", "system") == {"value": 1}
    await backend.documents.replace("odd", {"other": 1}, "system")
    with pytest.raises(InvalidDocumentError, match="system/odd"):
        await backend.system.get("odd")


# All state of an execution.


async def test_an_execution_is_deleted_with_all_that_is_named_for_it_and_no_more(backend):
    names = ["exec:1", "exec:1:var:a", "exec:1:var:b", "exec:1:cp"]
    others = ["exec:10", "exec:10:var:a", "exec:", "exec", "exec:1x:a", "Exec:1:a", "x:exec:1:a"]
    for name in names + others:
        await backend.keys.set(name, 1)
    for id in ("1", "10"):
        await backend.documents.set(id, "k", 1)
        await backend.documents.set(id, "k", 1, "mine")
    deleted = await backend.delete_execution_state("1")
    assert (deleted.documents, deleted.keys) == (1, 4)
    assert sorted((await backend.keys.list()).ids) == sorted(others)
    assert (await backend.documents.list()).ids == ["10"]
    assert sorted((await backend.documents.list("mine")).ids) == ["1", "10"]
    again = await backend.delete_execution_state("1")
    assert (again.documents, again.keys) == (0, 0)


async def test_which_types_and_keys_belong_to_an_execution_can_be_said(backend):
    await backend.documents.set("1", "k", 1, "mine")
    await backend.keys.set("run/{1}/1:a", 1)
    await backend.keys.set("exec:1:a", 1)
    deleted = await backend.delete_execution_state(
        "1", types=["workflows", "mine"], key_prefix="run/{1}/{id}"
    )
    assert (deleted.documents, deleted.keys) == (1, 1)
    assert (await backend.keys.list()).ids == ["exec:1:a"]


async def test_an_execution_of_many_keys_is_deleted_as_a_whole(backend):
    await asyncio.gather(*(backend.keys.set(f"exec:1:{n}", n) for n in range(250)))
    assert (await backend.delete_execution_state("1")).keys == 250
    assert (await backend.keys.list()).ids == []


async def test_tenants_see_nothing_of_each_other(backend):
    tenants = [StateBackend.open(backend.store, tenant=name) for name in ("one", "two")]
    for tenant in tenants:
        await tenant.keys.set("exec:1:a", tenant.layout.tenant)
        await tenant.system.set("k", tenant.layout.tenant)
    await tenants[0].delete_execution_state("1")
    assert await tenants[1].keys.get("exec:1:a") == "two"
    assert (await tenants[0].system.get("k")).value == "one"
    assert await backend.system.get("k") is None


async def test_a_time_without_a_zone_is_refused(backend):
    with pytest.raises(InvalidValueError, match="time zone"):
        await backend.keys.expire(datetime(2026, 5, 1))  # noqa: DTZ001 that is the point
