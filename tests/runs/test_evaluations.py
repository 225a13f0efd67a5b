"""Evaluations: once for an id, newest first, of one run or of all."""

import math
from datetime import datetime, timedelta

import pytest
from as_told import IN_MEMORY, NOON

from temporal_state import ConflictError, InvalidValueError, NotRecordedError

SECOND = timedelta(seconds=1)


async def test_a_run_and_its_steps_are_judged_newest_first(runs, ref, clock):
    await runs.evaluate("order-7", 0.5, "so so", {"by": "ann"})
    clock.move(seconds=1)
    await runs.evaluate("order-7", 1, step=3)
    newest, oldest = await runs.evaluations("order-7")
    assert (newest.score, newest.step, newest.time) == (1, 3, NOON + SECOND)
    assert (oldest.feedback, oldest.metadata, oldest.run_id) == ("so so", {"by": "ann"}, "r1")
    assert list(await runs.evaluations()) == [newest, oldest]
    assert len(await runs.evaluations("unknown")) == 0


async def test_an_id_is_judged_once(backend, runs, ref, clock):
    first = await runs.evaluate("order-7", 1, evaluation_id="run")
    clock.move(days=40)
    assert await runs.evaluate("order-7", 1, evaluation_id="run") == first
    with pytest.raises(ConflictError, match="evaluation_id"):
        await runs.evaluate("order-7", 2, evaluation_id="run")
    assert list(await runs.evaluations()) == list(await runs.evaluations("order-7")) == [first]
    assert (await runs.get("order-7")).run_id == "r1"  # no file of it looks like a run


async def test_of_all_runs_they_are_found_by_time_a_page_at_a_time(runs, clock):
    for n in range(25):
        clock.move(hours=20 * n)
        await runs.start(f"w{n}", workflow_type="T")
        await runs.evaluate(f"w{n}", n, evaluation_id="same")
    times = [e.time for e in await runs.evaluations()]
    assert [e.score for e in await runs.evaluations()] == [*range(24, -1, -1)]
    found, cursor = [], None
    while True:
        page = await runs.evaluations(limit=4, cursor=cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            break
    assert [e.score for e in found] == [*range(24, -1, -1)]
    window = await runs.evaluations(since=times[20], until=times[10])
    assert [e.time for e in window] == times[11:21]
    assert [e.score for e in await runs.evaluations(since=times[3])] == [24, 23, 22, 21]


async def test_of_one_run_they_are_paged_too(runs, ref, clock):
    for n in range(5):
        clock.move(seconds=1)
        await runs.evaluate("order-7", n)
    page = await runs.evaluations("order-7", limit=3)
    assert [e.score for e in page] == [4, 3, 2]
    rest = await runs.evaluations("order-7", limit=3, cursor=page.cursor)
    assert ([e.score for e in rest], rest.cursor) == ([1, 0], None)
    window = await runs.evaluations("order-7", since=NOON + 2 * SECOND, until=NOON + 4 * SECOND)
    assert [e.score for e in window] == [2, 1]


@IN_MEMORY
@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, True, "1", None, 2**64])
async def test_a_score_is_a_finite_number(runs, ref, score):
    with pytest.raises(InvalidValueError):
        await runs.evaluate("order-7", score)
    assert len(await runs.evaluations()) == 0


async def test_what_is_judged_must_be_there(runs, ref):
    with pytest.raises(NotRecordedError, match="nothing"):
        await runs.evaluate("nothing", 1)
    with pytest.raises(NotRecordedError, match="r9"):
        await runs.evaluate("order-7", 1, run_id="r9")
    with pytest.raises(InvalidValueError, match="time zone"):
        await runs.evaluate("order-7", 1, at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidValueError, match="step=0"):
        await runs.evaluate("order-7", 1, step=0)
    with pytest.raises(InvalidValueError, match="limit=0"):
        await runs.evaluations(limit=0)
