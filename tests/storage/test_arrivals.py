"""From threads to loops: every outcome arrives, those that come together by one wake-up."""

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from temporal_state.storage._arrivals import Arrival, in_thread, together


@pytest.fixture
async def wakes(monkeypatch):
    """One entry for each time that a thread has woken the loop."""
    loop, wakes = asyncio.get_running_loop(), []
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda *given: (wakes.append(1), call(*given))
    )
    return wakes


async def test_outcomes_that_come_together_wake_the_loop_once(wakes):
    arrivals = [Arrival() for _ in range(64)]
    for arrival in arrivals:
        arrival.tell()
    await asyncio.gather(*(arrival.future for arrival in arrivals))
    assert len(wakes) == 1


async def test_every_outcome_arrives_from_many_threads():
    arrivals = [Arrival() for _ in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        for number, arrival in enumerate(arrivals):
            pool.submit(arrival.tell, number)
        async with asyncio.timeout(20):
            found = await asyncio.gather(*(arrival.future for arrival in arrivals))
    assert found == [*range(2000)]


async def test_an_error_arrives():
    arrival = Arrival()
    arrival.tell(error=KeyError("k"))
    with pytest.raises(KeyError):
        await arrival.future


async def test_an_outcome_that_asyncio_cannot_carry_is_told_and_holds_up_no_other():
    arrivals = [Arrival(), Arrival()]
    with together():
        arrivals[0].tell(error=StopIteration(7))
        arrivals[1].tell(1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(arrivals[0].future, 10)
    assert await asyncio.wait_for(arrivals[1].future, 10) == 1


async def test_who_is_cancelled_wants_nothing_and_is_told_nothing():
    arrival = Arrival()
    assert arrival.is_wanted
    arrival.future.cancel()
    assert not arrival.is_wanted
    arrival.tell()
    with pytest.raises(asyncio.CancelledError):
        await arrival.future


def test_outcomes_for_a_loop_that_is_closed_are_nobodys(caplog):
    async def ask():
        return Arrival()

    kept = asyncio.run(ask())
    kept.tell()
    assert not kept.future.done()
    assert caplog.records == []  # as there were, had this raised in the thread


def test_a_loop_that_is_closed_is_not_kept_by_what_came_too_late():
    loops, arrivals = [], []

    async def ask() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        arrivals.extend(Arrival() for _ in range(2))

    asyncio.run(ask())
    while arrivals:
        arrivals.pop().tell()
    gc.collect()
    assert loops[0]() is None


async def test_a_cancellation_that_a_function_raises_is_its_error_and_nobodys_cancellation():
    def fail() -> None:
        raise CancelledError("of something else")

    arrival = Arrival()
    arrival.tell(error=CancelledError("of something else"))
    with pytest.raises(CancelledError):
        await arrival.future
    assert not arrival.future.cancelled()
    with ThreadPoolExecutor(1) as pool, pytest.raises(CancelledError):
        await in_thread(pool, fail)


async def test_outcomes_of_a_block_wake_each_loop_at_its_end(wakes):
    arrivals = [Arrival() for _ in range(3)]

    def tell() -> None:
        with together():
            for arrival in arrivals:
                arrival.tell()
                time.sleep(0.01)  # in which the loop would have come for the first
                assert wakes == []

    with ThreadPoolExecutor(1) as pool:
        await asyncio.wrap_future(pool.submit(tell))
    await asyncio.gather(*(arrival.future for arrival in arrivals))
    assert len(wakes) <= 2  # and one for the thread itself


async def test_what_is_called_in_a_thread_returns_or_raises_as_if_it_were_awaited():
    with ThreadPoolExecutor(1) as pool:
        assert await in_thread(pool, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await in_thread(pool, divmod, 7, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await in_thread(pool, next, iter([]))
    with pytest.raises(RuntimeError, match="shutdown"):
        in_thread(pool, divmod, 7, 2)


async def test_a_call_that_is_cancelled_before_it_begins_is_not_made():
    made, begun, end = [], asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.call_soon_threadsafe(begun.set)
        end.wait(20)

    with ThreadPoolExecutor(1) as pool:
        running, waiting = in_thread(pool, first), in_thread(pool, made.append, 1)
        await begun.wait()
        waiting.cancel()
        running.cancel()  # has begun, so it goes on, and nobody is told
        end.set()
        assert await in_thread(pool, len, made) == 0
