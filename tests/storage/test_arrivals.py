"""From threads to loops: every outcome arrives, those that come together by one wake-up."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from temporal_state.storage._arrivals import arrival


async def test_outcomes_that_come_together_wake_the_loop_once(monkeypatch):
    loop, wakes = asyncio.get_running_loop(), []
    call = loop.call_soon_threadsafe
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda *given: (wakes.append(1), call(*given))
    )
    futures = [Future() for _ in range(64)]
    waiting = [arrival(future) for future in futures]
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*waiting)
    assert len(wakes) == 1


async def test_every_outcome_arrives_from_many_threads():
    futures = [Future() for _ in range(2000)]
    waiting = [arrival(future) for future in futures]
    with ThreadPoolExecutor(8) as pool:
        for future in futures:
            pool.submit(future.set_result, None)
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting)


async def test_an_error_arrives():
    future = Future()
    waiting = arrival(future)
    future.set_exception(KeyError("k"))
    with pytest.raises(KeyError):
        await waiting


async def test_who_is_cancelled_cancels_what_has_not_begun():
    future = Future()
    waiting = arrival(future)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)  # as with any callback of a future
    assert future.cancelled()


def test_outcomes_for_a_loop_that_is_closed_are_nobodys(caplog):
    async def ask(future):
        return arrival(future)

    future = Future()
    kept = asyncio.run(ask(future))
    future.set_result(None)
    assert not kept.done()
    assert caplog.records == []  # as there were, had this raised in the thread
