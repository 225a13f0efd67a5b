"""A batch: many changes, few writes, nothing silently lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_state import (
    BatchError,
    ContextError,
    InvalidValueError,
    PathTraversalError,
    StateBackend,
    StoreError,
)
from temporal_state.documents import Caller, Token
from temporal_state.storage import LocalStore, MemoryStore
from temporal_state.testing import FailingStore

NEVER = timedelta(days=1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    inner = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "store")
    async with StateBackend.open(FailingStore(inner), app="tests") as opened:
        yield opened


@pytest.fixture
def store(backend):
    return backend.store


@pytest.fixture
def documents(backend):
    return backend.documents


async def test_changes_of_one_document_are_one_write_and_a_version_each(documents, store):
    async with documents.batch(size=100, interval=NEVER) as batch:
        for n in range(30):
            await batch.increment(f"d{n % 3}", "n")
        assert store.calls == 0
    assert store.calls == 3
    for n in range(3):
        document = await documents.read(f"d{n}")
        assert (document.value, document.version) == ({"n": 10}, 10)


async def test_changes_are_applied_in_their_order(documents):
    await documents.merge("a", {"old": 1})
    async with documents.batch(interval=NEVER) as batch:
        await batch.delete("a")
        await batch.set("a", "x", 1)
        await batch.merge("a", {"y": {"z": 1}})
        await batch.patch("a", {"y": {"w": 2}, "x": None})
        await batch.append("a", "log", 1, items=[2, 3], limit=2)
        await batch.increment("a", "n", 5)
        await batch.replace("b", {"whole": True}, "mine")
        await batch.set("b", "short", 1, "mine", ttl=timedelta(hours=1))
    assert await documents.get("a") == {"y": {"z": 1, "w": 2}, "log": [2, 3], "n": 5}
    assert await documents.get("b", "mine") == {"whole": True, "short": 1}
    late = documents.on_behalf_of(Caller(now=datetime.now(UTC) + timedelta(hours=2)))
    assert await late.get("b", "mine") == {"whole": True}


async def test_reads_see_what_waits_and_other_readers_do_not(documents):
    await documents.merge("a", {"x": 1})
    async with documents.batch(interval=NEVER) as batch:
        await batch.increment("a", "n")
        await batch.merge("a", {"list": [1]})
        assert await batch.get("a") == {"x": 1, "n": 1, "list": [1]}
        assert await batch.get("absent") == {}
        assert await documents.get("a") == {"x": 1}
        (await batch.get("a"))["list"].append("not written")
        assert (await batch.get("a"))["list"] == [1]
        await batch.delete("a")
        assert await batch.get("a") == {}
        await batch.set("a", "y", 2)
    assert await documents.get("a") == {"y": 2}


async def test_a_read_never_sees_a_change_twice_while_it_is_written(documents, store):
    store.delay = timedelta(milliseconds=2)
    async with documents.batch(size=5, interval=timedelta(milliseconds=1)) as batch:
        for n in range(1, 40):
            await batch.increment("a", "n")
            assert await batch.get("a") == {"n": n}
    assert await documents.get("a") == {"n": 39}


async def test_a_full_batch_is_written_and_never_holds_more(documents, store):
    waiting = []
    async with documents.batch(size=10, interval=NEVER) as batch:
        for n in range(35):
            await batch.increment("a", "n")
            waiting.append(n + 1 - (await documents.get("a")).get("n", 0))
    assert max(waiting) <= 10
    assert (await documents.get("a"))["n"] == 35


async def test_many_tasks_share_a_batch_and_lose_nothing(documents):
    async with documents.batch(size=7, interval=timedelta(milliseconds=1)) as batch:
        await asyncio.gather(*(batch.increment(f"d{n % 3}", "n") for n in range(60)))
    assert [await documents.get(f"d{n}") for n in range(3)] == [{"n": 20}] * 3


class Noting(MemoryStore):
    """Takes its time for each write, and notes when it began."""

    def __init__(self, takes):
        super().__init__()
        self.takes, self.began = takes, []

    async def update(self, key, change):
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes)
        await super().update(key, change)


def when_writes_begin(virtually, changes, *, interval, takes):
    """Return when each write of a batch begins, given when each of its changes is made."""

    async def main():
        store, loop = Noting(takes), asyncio.get_running_loop()
        async with StateBackend.open(store, app="tests") as backend:
            began = loop.time()
            async with backend.documents.batch(interval=timedelta(seconds=interval)) as batch:
                for number, at in enumerate(changes):
                    await asyncio.sleep(began + at - loop.time())
                    await batch.set(f"d{number}", "k", 1)
                await asyncio.sleep(100)
                return [at - began for at in store.began]

    return virtually(main)


@pytest.mark.parametrize("interval", [0.25, 1, 30])
def test_a_change_waits_as_long_as_the_interval(virtually, interval):
    begins = when_writes_begin(virtually, [0, 50], interval=interval, takes=0)
    assert begins == pytest.approx([interval, 50 + interval])


def test_a_change_that_came_during_a_slow_write_is_written_after_its_own_interval(virtually):
    begins = when_writes_begin(virtually, [0, 6], interval=5, takes=3)
    assert begins == pytest.approx([5, 11])


async def test_what_is_flushed_is_durable(documents):
    async with documents.batch(interval=NEVER) as batch:
        await batch.flush()
        await batch.set("a", "k", 1)
        await batch.flush()
        assert await documents.get("a") == {"k": 1}


async def test_a_flush_that_meets_a_write_under_way_writes_the_rest_too(documents, store):
    store.delay = timedelta(milliseconds=10)
    async with documents.batch(interval=NEVER) as batch:
        await batch.set("a", "k", 1)
        first = asyncio.create_task(batch.flush())
        while store.calls == 0:
            await asyncio.sleep(0)
        await batch.set("a", "k", 2)
        await batch.flush()
        assert await documents.get("a") == {"k": 2}
        await first


async def test_what_was_added_before_the_block_raised_is_written(documents):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await documents.get("a") == {"k": 1}


async def test_what_was_added_before_a_cancellation_is_written(documents, store):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            added.set()
            await asyncio.Event().wait()

    added = asyncio.Event()
    task = asyncio.create_task(work())
    await added.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await documents.get("a") == {"k": 1}


async def test_a_cancellation_during_the_last_write_waits_for_it(documents, store):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            store.delay = timedelta(milliseconds=20)

    task = asyncio.create_task(work())
    while store.calls == 0:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.delay = timedelta()  # so that this reads before a write left behind could end
    assert await documents.get("a") == {"k": 1}


async def test_a_failed_write_is_raised_at_the_end_and_names_what_is_missing(documents, store):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            await batch.increment("a", "n")
            await batch.set("b", "k", 1, "mine")
            store.error = StoreError("the disk is gone")

    with pytest.raises(BatchError, match=r"workflows/a: the disk is gone.*\(3\)") as failure:
        await work()
    assert {name: type(e) for name, e in failure.value.failures.items()} == {
        "workflows/a": StoreError,
        "mine/b": StoreError,
    }
    assert isinstance(failure.value.__cause__, StoreError)


async def test_a_failed_write_is_raised_by_the_next_call_which_then_adds_nothing(documents, store):
    async with documents.batch(size=1, interval=NEVER) as batch:
        store.error = StoreError("the disk is gone")
        await batch.set("a", "k", 1)
        with pytest.raises(BatchError, match="workflows/a"):
            await batch.set("b", "k", 1)
        store.error = None
        await batch.set("c", "k", 1)
    assert (await documents.list()).ids == ["c"]


async def test_only_the_document_that_fails_is_missing(documents):
    await documents.set("bad", "n", "text")
    async with documents.batch(interval=NEVER) as batch:
        for id in ("good", "bad", "other"):
            await batch.increment(id, "n")
        with pytest.raises(BatchError, match=r"'n' is a str.*\(1\)") as failure:
            await batch.flush()
    assert list(failure.value.failures) == ["workflows/bad"]
    assert await documents.get("good") == await documents.get("other") == {"n": 1}


async def test_an_error_of_the_block_is_not_hidden_by_one_of_the_last_write(documents, store):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            store.error = StoreError("the disk is gone")
            raise ZeroDivisionError

    with pytest.raises(BatchError) as failure:
        await work()
    assert isinstance(failure.value.__context__, ZeroDivisionError)


async def test_a_cancellation_goes_on_and_carries_what_was_not_written(documents, store, caplog):
    async def work():
        async with documents.batch(interval=NEVER) as batch:
            await batch.set("a", "k", 1)
            store.error = StoreError("the disk is gone")
            added.set()
            await asyncio.Event().wait()

    added = asyncio.Event()
    task = asyncio.create_task(work())
    await added.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    assert "workflows/a" in cancelled.value.__notes__[0]
    assert "workflows/a" in caplog.text


async def test_a_bad_change_is_refused_when_it_is_added(documents):
    async with documents.batch(interval=NEVER) as batch:
        with pytest.raises(InvalidValueError):
            await batch.merge("a", {"k": float("nan")})
        with pytest.raises(InvalidValueError):
            await batch.append("a", "k", items="text")
        with pytest.raises(PathTraversalError):
            await batch.merge("../a", {"k": 1})
    assert not await documents.exists("a")


async def test_a_batch_is_used_inside_its_block(documents):
    batch = documents.batch()
    with pytest.raises(ContextError, match="async with"):
        await batch.set("a", "k", 1)
    async with batch:
        pass
    for call in (batch.get("a"), batch.flush(), batch.set("a", "k", 1)):
        with pytest.raises(ContextError, match="async with"):
            await call


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": True}, {"interval": timedelta()}])
def test_a_batch_has_a_size_and_an_interval(documents, wrong):
    with pytest.raises(InvalidValueError):
        documents.batch(**wrong)


async def test_no_write_of_a_batch_is_taken_for_a_repetition_of_another(documents):
    caller = Caller(NOON, Token("step", NOON))
    async with documents.on_behalf_of(caller).batch(interval=NEVER) as batch:
        for _ in range(3):
            await batch.increment("a", "n")
            await batch.flush()
    assert await documents.get("a") == {"n": 3}


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["increment", "append", "flush", "get"])),
    max_size=25,
)


@given(steps, st.integers(1, 6))
@settings(max_examples=60)
async def test_a_batch_ends_as_its_changes_made_one_by_one(steps, size):
    async with StateBackend.open("memory://") as backend:
        expected = {}
        async with backend.documents.batch(size=size, interval=NEVER) as batch:
            for id, step in steps:
                document = expected.setdefault(id, {})
                if step == "increment":
                    document["n"] = document.get("n", 0) + 1
                    await batch.increment(id, "n")
                elif step == "append":
                    document.setdefault("log", []).append(len(document["log"]))
                    await batch.append(id, "log", document["log"][-1])
                elif step == "flush":
                    await batch.flush()
                assert await batch.get(id) == document
        for id, document in expected.items():
            assert await backend.documents.get(id) == document
