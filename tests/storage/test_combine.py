"""Changes that wait together: what is shared, and what is one caller's alone."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from temporal_state.storage._combine import Combiner


class Disk:
    """A dictionary whose commits can be held up and can fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.failure: BaseException | None = None
        self.folds = 1
        self._free = threading.Event()
        self._free.set()
        self._reached = threading.Semaphore(0)

    def commit(self, folds):
        self._reached.release()
        assert self._free.wait(10)
        self.commits.append(list(folds))
        for key, fold in folds.items():
            for _ in range(self.folds):
                data = fold(self.objects.get(key))
            if data is not None:
                if self.failure is not None and key != "busy":
                    raise self.failure
                self.objects[key] = data
        return {}

    @asynccontextmanager
    async def held(self, combiner: Combiner, key: str = "busy") -> AsyncIterator[None]:
        """Everything submitted inside waits together."""
        self._free.clear()
        first = combiner.submit(key, lambda _: b"")
        assert self._reached.acquire(timeout=10)
        try:
            yield
        finally:
            self._free.set()
            await asyncio.wait_for(first, 10)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def combiner(disk, pool) -> Combiner:
    return Combiner(disk.commit, pool, jobs=1)


def append(text: str):
    return lambda data: (data or b"") + text.encode()


def fail(error: BaseException):
    def change(_data):
        raise error

    return change


async def outcome(future: asyncio.Future[None]) -> BaseException | None:
    await asyncio.wait({future}, timeout=10)
    return future.exception()


async def outcomes(futures) -> list[BaseException | None]:
    return [await outcome(future) for future in futures]


async def test_changes_that_wait_are_applied_in_order_by_one_commit(disk, combiner):
    async with disk.held(combiner):
        futures = [combiner.submit("k", append(letter)) for letter in "abcdef"]
    assert await outcomes(futures) == [None] * 6
    assert disk.objects["k"] == b"abcdef"
    assert disk.commits == [["busy"], ["k"]]


async def test_changes_that_come_during_their_keys_commit_are_the_next_one(disk, combiner):
    async with disk.held(combiner, "k"):
        futures = [combiner.submit("k", append(letter)) for letter in "abc"]
    assert await outcomes(futures) == [None] * 3
    assert disk.commits == [["k"], ["k"]]


async def test_a_wide_commit_takes_several_keys_in_the_order_of_their_waiting(disk, pool):
    combiner = Combiner(disk.commit, pool, jobs=1, width=2)
    async with disk.held(combiner):
        futures = [combiner.submit(key, append("x")) for key in "abcab"]
    assert await outcomes(futures) == [None] * 5
    assert disk.commits == [["busy"], ["a", "b"], ["c"]]
    assert disk.objects["a"] == b"xx"


async def test_a_busy_key_does_not_starve_the_others(disk, combiner):
    async with disk.held(combiner, "k"):
        combiner.submit("other", append("x"))
        again = combiner.submit("k", append("y"))
    await outcome(again)
    assert disk.commits == [["k"], ["other"], ["k"]]


async def test_an_exception_is_one_callers_alone(disk, combiner):
    error = ValueError("mine")
    async with disk.held(combiner):
        before = combiner.submit("k", append("a"))
        failing = combiner.submit("k", fail(error))
        after = combiner.submit("k", append("b"))
    assert await outcomes([before, failing, after]) == [None, error, None]
    assert disk.objects["k"] == b"ab"


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit()])
async def test_no_exception_takes_the_thread_with_it(disk, combiner, error):
    assert await outcome(combiner.submit("k", fail(error))) is error
    assert await outcome(combiner.submit("k", append("a"))) is None


async def test_stop_iteration_becomes_an_error_that_asyncio_can_carry(combiner):
    failure = await outcome(combiner.submit("k", fail(StopIteration(7))))
    assert isinstance(failure, RuntimeError)
    assert isinstance(failure.__cause__, StopIteration)


async def test_nothing_is_written_if_nothing_changed(disk, combiner):
    async with disk.held(combiner):
        futures = [combiner.submit("k", lambda _: None), combiner.submit("k", fail(ValueError()))]
    assert await outcome(futures[0]) is None
    assert isinstance(await outcome(futures[1]), ValueError)
    assert "k" not in disk.objects


