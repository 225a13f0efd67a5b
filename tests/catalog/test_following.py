"""The catalog becomes what the objects are: across crashes, races, writers and lost entries."""

import asyncio
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from catalog_runs import NOON, ended, header, ids, reference, told

import temporal_state.runs.catalog._feed as feed_module
import temporal_state.runs.catalog._follow as follow_module
import temporal_state.runs.catalog._standing as standing_module
from temporal_state import StateBackend
from temporal_state.documents import to_text
from temporal_state.errors import InvalidNameError, InvalidValueError, StoreError
from temporal_state.runs import Patch, RunRef
from temporal_state.runs.catalog._feed import Change, Feed, Place, minute
from temporal_state.runs.catalog._follow import Follower
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore


@pytest.fixture
async def other(tmp_path, clock):
    """The same files as `local`, as another process has them."""
    async with StateBackend.open(
        tmp_path / "store", app="tests", clock=clock, catalog=tmp_path / "other"
    ) as opened:
        yield opened


async def test_an_entry_comes_before_its_objects(local, other):
    assert await other.runs.list() == []
    ref = reference()
    async with local.runs.feed.announced([Change(ref, 1, "x")]):
        assert await other.runs.list() == []  # read, and not there yet
        assert await other.runs.list() == []
        await local.runs.merge(Patch(ref, header(ref)), "w")
        assert ids(await other.runs.list()) == [ref.run_id]


async def test_a_crash_between_the_feed_and_the_record_leaves_nothing_to_wait_for(
    local, other, monkeypatch
):
    dead = reference(1)
    with pytest.raises(ZeroDivisionError):
        async with local.runs.feed.announced([Change(dead, 1, "x")]):
            raise ZeroDivisionError
    assert await other.runs.list() == []
    assert await waiting_of(other) == 1
    monkeypatch.setattr("temporal_state.runs.catalog._follow.LOOK_FOR", -1.0)
    await told(local.runs, reference(2))  # life goes on
    assert ids(await other.runs.list()) == ["run-2"]
    assert await waiting_of(other) == 0


async def waiting_of(backend) -> int:
    def count(link):
        return link.rows("SELECT COUNT(*) FROM unsettled")[0][0]

    return await backend.runs.catalog.ask(count)


async def test_a_crash_between_the_record_and_following_is_made_up_by_whoever_asks_next(
    local, other
):
    assert await other.runs.list() == []
    ref = await told(local.runs, reference())
    await told(local.runs, ref, **ended(ref))
    for backend in (other, local):
        assert [run.status for run in await backend.runs.list()] == ["completed"]


async def test_a_record_older_than_its_entry_is_looked_at_again(local, other):
    ref = await told(local.runs, reference())
    newer = header(ref, **ended(ref, "failed"))
    async with local.runs.feed.announced([Change(ref, newer["clock"], newer["seen"])]):
        assert [run.status for run in await other.runs.list()] == ["running"]
        await local.runs.merge(Patch(ref, newer), "w")
    assert [run.status for run in await other.runs.list()] == ["failed"]
    assert await waiting_of(other) == 0


async def test_what_is_written_by_hand_is_seen_by_others(local, other):
    assert await other.runs.list() == []
    ref = await local.runs.start("order-1", workflow_type="T", started=NOON)
    assert [run.status for run in await other.runs.list()] == ["running"]
    await local.runs.finish(ref, "failed", error="no")
    assert [run.status for run in await other.runs.list()] == ["failed"]
    await local.runs.delete("order-1")
    assert await other.runs.list() == []


async def test_a_store_that_refuses_the_feed_is_an_error_and_nothing_is_written():
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store) as backend:
        store.error = StoreError("for a while")
        with pytest.raises(StoreError):
            await told(backend.runs, reference())
        store.error = None
        assert await store.inner.list() == []
        await told(backend.runs, reference())
        assert ids(await backend.runs.list()) == ["run-0"]
        store.error = StoreError("gone")
        with pytest.raises(StoreError):
            await backend.runs.list()


async def test_entries_of_one_writer_have_no_gap_however_many_write_at_once(local):
    feed = local.runs.feed
    await asyncio.gather(*(told(local.runs, reference(n)) for n in range(300)))
    (writer,) = await feed.writers("")
    numbers = await feed.sequences(writer, 0)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) < 100  # those that wait share an entry
    assert len(await local.runs.list(limit=None)) == 300


async def test_a_gap_is_waited_for(local):
    feed = local.runs.feed
    for n in range(3):
        await told(local.runs, reference(n))
    (writer,) = await feed.writers("")
    key = feed.key(writer, 2)
    entry = await local.store.get(key)
    await local.store.delete(key)
    assert await feed.sequences(writer, 0) == [1]
    await local.store.put(key, entry.data)
    assert await feed.sequences(writer, 1) == [2, 3]


