"""Spans: a tree of a run, its steps and what its code added; what cannot be is refused by name."""

import asyncio
import itertools
from datetime import datetime, timedelta

import pytest
from as_told import IN_MEMORY, NOON

from temporal_state import ConflictError, InvalidValueError, TooLargeError
from temporal_state.runs import Span, span_statistics
from temporal_state.runs._spans import MAX_DEPTH, MAX_IN_BUCKET, bucket_of

SECOND = timedelta(seconds=1)


def span(id, parent=None, **changes):
    times = {"start": NOON, "end": NOON + SECOND}
    return Span(**{"name": f"n-{id}", "span_id": id, "parent_span_id": parent, **times, **changes})


async def test_a_run_its_steps_and_its_own_spans_are_one_tree(runs, ref):
    await runs.step(ref, number=1, name="load", started=NOON, ended=NOON + 3 * SECOND)
    parse = await runs.span(ref, name="parse", step=1, start=NOON + SECOND, end=NOON + 2 * SECOND)
    await runs.span(ref, name="row", parent_span_id=parse.span_id, start=NOON + SECOND)
    by_name = {s.name: s for s in await runs.spans("order-7")}
    assert by_name["Import"].parent_span_id is None
    assert by_name["load"].parent_span_id == by_name["Import"].span_id
    assert by_name["parse"].parent_span_id == by_name["load"].span_id
    assert by_name["row"].parent_span_id == by_name["parse"].span_id
    assert [s.name for s in await runs.spans("order-7", status="completed")] == ["load", "parse"]
    assert [s.name for s in await runs.spans("order-7", name="row")] == ["row"]
    window = await runs.spans("order-7", since=NOON + SECOND, until=NOON + 2 * SECOND)
    assert {s.name for s in window} == {"parse", "row"}
    with pytest.raises(InvalidValueError, match="done"):
        await runs.spans("order-7", status="done")


async def test_a_span_that_is_saved_again_is_one_and_its_later_end_holds(runs, ref):
    for end in (None, NOON + 2 * SECOND, NOON + SECOND, None):
        await runs.span(ref, name="s", span_id="a", start=NOON, end=end)
    spans = await runs.spans("order-7", name="s")
    assert [(s.end, s.status) for s in spans] == [(NOON + 2 * SECOND, "completed")]


async def test_spans_are_added_together_in_any_order(runs, ref):
    await runs.add_spans(ref, [span("c", "b"), span("a"), span("b", "a"), span("d", "a")])
    found = {s.span_id: s.parent_span_id for s in await runs.spans("order-7")}
    assert (found["b"], found["c"], found["d"]) == ("a", "b", "a")


@IN_MEMORY
@pytest.mark.parametrize(
    ("spans", "named"),
    [
        ([span("")], "n-"),
        ([span("a b")], "a b"),
        ([span("x" * 65)], "xxx"),
        ([span("../up")], "up"),
        ([span("bad", end=NOON - SECOND)], "'bad'.*before it starts"),
        ([span("bad", start=datetime(2026, 1, 1))], "'bad'.*time zone"),  # noqa: DTZ001
        ([span("bad", status="fine")], "'bad'.*fine"),
        ([span("bad", end=None)], "'bad'.*no end"),
        ([span("bad", name="")], "'bad'.*no name"),
        ([span("bad", name="\ud800")], "'bad'.*surrogate"),
        ([span("bad", "\ud800")], "'bad'.*parent"),
        ([span("bad", step=0)], "'bad'.*step 0"),
        ([span("bad", attributes={"x": {1}})], "'bad'"),
        ([span("good"), span("bad", "missing")], "'bad'.*'missing'"),
        ([span("bad", "bad")], "'bad'.*own parent"),
        ([span("good"), span("a", "c"), span("b", "a"), span("c", "b")], "above itself"),
    ],
)
async def test_a_span_that_cannot_be_is_refused_by_name_and_no_other_is_added(
    runs, ref, spans, named
):
    with pytest.raises(InvalidValueError, match=named):
        await runs.add_spans(ref, spans)
    assert [s.name for s in await runs.spans("order-7")] == ["Import"]


async def test_a_span_cannot_move(runs, ref):
    await runs.add_spans(ref, [span("a"), span("b", "a")])
    with pytest.raises(ConflictError, match="'a' has the parent None"):
        await runs.add_spans(ref, [span("a", "b")])
    with pytest.raises(ConflictError, match="'x'"):
        await runs.add_spans(ref, [span("x"), span("x", "a")])


async def test_the_depth_is_limited(runs, ref):
    chain = [span("s1"), *(span(f"s{n}", f"s{n - 1}") for n in range(2, MAX_DEPTH + 1))]
    await runs.add_spans(ref, chain[::-1])
    with pytest.raises(InvalidValueError, match=f"'deep' lies {MAX_DEPTH + 1} deep"):
        await runs.add_spans(ref, [span("deep", f"s{MAX_DEPTH}")])


async def test_of_spans_that_are_too_many_for_one_object_none_is_added(runs, ref):
    names = (f"s{n}" for n in itertools.count())
    full = list(itertools.islice((n for n in names if bucket_of(n) == 0), MAX_IN_BUCKET + 1))
    await runs.add_spans(ref, [span(name) for name in full[1:]])
    other = next(name for name in names if bucket_of(name) == 1)
    with pytest.raises(TooLargeError):
        await runs.add_spans(ref, [span(full[0]), span(other)])
    assert other not in {s.span_id for s in await runs.spans("order-7")}


@pytest.mark.parametrize("window", ["since", "until"])
async def test_a_time_without_a_zone_is_no_window(runs, ref, window):
    with pytest.raises(InvalidValueError, match=window):
        await runs.spans("order-7", **{window: datetime(2026, 5, 1)})  # noqa: DTZ001 that is it


async def test_spans_added_at_once_all_arrive_and_cost_a_bounded_number_of_objects(
    backend, runs, ref
):
    await asyncio.gather(*(runs.add_spans(ref, [span(f"s{n}")]) for n in range(200)))
    assert len(await runs.spans("order-7")) == 201
    assert len([k for k in await backend.store.list() if "/spans/" in k]) <= 64


def test_statistics_count_and_average_by_name_or_status():
    spans = [span("a", name="x"), span("b", name="x", end=NOON + 3 * SECOND), span("c", name="y")]
    spans.append(span("d", name="z", end=None, status="started"))
    by_name = span_statistics(spans, by="name")
    assert (by_name["x"].count, by_name["x"].average) == (2, 2 * SECOND)
    assert by_name["z"].average is None
    assert span_statistics(spans, by="status")["completed"].count == 3
