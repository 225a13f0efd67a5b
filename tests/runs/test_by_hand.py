"""Records by hand: twice is once, late is as good as early, and no worker's record is damaged."""

import asyncio
import math
from datetime import datetime, timedelta, timezone

import pytest
from as_told import IN_MEMORY, NOON, Clock, checkpoint, header, told
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_state import (
    ConflictError,
    InvalidValueError,
    Limits,
    StateBackend,
    StoreTimeoutError,
    TooLargeError,
)
from temporal_state.documents import to_text
from temporal_state.runs import Failure, Patch
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

SECOND = timedelta(seconds=1)


async def test_a_run_is_recorded_by_hand_from_start_to_end(runs, clock):
    ref = await runs.start(
        "order-7", workflow_type="Import", input=[{"rows": 3}], metadata={"by": "cron"}
    )
    await runs.step(ref, number=1, name="load", status="started", started=clock())
    running = await runs.get("order-7")
    assert (running.status, running.kind, running.steps) == ("running", "manual", 1)
    assert (running.open, running.metadata) == (["load"], {"by": "cron"})
    ended = clock.move(seconds=5)
    await runs.step(ref, number=1, name="load", result=[1, 2], ended=ended)
    await runs.progress(ref, 3, 3, "rows")
    await runs.finish(ref, "completed", result={"rows": 3})
    run = await runs.get("order-7")
    assert (run.status, run.confirmed, run.ended) == ("completed", True, ended)
    assert (run.counts, run.open, run.progress.done) == ({"completed": 1}, [], 3)
    assert run.input[0].json() == run.result.json() == {"rows": 3}
    (step,) = await runs.steps("order-7")
    assert (step.status, step.started, step.ended) == ("completed", NOON, ended)
    assert step.result.json() == [1, 2]
    assert [r.run_id for r in await runs.list(status="completed")] == [ref.run_id]


async def test_starting_again_erases_nothing(runs, ref, clock):
    await runs.step(ref, number=1, name="load")
    await runs.annotate(ref, {"a": 1})
    clock.move(hours=1)
    again = await runs.start("order-7", workflow_type="Other", run_id="r1", metadata={"b": 2})
    assert again == ref
    run = await runs.get("order-7")
    assert (run.workflow_type, run.steps, run.metadata) == ("Import", 1, {"a": 1, "b": 2})
    assert len(await runs.list()) == 1


async def test_a_step_that_is_saved_three_times_is_one_step_and_its_last_attempt_holds(runs, ref):
    failed = {"number": 1, "name": "load", "status": "failed"}
    await runs.step(ref, **failed, attempt=2, error=ValueError("two"))
    await runs.step(ref, number=1, name="load", attempt=3, worker="w3")
    await runs.step(ref, **failed, attempt=1, error="one")
    (step,) = await runs.steps("order-7")
    assert (step.attempt, step.status, step.error, step.worker) == (3, "completed", None, "w3")
    assert (await runs.get("order-7")).counts == {"completed": 1}


async def test_of_one_attempt_an_end_wins_and_a_later_end_over_an_earlier(runs, ref):
    late = {"number": 1, "name": "load", "ended": NOON + 2 * SECOND, "result": "late"}
    early = {"number": 1, "name": "load", "ended": NOON + SECOND, "result": "early"}
    open_ = {"number": 1, "name": "load", "status": "started", "started": NOON}
    for step in (late, early, open_):
        await runs.step(ref, **step)
    (step,) = await runs.steps("order-7")
    assert (step.result.json(), step.status, step.started) == ("late", "completed", NOON)


async def test_steps_far_apart_are_counted_and_found(runs, ref):
    numbers = [1, 63, 64, 65, 640, 10_000]
    for number in numbers:
        await runs.step(ref, number=number, name="s", status="failed", error="x")
    run = await runs.get("order-7")
    assert (run.steps, run.counts) == (10_000, {"failed": 6})
    assert [s.number for s in await runs.steps("order-7")] == numbers


async def test_a_step_counted_only_half_is_counted_by_the_next_call(runs, ref, monkeypatch):
    written = type(runs)._change

    async def crash(*_):
        raise OSError("killed between the two objects")

    monkeypatch.setattr(type(runs), "_change", crash)
    with pytest.raises(OSError, match="killed"):
        await runs.step(ref, number=100, name="s")
    monkeypatch.setattr(type(runs), "_change", written)
    await runs.step(ref, number=100, name="s")
    assert (await runs.get("order-7")).counts == {"completed": 1}