async def test_a_failed_commit_fails_all_that_changed_something(disk, combiner):
    async with disk.held(combiner):
        futures = [combiner.submit("k", append(letter)) for letter in "ab"]
        disk.failure = OSError("disk")
    assert await outcomes(futures) == [disk.failure] * 2


async def test_a_failed_commit_fails_who_relied_on_what_it_did_not_store(disk, combiner):
    private = ValueError("mine")
    async with disk.held(combiner):
        idle = combiner.submit("k", lambda _: None)
        failed = combiner.submit("k", fail(private))
        combiner.submit("k", append("token"))
        applied = combiner.submit("k", lambda data: None if data == b"token" else b"again")
        refused = combiner.submit("k", fail(ValueError("because of the token")))
        disk.failure = OSError("disk")
    assert await outcome(idle) is None
    assert await outcome(failed) is private
    assert await outcome(applied) is disk.failure
    assert await outcome(refused) is disk.failure


async def test_a_commit_that_fails_before_reading_fails_all(pool):
    error = OSError("no lock")

    def commit(folds):
        raise error

    combiner = Combiner(commit, pool, jobs=1)
    assert await outcome(combiner.submit("k", lambda _: None)) is error


async def test_a_failure_of_one_key_is_not_anothers(pool):
    error = OSError("disk")

    def commit(folds):
        for fold in folds.values():
            fold(None)
        return {"a": error}

    combiner = Combiner(commit, pool, jobs=1, width=2)
    futures = {key: combiner.submit(key, append("x")) for key in "ab"}
    assert await outcome(futures["a"]) is error
    assert await outcome(futures["b"]) is None


async def test_only_the_last_of_several_runs_counts(disk, combiner):
    disk.folds = 3
    runs = []

    def fail_at_first(data):
        runs.append(data)
        if len(runs) == 1:
            raise ValueError
        return (data or b"") + b"x"

    assert await outcome(combiner.submit("k", fail_at_first)) is None
    assert disk.objects["k"] == b"x"
    assert len(runs) == 3


async def test_a_cancelled_change_is_dropped(disk, combiner):
    async with disk.held(combiner):
        first = combiner.submit("k", append("a"))
        second = combiner.submit("k", append("b"))
        alone = combiner.submit("other", append("c"))
        assert second.cancel()
        assert alone.cancel()
    assert await outcome(first) is None
    assert await outcome(combiner.submit("last", append("x"))) is None
    assert disk.objects["k"] == b"a"
    assert "other" not in disk.objects


async def test_a_running_change_is_made_though_nobody_waits_any_more(disk, combiner):
    disk._free.clear()
    future = combiner.submit("k", append("a"))
    assert disk._reached.acquire(timeout=10)
    future.cancel()
    disk._free.set()
    assert await outcome(combiner.submit("k", append("b"))) is None
    assert disk.objects["k"] == b"ab"


async def test_nothing_is_left_of_a_key_that_is_done(disk, pool):
    combiner = Combiner(disk.commit, pool, jobs=3, width=4)
    futures = [combiner.submit(f"k{n % 50}", append("x")) for n in range(500)]
    assert set(await outcomes(futures)) == {None}
    pool.shutdown()
    assert (combiner._waiting, combiner._behind, combiner._working) == ({}, {}, 0)


async def test_no_key_is_in_two_commits_at_once(pool):
    running: set[str] = set()
    objects: dict[str, bytes] = {}

    def commit(folds):
        assert not running & set(folds)
        running.update(folds)
        for key, fold in folds.items():
            objects[key] = fold(objects.get(key))
        time.sleep(0.0005)  # others come meanwhile, if any may
        running.difference_update(folds)
        return {}

    combiner = Combiner(commit, pool, jobs=4, width=2)
    futures = [combiner.submit(f"k{n % 3}", append("x")) for n in range(900)]
    assert set(await outcomes(futures)) == {None}
    assert set(objects.values()) == {b"x" * 300}


async def test_shutdown_lets_what_waits_finish_and_takes_no_more(disk, pool):
    combiner = Combiner(disk.commit, pool, jobs=1)
    async with disk.held(combiner, "k"):
        futures = [combiner.submit("k", append("a")), combiner.submit("other", append("b"))]
        pool.shutdown(wait=False)
    assert await outcomes(futures) == [None, None]
    pool.shutdown()
    with pytest.raises(RuntimeError):
        combiner.submit("k", append("x"))
    assert combiner._waiting == {}