async def test_a_writer_takes_a_new_name_now_and_then(local, monkeypatch):
    monkeypatch.setattr(feed_module, "NAME_ENTRIES", 2)
    for n in range(5):
        await told(local.runs, reference(n))
    assert len(await local.runs.feed.writers("")) == 3
    assert len(await local.runs.list()) == 5


async def test_folding_drops_old_entries_and_keeps_new_ones(local):
    feed = local.runs.feed
    await told(local.runs, reference(1))
    entry = (await local.store.list(f"{local.layout.base}/feed/"))[0]
    old = minute(datetime.now(UTC) - timedelta(days=8))
    data = (await local.store.get(entry)).data
    await local.store.put(feed.key(f"{old}-abc", 1), data)
    assert await local.runs.fold_feed(timedelta(days=7)) == 1
    assert await local.runs.fold_feed(timedelta(days=7)) == 0
    assert len(await feed.writers("")) == 1
    with pytest.raises(InvalidValueError):
        await local.runs.fold_feed(timedelta(hours=1))


async def test_a_catalog_that_was_away_for_longer_than_the_feed_goes_is_built_anew(local, other):
    assert await other.runs.list() == []
    await told(local.runs, reference(1))
    for key in await local.store.list(f"{local.layout.base}/feed/"):
        await local.store.delete(key)
    assert await other.runs.list() == []  # its entry is lost ...
    away = minute(datetime.now(UTC) - timedelta(days=9))

    def go_away(link):
        link.run("UPDATE meta SET value = ? WHERE name = 'since'", (away,))

    await other.runs.catalog.ask(go_away)
    await other.runs.catalog.close()
    assert await other.runs.list() == []  # ... which it need not know, if nothing was dropped
    await other.runs.catalog.ask(go_away)
    await other.runs.catalog.close()
    await local.runs.fold_feed(timedelta(days=7))
    assert ids(await other.runs.list()) == ["run-1"]


async def test_what_was_followed_does_not_count_for_a_catalog_put_in_its_place(
    tmp_path, clock, place
):
    first, second = [StateBackend.open(tmp_path, clock=clock, catalog=place) for _ in range(2)]
    async with first, second:

        async def follow_more() -> None:
            await told(first.runs, reference(2))
            for _ in range(3):
                assert ids(await second.runs.list()) == ["run-1", "run-2"]

        def meanwhile(_read: int) -> None:  # the new catalog has its runs by now, so not this one
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, follow_more()).result()

        await told(first.runs, reference(1))
        assert ids(await second.runs.list()) == ["run-1"]
        await first.runs.reindex(meanwhile)
        assert ids(await second.runs.list()) == ["run-1", "run-2"]


async def test_a_catalog_that_is_put_in_its_place_while_it_is_asked_gives_no_answer(
    tmp_path, clock, place
):
    first, second = [StateBackend.open(tmp_path, clock=clock, catalog=place) for _ in range(2)]
    ready, go = threading.Event(), threading.Event()
    async with first, second:

        async def follow_more() -> None:
            await told(first.runs, reference(2))
            for _ in range(3):
                assert ids(await second.runs.list()) == ["run-1", "run-2"]

        def meanwhile(_read: int) -> None:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, follow_more()).result()
            ready.set()
            assert go.wait(20)

        def question(link):
            go.set()
            replacing.result(20)
            return link.rows("SELECT run_id FROM runs ORDER BY run_id")

        await told(first.runs, reference(1))
        assert ids(await second.runs.list()) == ["run-1"]
        with ThreadPoolExecutor(1) as thread:
            replacing = thread.submit(asyncio.run, first.runs.reindex(meanwhile))
            assert await asyncio.to_thread(ready.wait, 20)
            assert await second.runs.catalog.ask(question) == [("run-1",), ("run-2",)]


