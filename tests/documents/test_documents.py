"""Documents: each operation, on every store, as a caller sees it."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from pydantic import BaseModel

from temporal_state import (
    DamagedObjectError,
    InvalidDocumentError,
    InvalidValueError,
    Limits,
    StateBackend,
    StateType,
    TokenExpiredError,
    TooLargeError,
)
from temporal_state.documents import Caller, Token

W = StateType.WORKFLOWS
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "store"
    async with StateBackend.open(url, app="tests") as opened:
        yield opened


@pytest.fixture
def documents(backend):
    return backend.documents


@pytest.fixture
async def in_memory():
    """For what takes hundreds of changes, and is the same in every store."""
    async with StateBackend.open("memory://", app="tests") as opened:
        yield opened.documents


def key_of(backend, id="a", type="workflows"):
    return backend.layout.document(id, type).key


async def raw(backend, id="a"):
    found = await backend.store.get(key_of(backend, id))
    return orjson.loads(found.data)


async def test_an_absent_document_is_empty(documents):
    assert await documents.get("a") == {}
    assert await documents.read("a") is None
    assert not await documents.exists("a")


async def test_merge_sets_keys_and_keeps_the_others(documents):
    assert await documents.merge("a", {"x": 1, "y": {"z": 1}}) == {"x": 1, "y": {"z": 1}}
    assert await documents.merge("a", {"y": 2}) == {"x": 1, "y": 2}
    assert await documents.get("a") == {"x": 1, "y": 2}


async def test_set_sets_one_key_and_returns_nothing(documents):
    assert await documents.set("a", "k", [1, None]) is None
    assert await documents.get("a") == {"k": [1, None]}


async def test_replace_makes_the_value_the_whole(documents):
    await documents.merge("a", {"x": 1})
    assert await documents.replace("a", {"y": 2}) == {"y": 2}
    assert await documents.get("a") == {"y": 2}


async def test_delete_is_idempotent_and_says_whether_there_was_one(documents):
    await documents.merge("a", {"x": 1})
    assert await documents.delete("a") is True
    assert await documents.delete("a") is False
    assert await documents.get("a") == {}
    assert not await documents.exists("a")


async def test_a_document_made_again_starts_empty_and_keeps_counting(documents):
    await documents.merge("a", {"x": 1})
    await documents.delete("a")
    assert await documents.merge("a", {"y": 1}) == {"y": 1}
    assert (await documents.read("a")).version == 3


async def test_the_version_grows_by_one_with_each_change(documents):
    for version in range(1, 6):
        await documents.set("a", "k", version)
        assert (await documents.read("a")).version == version


async def test_equal_content_never_has_equal_bytes(backend, documents):
    await documents.replace("a", {"x": 1})
    first = await backend.store.get(key_of(backend))
    await documents.replace("a", {"x": 1})
    assert (await backend.store.get(key_of(backend))).etag != first.etag


async def test_the_object_is_the_plain_state_with_one_reserved_key_at_its_end(backend, documents):
    await documents.merge("a", {"status": "loading", "total": 3})
    stored = await raw(backend)
    assert list(stored) == ["status", "total", "$temporal_state"]
    meta = stored["$temporal_state"]
    assert (meta["schema"], meta["id"], meta["type"], meta["version"]) == (1, "a", "workflows", 1)
    assert meta["created"] == meta["updated"]
    assert meta["created"].endswith("Z")


async def test_a_file_of_another_tool_is_version_0_and_read_on(backend, documents):
    await backend.store.put(key_of(backend), b'{"mine": true}')
    document = await documents.read("a")
    assert (document.value, document.version) == ({"mine": True}, 0)
    assert await documents.merge("a", {"x": 1}) == {"mine": True, "x": 1}
    assert (await documents.read("a")).version == 1


async def test_concurrent_merges_all_arrive(documents):
    await asyncio.gather(*(documents.merge("a", {f"k{n}": n}) for n in range(100)))
    document = await documents.read("a")
    assert document.value == {f"k{n}": n for n in range(100)}
    assert document.version == 100


async def test_a_key_expires_on_the_callers_clock(documents):
    at = lambda time: documents.on_behalf_of(Caller(now=time))  # noqa: E731
    await at(NOON).set("a", "short", 1, ttl=timedelta(hours=1))
    await at(NOON).set("a", "long", 2)
    assert await at(NOON + timedelta(minutes=59)).get("a") == {"short": 1, "long": 2}
    assert await at(NOON + timedelta(hours=1)).get("a") == {"long": 2}


async def test_a_key_set_again_without_a_lifetime_stays(documents):
    at = lambda time: documents.on_behalf_of(Caller(now=time))  # noqa: E731
    await at(NOON).set("a", "k", 1, ttl=timedelta(hours=1))
    await at(NOON).set("a", "k", 2)
    assert await at(NOON + timedelta(days=1)).get("a") == {"k": 2}


async def test_a_whole_document_expires(documents):
    at = lambda time: documents.on_behalf_of(Caller(now=time))  # noqa: E731
    await at(NOON).replace("a", {"x": 1}, ttl=timedelta(hours=1))
    later = at(NOON + timedelta(hours=1))
    assert await later.get("a") == {}
    assert not await later.exists("a")
    assert (await later.list()).ids == []
    assert await later.merge("a", {"y": 1}) == {"y": 1}


@pytest.mark.parametrize("ttl", [timedelta(), timedelta(seconds=-1)])
async def test_a_lifetime_must_be_positive(documents, ttl):
    with pytest.raises(ValueError, match="not positive"):
        await documents.set("a", "k", 1, ttl=ttl)


async def test_listing_gives_ids_by_prefix_in_pages_and_leaves_out_the_deleted(documents):
    ids = ["a", "a/b", "Ab", "b", "é", "order-1", "order-10", "order-2", ".dot"]
    for id in ids:
        await documents.set(id, "k", 1)
    await documents.set("gone", "k", 1)
    await documents.delete("gone")
    await documents.set("other-type", "k", 1, "mine")
    found, cursor = [], None
    while True:
        page = await documents.list(limit=2, cursor=cursor)
        assert len(page.ids) <= 2
        found += page.ids
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(ids)
    assert (await documents.list(prefix="order-1")).ids == ["order-1", "order-10"]
    assert (await documents.list(prefix="A")).ids == ["Ab"]
    assert (await documents.list("mine")).ids == ["other-type"]
    assert (await documents.list("nothing")).ids == []


async def test_listing_finds_ids_that_are_too_long_for_their_key(documents):
    ids = [f"{'x' * 150}{n}{'y' * 150}" for n in range(3)]
    for id in ids:
        await documents.set(id, "k", 1)
    assert sorted((await documents.list()).ids) == ids
    assert (await documents.list(prefix=f"{'x' * 150}1")).ids == [ids[1]]
    assert await documents.get(ids[2]) == {"k": 1}


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_a_limit(documents, limit):
    with pytest.raises(InvalidValueError, match="limit"):
        await documents.list(limit=limit)


@pytest.mark.parametrize("cursor", ["../x", "a/b", "\0"])
async def test_a_forged_cursor_leads_nowhere(documents, cursor):
    with pytest.raises(InvalidValueError, match="cursor"):
        await documents.list(cursor=cursor)


async def test_the_reserved_key_cannot_be_written(documents):
    with pytest.raises(InvalidValueError, match="reserved"):
        await documents.set("a", "$temporal_state", 1)
    with pytest.raises(InvalidValueError, match="reserved"):
        await documents.merge("a", {"$temporal_state": {}})


async def test_an_oversized_document_is_refused_with_both_sizes(tmp_path):
    limits = Limits(document_bytes=1000)
    async with StateBackend.open(tmp_path, limits=limits) as backend:
        await backend.documents.merge("a", {"x": "y" * 900})
        with pytest.raises(TooLargeError, match=r"1011 bytes .* 1000"):
            await backend.documents.merge("a", {"x": "y" * 1003})
        assert (await backend.documents.get("a"))["x"] == "y" * 900


def by(token, *, minutes=0, now=NOON):
    return Caller(now=now, token=Token(token, NOON + timedelta(minutes=minutes)))


async def test_a_change_is_applied_once_for_its_token(documents):
    first = documents.on_behalf_of(by("one"))
    await first.merge("a", {"n": 1})
    await documents.merge("a", {"n": 2})
    assert await first.merge("a", {"n": 1}) == {"n": 2}
    assert (await documents.read("a")).version == 2


async def test_two_tokens_are_two_changes(documents):
    await documents.on_behalf_of(by("one")).merge("a", {"n": 1})
    await documents.on_behalf_of(by("two")).merge("a", {"n": 1})
    assert (await documents.read("a")).version == 2


async def test_a_repeated_delete_answers_as_the_first_did_and_deletes_nothing_new(documents):
    await documents.merge("a", {"n": 1})
    once = documents.on_behalf_of(by("one"))
    assert await once.delete("a") is True
    await documents.merge("a", {"n": 2})
    assert await once.delete("a") is True
    assert await documents.get("a") == {"n": 2}


async def test_a_delete_of_nothing_is_remembered_too(documents):
    once = documents.on_behalf_of(by("one"))
    assert await once.delete("a") is False
    await documents.merge("a", {"n": 2})
    assert await once.delete("a") is False
    assert await documents.get("a") == {"n": 2}


async def test_a_deleted_document_still_knows_its_tokens(documents):
    once = documents.on_behalf_of(by("one"))
    await once.merge("a", {"n": 1})
    await documents.delete("a")
    await once.merge("a", {"n": 1})
    assert await documents.get("a") == {}


async def test_no_young_token_is_forgotten_and_old_ones_are_refused_not_repeated(in_memory):
    for n in range(300):
        await in_memory.on_behalf_of(by(f"t{n}", minutes=n)).merge("a", {"n": n})
    late = NOON + timedelta(hours=26)  # the first two hours are beyond the horizon of a day
    await in_memory.on_behalf_of(by("late", minutes=26 * 60, now=late)).merge("a", {"n": -1})
    await in_memory.on_behalf_of(by("t299", minutes=299, now=late)).merge("a", {"n": 299})
    assert await in_memory.get("a") == {"n": -1}
    with pytest.raises(TokenExpiredError, match="retry_horizon"):
        await in_memory.on_behalf_of(by("t0", now=late)).merge("a", {"n": 0})
    assert await in_memory.get("a") == {"n": -1}


async def test_a_step_that_works_for_longer_than_the_horizon_keeps_its_tokens():
    limits = Limits(retry_horizon=timedelta(hours=1))
    async with StateBackend.open("memory://", limits=limits) as backend:
        for n in range(600):  # ten hours, a change a minute, all of one activity
            now = NOON + timedelta(minutes=n)
            token = Token("activity", NOON, f"change-{n}", first=True)
            await backend.documents.on_behalf_of(Caller(now, token)).merge("a", {"n": n})
        again = Caller(NOON + timedelta(hours=11), Token("activity", NOON, "change-0"))
        await backend.documents.on_behalf_of(again).merge("a", {"n": 0})
        assert await backend.documents.get("a") == {"n": 599}


async def test_a_first_attempt_is_never_taken_for_a_repetition(in_memory):
    for n in range(300):
        await in_memory.on_behalf_of(by(f"t{n}", minutes=n)).merge("a", {"n": n})
    late = NOON + timedelta(hours=48)
    await in_memory.on_behalf_of(by("late", minutes=48 * 60, now=late)).merge("a", {"n": -1})
    queued = Caller(late, Token("long in the queue", NOON, first=True))
    assert await in_memory.on_behalf_of(queued).merge("a", {"n": 7}) == {"n": 7}


async def test_a_time_beyond_all_time_is_no_crash(backend, documents):
    await documents.merge("a", {"x": 1})
    stored = await raw(backend)
    stored["$temporal_state"]["created"] = "0001-01-01T00:00:00+23:00"
    await backend.store.put(key_of(backend), orjson.dumps(stored))
    with pytest.raises(DamagedObjectError):
        await documents.get("a")
    with pytest.raises(InvalidValueError, match="None for ever"):
        await documents.set("b", "k", 1, ttl=timedelta.max)


class Order(BaseModel):
    status: str = "new"
    total: int = 0
    secret: str = ""


async def test_documents_are_pydantic_models(documents):
    assert await documents.load("a", Order) == Order()
    saved = await documents.save("a", Order(status="loading", total=3))
    assert saved == await documents.load("a", Order) == Order(status="loading", total=3)


async def test_a_document_that_is_no_such_model_names_the_field_and_not_the_value(documents):
    await documents.merge("a", {"total": "hunter2"})
    with pytest.raises(InvalidDocumentError, match="total") as error:
        await documents.load("a", Order)
    assert "hunter2" not in str(error.value)


async def test_nothing_is_shared_between_apps_tenants_and_types(tmp_path):
    places = [("one", None), ("two", None), ("one", "t1"), ("one", "t2")]
    for app, tenant in places:
        async with StateBackend.open(tmp_path, app=app, tenant=tenant) as backend:
            await backend.documents.merge("a", {"place": [app, tenant]})
            await backend.documents.merge("a", {"credential_type": "x"}, StateType.CREDENTIALS)
    for app, tenant in places:
        async with StateBackend.open(tmp_path, app=app, tenant=tenant) as backend:
            assert await backend.documents.get("a") == {"place": [app, tenant]}
            assert (await backend.documents.list()).ids == ["a"]


async def test_what_a_newer_version_notes_in_the_envelope_is_kept(backend, documents):
    await documents.merge("a", {"x": 1})
    stored = await raw(backend)
    stored["$temporal_state"]["seal"] = {"by": ["a newer version"]}
    await backend.store.put(key_of(backend), orjson.dumps(stored))
    await documents.merge("a", {"x": 2})
    await documents.delete("a")
    assert await documents.merge("a", {"y": 3}) == {"y": 3}
    meta = (await raw(backend))["$temporal_state"]
    assert (meta["seal"], meta["version"]) == ({"by": ["a newer version"]}, 4)