async def test_a_closed_run_stays_closed(runs, ref):
    await runs.finish(ref, "failed", error=ValueError("no rows"))
    await runs.finish(ref, "failed", error=ValueError("no rows"))
    with pytest.raises(ConflictError, match="failed"):
        await runs.finish(ref, "completed")
    with pytest.raises(ConflictError, match="failed"):
        await runs.finish(ref, "failed", error="something else")
    run = await runs.get("order-7")
    assert (run.status, run.error) == ("failed", Failure("ValueError", "no rows"))


async def test_an_end_that_was_not_sure_may_be_replaced(runs, ref):
    await runs.finish(ref, "timed_out", confirmed=False)
    assert not (await runs.get("order-7")).confirmed
    await runs.finish(ref, "completed", result=1)
    run = await runs.get("order-7")
    assert (run.status, run.confirmed, run.result.json()) == ("completed", True, 1)
    with pytest.raises(ConflictError):
        await runs.finish(ref, "timed_out", confirmed=False)


async def test_the_notes_of_a_run_are_bounded_whoever_makes_them(runs, ref, clock, caplog):
    for n in range(6):
        await runs.annotate(ref, {f"n{n}": "x" * 10_000})
    with pytest.raises(TooLargeError, match="'more', the limit is 65536"):
        await runs.annotate(ref, {"more": "x" * 10_000})
    clock.move(seconds=1)
    await runs.annotate(ref, {"n0": "short"})
    noted = {"large": "x" * 30_000, "small": 1}
    notes = {key: {"at": to_text(NOON), "value": value} for key, value in noted.items()}
    await runs.write(Patch(ref, header(ref, 1), notes=notes), "writer")
    assert "over 65536 bytes: 'large'" in caplog.text
    run = await runs.get("order-7")
    assert (run.clock, sorted(run.metadata)) == (1, [*(f"n{n}" for n in range(6)), "small"])
    assert run.metadata["n0"] == "short"


async def test_of_notes_and_progress_what_was_so_last_holds(runs, ref, clock):
    later = clock.move(seconds=1)
    await runs.annotate(ref, {"a": "new", "n": {"x": 1}}, at=later)
    await runs.annotate(ref, {"a": "old", "b": 1}, at=NOON)
    await runs.progress(ref, 2, at=later)
    await runs.progress(ref, 1, at=NOON)
    run = await runs.get("order-7")
    assert run.metadata == {"a": "new", "n": {"x": 1}, "b": 1}
    assert run.progress.done == 2


@IN_MEMORY
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("step", {"number": 0, "name": "a"}),
        ("step", {"number": 1, "name": "a", "attempt": 0}),
        ("step", {"number": 1, "name": "a", "status": "done"}),
        ("step", {"number": 1, "name": "a", "status": "started", "ended": NOON}),
        ("step", {"number": 1, "name": "a", "started": NOON, "ended": NOON - SECOND}),
        ("step", {"number": 1, "name": "a", "result": math.nan}),
        ("step", {"number": 1, "name": "a", "started": datetime(2026, 1, 1)}),  # noqa: DTZ001
        ("finish", {"status": "running"}),
        ("finish", {"status": "completed", "result": {1: 2}}),
        ("progress", {"done": math.inf}),
        ("progress", {"done": -1}),
        ("annotate", {"metadata": {"a": {1, 2}}}),
        ("checkpoint", {"step": -1, "state": {}}),
        ("checkpoint", {"step": 1, "state": {}, "number": 0}),
        ("checkpoint", {"step": 1, "state": {}, "name": ""}),
        ("checkpoint", {"step": 1, "state": {"a": 2**64}}),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_written(backend, ref, method, arguments):
    keys = [key for key in await backend.store.list() if "/feed/" not in key]
    before = [(key, (await backend.store.get(key)).etag) for key in keys]
    with pytest.raises(InvalidValueError):
        await getattr(backend.runs, method)(ref, **arguments)
    keys = [key for key in await backend.store.list() if "/feed/" not in key]
    after = [(key, (await backend.store.get(key)).etag) for key in keys]
    assert before == after