@pytest.mark.parametrize(("page", "expected"), [(81, 1), (80, 41)])
async def test_a_quiet_feed_is_told_from_one_with_news_in_few_looks(monkeypatch, page, expected):
    monkeypatch.setattr(feed_module, "PAGE", page)
    async with StateBackend.open("memory://") as backend:
        feed, store = backend.runs.feed, backend.store
        names = [f"20260501t12{n:02}-{'ab' * 6}" for n in range(10, 50)]
        for name in ["20260501t1100-old", *names]:
            for number in (1, 2):
                await store.put(feed.key(name, number), b"{}")
        await store.put(f"{backend.layout.base}/feed/floor.json", b"{}")
        taken, looks, listed = dict.fromkeys(names, 2), 0, store.list

        async def counted(*args, **options):
            nonlocal looks
            looks += 1
            return await listed(*args, **options)

        monkeypatch.setattr(store, "list", counted)
        assert await feed.has_nothing_after("20260501t1200", taken)
        assert looks == expected
        others = [f"20260501t{minute}-{'cd' * 6}" for minute in ("1200", "1210", "1225", "1300")]
        for new in [*((name, 3) for name in names), *((name, 1) for name in others)]:
            await store.put(feed.key(*new), b"{}")
            assert not await feed.has_nothing_after("20260501t1200", taken), new
            await store.delete(feed.key(*new))
        await store.put(feed.key(others[0], 1), b"{}")
        await store.delete(feed.key(names[3], 1))  # as many as before
        assert not await feed.has_nothing_after("20260501t1200", taken)
        assert not await feed.has_nothing_after("20260501t1200", {})
        assert await feed.has_nothing_after("20260501t1300", {})


async def test_one_unreadable_record_hides_no_other_and_is_counted(local, caplog):
    for n in range(3):
        await told(local.runs, reference(n))
    key = local.runs._places.run(reference(1))
    await local.store.put(key, b"{")
    await local.runs.reindex()
    assert ids(await local.runs.list()) == ["run-0", "run-2"]
    assert (await local.runs.stats()).unreadable == 1
    assert key in caplog.text
    await local.store.delete(key)
    await told(local.runs, reference(1))
    assert ids(await local.runs.list()) == ["run-0", "run-1", "run-2"]
    assert (await local.runs.stats()).unreadable == 0


@pytest.mark.parametrize("place", ["file", "postgresql"], indirect=True)
async def test_two_followers_of_one_catalog_never_put_back_what_is_newer(
    tmp_path, clock, place, monkeypatch
):
    root = tmp_path / uuid.uuid4().hex  # by which a catalog in PostgreSQL is one of its own
    slow, quick, writer = [StateBackend.open(root, clock=clock, catalog=place) for _ in range(3)]
    has_read, may_write, read = asyncio.Event(), asyncio.Event(), Follower._read

    async def reads_long_before(follower, key, ref=None):
        found = await read(follower, key, ref)
        if follower.feed is slow.runs.feed:
            has_read.set()
            await may_write.wait()
        return found

    async with slow, quick, writer:
        assert await slow.runs.list() == await quick.runs.list() == []
        ref = await told(writer.runs, reference(), clock=1, workflow_type="T1")
        for known in (False, True):  # with no row of it before, and with one
            has_read.clear()
            may_write.clear()
            with monkeypatch.context() as patched:
                patched.setattr(Follower, "_read", reads_long_before)
                await told(writer.runs, ref, clock=2 + 2 * known, workflow_type="T")
                asking = asyncio.create_task(slow.runs.list())
                await has_read.wait()
                await told(writer.runs, ref, clock=3 + 2 * known, workflow_type=f"T{known}")
                assert [run.clock for run in await quick.runs.list()] == [3 + 2 * known]
                may_write.set()
                assert [run.clock for run in await asking] == [3 + 2 * known]
            assert [run.clock for run in await quick.runs.list()] == [3 + 2 * known]
            assert (await quick.runs.stats()).by_type == {f"T{known}": 1}


