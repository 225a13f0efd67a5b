"""The sentences of the protocol, each on every backend."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from temporal_state.errors import (
    ConflictError,
    DamagedObjectError,
    InvalidNameError,
    PathTraversalError,
    StoreError,
)
from temporal_state.storage import ConditionalDelete, ObjectStorage, ObjectStore, open_store


def increment(data: bytes | None) -> bytes:
    return str(int(data or b"0") + 1).encode()


def test_is_an_object_store(store):
    assert isinstance(store, ObjectStore)


def test_the_url_leads_back_to_the_store(store):
    assert open_store(store.url).url == store.url


async def test_get_returns_what_was_put(store, raw):
    etag = await store.put("a/b.json", b"new")
    found = await store.get("a/b.json")
    assert (found.data, found.etag) == (b"new", etag)
    assert raw.get("a/b.json") == b"new"


async def test_get_returns_what_others_have_written(store, raw):
    raw.put("a/b.json", b"theirs")
    assert (await store.get("a/b.json")).data == b"theirs"


async def test_get_of_an_absent_object_is_none(store):
    assert await store.get("a/b.json") is None
    await store.put("a/c.json", b"")
    assert await store.get("a/b.json") is None


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"x" * 3_000_000])
async def test_any_bytes_come_back(store, raw, data):
    await store.put("any.bin", data)
    assert (await store.get("any.bin")).data == data
    assert raw.get("any.bin") == data


async def test_a_put_replaces_the_whole_object(store):
    await store.put("a.json", b"long content")
    await store.put("a.json", b"short")
    assert (await store.get("a.json")).data == b"short"


async def test_what_is_stored_is_a_copy(store):
    data = bytearray(b"before")
    await store.put("a.json", data)
    data[:] = b"after!"
    assert (await store.get("a.json")).data == b"before"


async def test_an_etag_names_the_content(store, raw):
    first = await store.put("a.json", b"1")
    second = await store.put("a.json", b"2")
    assert first != second
    raw.put("a.json", b"3")
    assert (await store.get("a.json")).etag not in {first, second}


async def test_head_tells_size_and_time(store, backend):
    start = datetime.now(UTC)
    await store.put("a/b.json", b"12345")
    info = await store.head("a/b.json")
    assert (info.key, info.size) == ("a/b.json", 5 + backend.overhead)
    assert abs(info.modified - start) < timedelta(seconds=10)
    assert info.modified.utcoffset() == timedelta(0)


async def test_head_of_an_absent_object_is_none(store):
    assert await store.head("a/b.json") is None


async def test_put_if_absent_makes_an_object_once(store, raw):
    await store.put("a.json", b"first", if_absent=True)
    with pytest.raises(ConflictError, match="exists already"):
        await store.put("a.json", b"second", if_absent=True)
    assert raw.get("a.json") == b"first"


async def test_put_if_match_needs_the_present_etag(store, raw):
    stale = await store.put("a.json", b"1")
    await store.put("a.json", b"3", if_match=await store.put("a.json", b"2"))
    with pytest.raises(ConflictError, match="not what was read"):
        await store.put("a.json", b"4", if_match=stale)
    assert raw.get("a.json") == b"3"


async def test_put_if_match_of_an_absent_object_conflicts(store, raw):
    with pytest.raises(ConflictError):
        await store.put("a.json", b"1", if_match="0" * 32)
    assert raw.get("a.json") is None


async def test_put_if_match_notices_what_others_have_written(store, raw):
    etag = await store.put("a.json", b"1")
    raw.put("a.json", b"theirs")
    with pytest.raises(ConflictError):
        await store.put("a.json", b"2", if_match=etag)
    await store.put("a.json", b"2", if_match=(await store.get("a.json")).etag)


async def test_of_many_who_create_one_object_one_wins(store):
    puts = (store.put("a.json", str(n).encode(), if_absent=True) for n in range(20))
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 19


async def test_update_gives_the_present_bytes_and_takes_new_ones(store, raw):
    seen = []

    def change(data):
        seen.append(data)
        return b"2"

    await store.update("a/b.json", change)
    await store.update("a/b.json", change)
    assert seen == [None, b"2"]
    assert raw.get("a/b.json") == b"2"


async def test_update_to_none_leaves_the_object(store, raw):
    await store.update("a.json", lambda _: None)
    assert raw.get("a.json") is None
    raw.put("a.json", b"1")
    await store.update("a.json", lambda _: None)
    assert raw.get("a.json") == b"1"


@pytest.mark.parametrize("error", [ValueError, OSError, StopIteration, asyncio.CancelledError])
async def test_what_a_change_raises_is_its_callers_alone(store, raw, error):
    def fail(_data):
        raise error

    tasks = [store.update("a.json", increment) for _ in range(3)]
    tasks[1:1] = [store.update("a.json", fail)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert raw.get("a.json") == b"3"
    assert [outcomes[0], *outcomes[2:]] == [None] * 3
    expected = (error, RuntimeError) if error is StopIteration else error
    assert isinstance(outcomes[1], expected)


async def test_no_update_is_lost_among_tasks(store, raw):
    await asyncio.gather(*(store.update("a.json", increment) for _ in range(200)))
    assert raw.get("a.json") == b"200"


async def test_updates_of_many_keys_at_once_all_arrive(store, raw):
    keys = [f"k{n}/doc.json" for n in range(100)]
    await asyncio.gather(*(store.update(key, increment) for key in keys * 3))
    assert {raw.get(key) for key in keys} == {b"3"}


async def test_calls_may_come_from_any_loop_and_thread(store, raw):
    async def work():
        for _ in range(20):
            await store.update("a.json", increment)

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    await work()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert raw.get("a.json") == b"100"


async def test_readers_see_the_old_or_the_new_bytes(store):
    contents = {bytes([letter]) * 200_000 for letter in b"abcdefgh"}
    await store.put("a.bin", b"a" * 200_000)

    async def read():
        return (await store.get("a.bin")).data

    writes = [store.put("a.bin", content) for content in contents]
    reads = [read() for _ in range(40)]
    results = await asyncio.gather(*writes, *reads)
    assert set(results[len(writes) :]) <= contents


async def test_delete_tells_whether_there_was_one(store, raw):
    await store.put("a/b.json", b"1")
    assert await store.delete("a/b.json") is True
    assert await store.delete("a/b.json") is False
    assert raw.get("a/b.json") is None
    assert await store.get("a/b.json") is None
    assert await store.list() == []


async def test_a_delete_on_a_condition_spares_what_has_changed(store):
    if not isinstance(store, ConditionalDelete):
        pytest.skip("this store cannot look and remove in one step")
    first = await store.put("a/b.json", b"1")
    assert not await store.delete_if_match("a/b.json", "none")
    await store.put("a/b.json", b"2")
    assert not await store.delete_if_match("a/b.json", first)
    assert (await store.get("a/b.json")).data == b"2"
    present = (await store.get("a/b.json")).etag
    assert await store.delete_if_match("a/b.json", present)
    assert await store.get("a/b.json") is None
    assert not await store.delete_if_match("a/b.json", present)


async def test_a_delete_on_a_condition_never_takes_a_change_along(store):
    if not isinstance(store, ConditionalDelete):
        pytest.skip("this store cannot look and remove in one step")
    for n in range(20):
        key = f"race/{n}.json"
        etag = await store.put(key, b"old")
        _, removed = await asyncio.gather(
            store.update(key, lambda data: (data or b"") + b"new"),
            store.delete_if_match(key, etag),
        )
        assert (await store.get(key)).data == (b"new" if removed else b"oldnew")


async def test_a_deleted_object_can_be_made_again(store):
    await store.put("a/b.json", b"1")
    await store.delete("a/b.json")
    await store.put("a/b.json", b"2", if_absent=True)
    assert await store.list() == ["a/b.json"]


async def test_a_name_is_free_after_what_was_below_it_is_gone(store):
    await store.put("a/b.json", b"1")
    await store.delete("a/b.json")
    await store.put("a", b"2")
    assert await store.list() == ["a"]


async def test_list_is_sorted_by_characters(store):
    keys = ["a!/x", "a-/x", "a.json", "a/x", "a0", "a=2e/x", "a_/x", "aa/x", "a~0/x", "b"]
    for key in reversed(keys):
        await store.put(key, b"")
    assert keys == sorted(keys)
    assert await store.list() == keys


async def test_list_by_prefix_need_not_end_at_a_slash(store):
    for key in ("run/order-1/r.json", "run/order-12/r.json", "run/other/r.json", "running.json"):
        await store.put(key, b"")
    assert await store.list("run/order-1") == ["run/order-1/r.json", "run/order-12/r.json"]
    assert await store.list("run/order-1/") == ["run/order-1/r.json"]
    assert len(await store.list("run")) == 4
    assert len(await store.list("run/")) == 3
    assert await store.list("run/order-1/r.json") == ["run/order-1/r.json"]
    assert await store.list("run/order-1/r.json/") == []
    assert await store.list("nothing/here") == []


async def test_list_starts_after_and_ends_at_the_limit(store):
    for key in "abcde":
        await store.put(f"{key}/x", b"")
    assert await store.list(after="b/x", limit=2) == ["c/x", "d/x"]
    assert await store.list(after="b/") == ["b/x", "c/x", "d/x", "e/x"]
    assert await store.list("c", after="a") == ["c/x"]
    assert await store.list("a", after="b") == []
    assert await store.list(limit=0) == []


async def test_pages_of_any_listing_join_to_the_whole(store, raw):
    rng = random.Random(7)  # the same trees on every run
    segments = ["a", "a-", "a.b", "a0", "b", "!c", "=2e", "z~1"]
    keys = {
        "/".join([*rng.choices(segments, k=rng.randint(0, 3)), f"{rng.choice(segments)}.json"])
        for _ in range(120)
    }
    for key in keys:
        raw.put(key, b"")
    for prefix in ("", "a", "a/", "a-/a", "b/!c/", "z"):
        expected = sorted(key for key in keys if key.startswith(prefix))
        assert await store.list(prefix) == expected
        found: list[str] = []
        while page := await store.list(prefix, after=found[-1] if found else "", limit=3):
            found += page
        assert found == expected


BAD = [
    ("", PathTraversalError),
    (".", PathTraversalError),
    ("..", PathTraversalError),
    ("/a", PathTraversalError),
    ("a/", PathTraversalError),
    ("a//b", PathTraversalError),
    ("a/../b", PathTraversalError),
    ("a/./b", PathTraversalError),
    (".a", InvalidNameError),
    (".temporal_state/locks/00", InvalidNameError),
    ("A", InvalidNameError),
    ("a\\b", InvalidNameError),
    ("a\0", InvalidNameError),
    ("a\n", InvalidNameError),
    ("é", InvalidNameError),
    ("\u212a", InvalidNameError),
    ("a" * 201, InvalidNameError),
    ("a/" * 500 + "a", InvalidNameError),
]
CALLS: list[Callable[[ObjectStore, str], Awaitable[object]]] = [
    lambda store, key: store.get(key),
    lambda store, key: store.head(key),
    lambda store, key: store.put(key, b""),
    lambda store, key: store.update(key, lambda _: b""),
    lambda store, key: store.delete(key),
]


async def test_what_is_no_key_is_refused_by_every_method(store):
    for key, error in BAD:
        for call in CALLS:
            with pytest.raises(error):
                await call(store, key)
    assert await store.list() == []


async def test_what_no_key_starts_with_is_refused_as_prefix(store):
    for prefix in ("/", "..", "a/../", ".temporal_state", "A/", "a\\"):
        with pytest.raises(InvalidNameError):
            await store.list(prefix)
        with pytest.raises(InvalidNameError):
            await store.list(after=prefix)


async def test_no_key_is_another_keys_folder(store, raw):
    if isinstance(store, ObjectStorage):
        pytest.skip("buckets are flat; to notice would cost a request for each segment of a key")
    await store.put("a/b/c", b"1")
    for key in ("a", "a/b", "a/b/c/d", "a/b/c/d/e"):
        for call in CALLS:
            with pytest.raises(DamagedObjectError, match=f"'{key}'"):
                await call(store, key)
    assert raw.get("a/b/c") == b"1"


async def test_a_closed_store_refuses_calls_and_can_be_opened_again(store, raw):
    await store.put("a.json", b"1")
    await store.close()
    await store.close()
    for call in CALLS:
        with pytest.raises(StoreError, match="closed"):
            await call(store, "a.json")
    with pytest.raises(StoreError, match="closed"):
        await store.list()
    assert raw.get("a.json") == b"1"
    await store.open()
    await store.open()
    assert (await store.get("a.json")).data == b"1"