@pytest.mark.parametrize("workflow_id", ["../x", "a/b", ".", "Ä b", "run.json", "x" * 300, "\0"])
async def test_any_workflow_and_run_id_is_a_place_of_its_own(runs, workflow_id):
    ref = await runs.start(workflow_id, workflow_type="T", run_id=workflow_id)
    assert await runs.start(workflow_id, workflow_type="T", run_id=workflow_id) == ref
    other = await runs.start(workflow_id + "2", workflow_type="T")
    await runs.step(ref, number=1, name="s")
    assert (await runs.get(workflow_id)).run_id == workflow_id
    assert (await runs.get(workflow_id + "2")).run_id == other.run_id
    assert await runs.steps(workflow_id + "2") == []


def calls(number):
    """Calls that are all true of one run; each can be made at any time, and again."""
    at = NOON + number * SECOND
    step = {"number": number % 3 * 40 + 1, "name": f"s{number % 3}", "at": at}
    return [
        ("step", {**step, "status": "started", "started": at}),
        ("step", {**step, "ended": at + SECOND, "result": number, "attempt": number % 2 + 1}),
        ("step", {**step, "ended": at, "status": "failed", "error": f"e{number}"}),
        ("progress", {"done": number, "total": 9, "at": at}),
        ("annotate", {"metadata": {"n": number, f"k{number}": number}, "at": at}),
        ("checkpoint", {"step": number, "state": {"n": number}, "number": number + 1, "at": at}),
        ("finish", {"status": "completed", "result": "r", "ended": NOON, "at": at}),
    ]


histories = st.lists(
    st.integers(0, 5).flatmap(lambda n: st.sampled_from(calls(n))), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_any_order_and_repetition_of_calls_gives_the_same_record(history, random):
    shuffled = [*history, *history]
    random.shuffle(shuffled)
    assert asyncio.run(what_is_read(history)) == asyncio.run(what_is_read(shuffled))


async def what_is_read(history):
    async with StateBackend.open("memory://", clock=Clock()) as backend:
        runs = backend.runs
        start = {"workflow_type": "T", "run_id": "r", "started": NOON, "metadata": {"n": -1}}
        ref = await runs.start("order", **start, at=NOON - SECOND)
        for method, arguments in history:
            await getattr(runs, method)(ref, **arguments)
        await runs.start("order", **start, at=NOON - SECOND)
        checkpoints = [(c.number, c.step, c.state, c.time) for c in await runs.history("order")]
        return await runs.get("order"), await runs.steps("order"), checkpoints


async def test_a_worker_that_records_the_run_is_never_contradicted(runs, ref):
    await runs.step(ref, number=1, name="mine")
    await runs.checkpoint(ref, step=1, state={"mine": True})
    await runs.progress(ref, 1, 9)
    await told(runs, ref, 7, steps=[1, 2], checkpoints=[checkpoint(1)], counts={"completed": 1})
    run = await runs.get("order-7")
    assert (run.kind, run.workflow_type, run.clock) == ("workflow", "Recorded", 7)
    assert (run.steps, run.counts) == (2, {"completed": 1})
    assert [s.name for s in await runs.steps("order-7")] == ["a1", "a2"]
    assert [(c.number, c.clock) for c in await runs.history("order-7")] == [(1, 1)]
    with pytest.raises(ConflictError, match="steps"):
        await runs.step(ref, number=3, name="mine")
    with pytest.raises(ConflictError, match="steps"):
        await runs.step(ref, number=300, name="mine")
    with pytest.raises(ConflictError, match="checkpoints"):
        await runs.checkpoint(ref, step=3, state={})
    assert await runs.get("order-7") == run


async def test_notes_by_hand_stand_beside_those_of_the_workflow(runs, ref, clock):
    told_at = {"metadata_at": {"a": [3, "2026-05-01T12:00:03.000000Z"]}}
    await told(runs, ref, 3, metadata={"a": "workflow"}, **told_at)
    await runs.annotate(ref, {"a": "too early", "b": "by hand"}, at=NOON)
    assert (await runs.get("order-7")).metadata == {"a": "workflow", "b": "by hand"}
    await runs.annotate(ref, {"a": "later"}, at=NOON + 10 * SECOND)
    await told(runs, ref, 99, metadata={"a": "workflow"}, **told_at)
    assert (await runs.get("order-7")).metadata == {"a": "later", "b": "by hand"}


async def test_an_end_by_hand_holds_until_the_worker_shows_more(runs, ref):
    await told(runs, ref, 5)
    await runs.finish(ref, "terminated")
    assert (await runs.get("order-7")).status == "terminated"
    await told(runs, ref, 5)
    assert (await runs.get("order-7")).status == "terminated"
    await told(runs, ref, 6)
    assert (await runs.get("order-7")).status == "running"
    await runs.finish(ref, "failed", error="another")
    assert (await runs.get("order-7")).status == "failed"


async def test_an_end_that_temporal_confirmed_is_not_changed_by_hand(runs, ref):
    await told(
        runs, ref, 5, status="completed", confirmed=True, ended="2026-05-01T12:00:05.000000Z"
    )
    await runs.finish(ref, "completed")
    with pytest.raises(ConflictError, match="completed"):
        await runs.finish(ref, "failed")
    assert (await runs.get("order-7")).ended == NOON + 5 * SECOND


async def test_an_end_that_temporal_has_not_confirmed_is_replaced_by_hand(runs, ref):
    await told(runs, ref, 5, status="completed", ended="2026-05-01T12:00:05.000000Z")
    await runs.finish(ref, "failed")
    assert (await runs.get("order-7")).status == "failed"


async def test_a_run_that_was_read_can_be_written_to(runs, ref):
    run = await runs.get("order-7")
    assert run.ref == ref
    await runs.annotate(run.ref, {"a": 1})
    assert (await runs.get("order-7")).metadata == {"a": 1}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("step", {"number": 100, "name": "a"}),
        ("checkpoint", {"step": 1, "state": {}}),
        ("finish", {"status": "failed"}),
        ("span", {"name": "s", "start": NOON}),
    ],
)
async def test_writing_to_a_store_that_hangs_ends_in_time(method, arguments):
    store = FailingStore(MemoryStore())
    limits = Limits(operation_timeout=timedelta(milliseconds=50))
    async with StateBackend.open(store, limits=limits) as backend:
        ref = await backend.runs.start("order", workflow_type="T")
        store.delay = timedelta(hours=1)
        with pytest.raises(StoreTimeoutError):
            await asyncio.wait_for(getattr(backend.runs, method)(ref, **arguments), 5)