WRITER = """
import asyncio, sys
from catalog_runs import ended, reference, told
from temporal_state import StateBackend

async def main(root, worker, number):
    async with StateBackend.open(root) as backend:
        for n in range(int(number)):
            ref = reference(int(worker) * 1000 + n)
            await told(backend.runs, ref)
            await told(backend.runs, ref, **ended(ref, "failed" if n % 2 else "completed"))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_four_processes_write_while_a_fifth_lists(tmp_path, children):
    number = 16
    processes = [children.start(WRITER, tmp_path, worker, number) for worker in range(4)]
    most = 0
    async with StateBackend.open(tmp_path) as backend:
        while any(process.poll() is None for process in processes):
            found = len(await backend.runs.list(limit=None))
            assert found >= most
            most = found
            assert (await backend.runs.stats()).total >= found
            await asyncio.sleep(0.02)
        await asyncio.gather(*map(children.output, processes))
        stats = await backend.runs.stats()
        assert stats.by_status == {"completed": 2 * number, "failed": 2 * number}
        assert len(await backend.runs.list(limit=None)) == 4 * number


def test_a_feed_can_be_used_from_several_event_loops(tmp_path):
    backend = StateBackend.open(tmp_path)
    asyncio.run(backend.start())

    def listed() -> list[str]:
        return ids(asyncio.run(_list(backend)))

    for n in range(3):
        asyncio.run(told(backend.runs, reference(n)))
        assert len(listed()) == n + 1
    asyncio.run(backend.close())


async def _list(backend):
    return await backend.runs.list()


async def test_what_took_long_is_announced_once_more(local, monkeypatch):
    monkeypatch.setattr(feed_module, "LATE", -1.0)
    await told(local.runs, reference())
    assert len(await local.store.list(f"{local.layout.base}/feed/")) == 2


async def test_a_process_knows_what_it_has_made(local):
    feed: Feed = local.runs.feed
    await told(local.runs, reference())
    (writer,) = await feed.writers("")
    assert feed.is_written(Place(writer, 1, 0))
    assert not feed.is_written(Place(writer, 1, 1))


async def test_questions_that_come_together_share_their_looks_into_the_feed(local, monkeypatch):
    await told(local.runs, reference())
    await local.runs.list()
    looked = 0
    writers = Feed.writers

    async def counted(self, after):
        nonlocal looked
        looked += 1
        return await writers(self, after)

    monkeypatch.setattr(Feed, "writers", counted)
    started = time.monotonic()
    await asyncio.gather(*(local.runs.list() for _ in range(100)))
    assert looked == 1, time.monotonic() - started


async def test_a_clock_that_is_set_back_hides_no_run(local, other, tmp_path, monkeypatch):
    def ahead(**by: float):
        class Shifted(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(**by)

        for module in (feed_module, follow_module, standing_module):
            monkeypatch.setattr(module, "datetime", Shifted)

    ahead(hours=5)
    await told(local.runs, reference(1))
    assert ids(await other.runs.list()) == ["run-1"]
    ahead(hours=0)
    async with StateBackend.open(tmp_path / "store", app="tests", catalog="memory://") as later:
        await told(later.runs, reference(2))
    assert ids(await other.runs.list()) == ["run-1", "run-2"]
    ahead(hours=7)
    assert ids(await other.runs.list()) == ["run-1", "run-2"]


NO_NAMES = [
    {"workflow_id": ""},
    {"workflow_id": 5},
    {"workflow_id": "\ud800"},
    {"workflow_id": b"bytes"},
    {"run_id": ""},
    {"namespace": 5},
    {"workflow_type": 5},
    {"workflow_type": "\ud800"},
    {"kind": None},
]


@pytest.mark.parametrize("given", NO_NAMES, ids=repr)
async def test_a_run_that_can_have_no_record_is_refused_and_hides_no_other(local, other, given):
    await told(local.runs, reference(1))
    options = {"workflow_id": "w", "workflow_type": "T", **given}
    with pytest.raises((InvalidNameError, InvalidValueError)):
        await local.runs.start(options.pop("workflow_id"), **options)
    for backend in (local, other):
        assert ids(await backend.runs.list()) == ["run-1"]


async def test_an_entry_that_names_no_run_hides_no_other(local, other, monkeypatch):
    monkeypatch.setattr(feed_module.RunLayout, "run", lambda *_: "unchecked")
    async with local.runs.feed.announced(
        [Change(reference(1), 1), Change(RunRef("", "", "", NOON))]
    ):
        pass
    monkeypatch.undo()
    await told(local.runs, reference(1))
    for backend in (local, other):
        assert ids(await backend.runs.list()) == ["run-1"]
    await other.runs.catalog.rebuild()
    assert ids(await other.runs.list()) == ["run-1"]


async def test_an_entry_that_names_no_run_is_read_once(local, monkeypatch):
    await local.store.put(local.runs.feed.key(f"{minute(datetime.now(UTC))}-x", 1), b"{}")
    assert await local.runs.list() == []  # the catalog is built
    read, reading = 0, Feed.read

    async def counted(self, writer, sequence):
        nonlocal read
        read += 1
        return await reading(self, writer, sequence)

    monkeypatch.setattr(Feed, "read", counted)
    for _ in range(3):
        assert await local.runs.list() == []
    assert read == 0


async def test_times_that_mean_for_ever_hide_no_run(local):
    """More of them in one hour than 64 bits can count the microseconds of."""
    refs = [reference(n) for n in range(40)]
    forever = to_text(datetime.max.replace(tzinfo=UTC))
    for ref in refs:
        await told(local.runs, ref, status="completed", ended=forever)
    assert len(await local.runs.list()) == len(refs)
    assert (await local.runs.stats()).total == len(refs)
    of_no_whole_hour = await local.runs.stats(since=NOON - timedelta(minutes=50))
    assert of_no_whole_hour.total == len(refs)
    await local.runs.catalog.rebuild()
    assert len(await local.runs.list()) == len(refs)