async def test_a_call_that_is_cancelled_is_made_or_not_made(runs, ref):
    for n in range(1, 20):
        task = asyncio.create_task(runs.checkpoint(ref, step=n, state={"n": n}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        kept = await runs.history("order-7")
        await asyncio.sleep(0.01)
        assert await runs.history("order-7") == kept  # nothing goes on behind the caller's back
        assert [c.step for c in kept] == [*range(1, n + 1)]
        assert all(c.state == {"n": c.step} for c in kept)


PROCESS = """
import asyncio, sys
from temporal_state import StateBackend

async def main(root, name):
    async with StateBackend.open(root, app="tests") as backend:
        runs = backend.runs
        ref = await runs.start("shared", workflow_type="T", run_id="one")
        for n in range(60, 70):
            await runs.step(ref, number=n, name=f"s{n}", worker=name)
        await runs.annotate(ref, {name: True})
        await runs.finish(ref, "completed", result=1)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_write_one_record(tmp_path, children):
    writers = [children.start(PROCESS, tmp_path, name) for name in ("a", "b")]
    await asyncio.gather(*map(children.output, writers))
    async with StateBackend.open(tmp_path, app="tests") as backend:
        (run,) = await backend.runs.list()
        assert (run.status, run.counts, run.steps) == ("completed", {"completed": 10}, 69)
        assert run.metadata == {"a": True, "b": True}
        assert [s.number for s in await backend.runs.steps("shared")] == [*range(60, 70)]


BEYOND = datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))


@IN_MEMORY
@pytest.mark.parametrize(
    "call",
    [
        lambda runs, ref: runs.start("w", workflow_type="T", started=BEYOND),
        lambda runs, ref: runs.finish(ref, ended=BEYOND),
        lambda runs, ref: runs.step(ref, number=2**70, name="a"),
        lambda runs, ref: runs.step(ref, number=1, name="a", attempt=2**70),
        lambda runs, ref: runs.step(ref, number=1, name="\ud800"),
        lambda runs, ref: runs.step(ref, number=1, name="a", worker=5),
        lambda runs, ref: runs.checkpoint(ref, step=2**70, state={}),
        lambda runs, ref: runs.checkpoint(ref, step=1, state={}, name=5),
        lambda runs, ref: runs.evaluate(ref, 1, step=2**70),
    ],
)
async def test_what_no_record_can_hold_is_refused_by_name(runs, call):
    ref = await runs.start("order-9", workflow_type="T", run_id="r1")
    with pytest.raises(InvalidValueError):
        await call(runs, ref)
    assert (await runs.get("order-9")).status == "running"
