"""Retention: what is old goes, what runs stays, whatever its age; each part fails on its own."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from temporal_state import StateBackend
from temporal_state.errors import DamagedObjectError, InvalidValueError, StoreError
from temporal_state.runs import PARTS, Retention
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def backend(tmp_path):
    async with StateBackend.open(tmp_path / "store", app="tests", clock=lambda: NOW) as opened:
        yield opened


async def a_run(backend, name, *, ended=None, status="completed", started=40, **options):
    """Record a run that started and ended so many days ago."""
    begun = NOW - started * DAY
    ref = await backend.runs.start(
        name, workflow_type="Script", run_id=name, started=begun, at=begun, **options
    )
    if ended is not None:
        at = NOW - ended * DAY
        await backend.runs.finish(ref, status, ended=at, at=at)
    return ref


async def names(backend):
    return {run.workflow_id for run in await backend.runs.list()}


async def test_closed_runs_go_when_they_are_old_and_running_ones_never(backend):
    await a_run(backend, "old", ended=31)
    await a_run(backend, "exactly", ended=30)
    await a_run(backend, "young", ended=29)
    await a_run(backend, "failed", ended=31, status="failed")
    await a_run(backend, "running", started=400)
    clean = backend.maintenance.cleanup
    assert await clean(older_than={"completed": 30 * DAY}, dry_run=True) == 2
    assert len(await names(backend)) == 5
    assert await clean(older_than={"completed": 30 * DAY}, limit=1) == 1
    assert await clean(older_than={"completed": 30 * DAY}) == 1
    assert await names(backend) == {"young", "failed", "running"}
    counted = []
    assert await clean(older_than=timedelta(0), progress=counted.append) == 2
    assert counted == [1, 2]
    assert await names(backend) == {"running"}
    lines = await backend.audit.list()
    assert [line.action for line in lines] == ["run.delete"] * 4
    assert {line.actor for line in lines} == {"maintenance"}


async def test_snapshots_outlive_their_runs(backend):
    ref = await a_run(backend, "old", ended=31)
    await backend.runs.checkpoint(ref, step=1, state={"a": 1})
    await backend.snapshots.create("kept", run="old")
    assert await backend.maintenance.cleanup(older_than=30 * DAY) == 1
    assert (await backend.snapshots.load("kept")).state == {"a": 1}


async def test_stale_runs_fail_with_their_open_steps_and_a_late_end_replaces_that(backend):
    ref = await a_run(backend, "silent", started=3)
    at = NOW - 2 * DAY
    await backend.runs.step(ref, number=1, name="one", status="completed", at=at)
    await backend.runs.step(ref, number=2, name="two", status="started", at=at)
    await a_run(backend, "heard of", started=3)
    await backend.runs.progress(ref_of(backend, "heard of", 3), 1, at=NOW - timedelta(hours=1))
    await a_run(backend, "of Temporal", started=3, kind="workflow")
    stale = backend.maintenance.fail_stale
    assert await stale(older_than=DAY, dry_run=True) == 1
    assert await stale(older_than=DAY) == 1
    assert await stale(older_than=DAY) == 0
    run = await backend.runs.get("silent")
    assert (run.status, run.confirmed, run.error.type) == ("failed", False, "StaleError")
    steps = await backend.runs.steps("silent")
    assert [step.status for step in steps] == ["completed", "failed"]
    assert {r.workflow_id for r in await backend.runs.list(status="running")} == {
        "heard of",
        "of Temporal",
    }
    await backend.runs.finish(ref, "completed", at=NOW)
    assert (await backend.runs.get("silent")).status == "completed"


def ref_of(backend, name, started):
    from temporal_state.runs import RunRef

    return RunRef("default", name, name, NOW - started * DAY)


async def test_only_the_newest_checkpoints_stay(backend):
    ref = await a_run(backend, "long")
    for step in range(5):
        await backend.runs.checkpoint(ref, step=step, state={"step": step})
    assert await backend.maintenance.trim_checkpoints(2) == 3
    assert [c.step for c in await backend.runs.history("long")] == [3, 4]
    assert await backend.maintenance.trim_checkpoints(2) == 0


async def test_one_call_does_all_parts(backend):
    await a_run(backend, "old", ended=31)
    await a_run(backend, "silent", started=35)
    report = await backend.maintenance.run(Retention(runs=30 * DAY, checkpoints=1, stale=30 * DAY))
    assert (report.errors, report.unfinished) == ({}, [])
    assert set(report.done) == set(PARTS)
    assert (report.done["runs"], report.done["stale"]) == (1, 1)
    assert {run.status for run in await backend.runs.list()} == {"failed"}
    again = await backend.maintenance.run(Retention(runs=30 * DAY, stale=30 * DAY))
    assert set(again.done.values()) == {0}


async def test_without_retention_all_runs_stay(backend):
    await a_run(backend, "old", ended=31)
    await a_run(backend, "silent", started=35)
    report = await backend.maintenance.run()
    assert set(report.done.values()) == {0}
    assert await names(backend) == {"old", "silent"}


async def damaged(backend, name):
    """Put something else in the place of a run's record, after it was listed."""
    assert name in await names(backend)
    (key,) = [k for k in await backend.store.list() if k.endswith(f"-{name}/run.json")]
    await backend.store.put(key, b"no JSON")


async def test_a_damaged_run_is_named_and_hides_no_other(backend):
    for number in range(3):
        await a_run(backend, f"run{number}", ended=31, started=41 - number)
    await damaged(backend, "run1")
    for deleted in (2, 0):
        report = await backend.maintenance.run(Retention(runs=DAY, checkpoints=1, stale=DAY))
        assert (report.done["runs"], report.failed["runs"]) == (deleted, 1)
        assert re.match("run 'run1' of 'run1': DamagedObjectError: .*", report.errors["runs"])
        assert set(report.done) == set(PARTS)
    assert await names(backend) == {"run1"}


async def test_cleaning_up_goes_on_behind_a_damaged_run_and_says_so(backend):
    for number in range(3):
        await a_run(backend, f"run{number}", ended=31, started=41 - number)
    await damaged(backend, "run1")
    with pytest.raises(DamagedObjectError, match=r"2 runs were deleted, and 1 could not.*run1"):
        await backend.maintenance.cleanup(older_than=DAY)
    assert await names(backend) == {"run1"}


async def test_a_part_that_fails_is_reported_and_hides_no_other():
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store, app="tests", catalog="memory://") as backend:
        await backend.keys.set("k", 1)
        store.error = StoreError("the disk is gone")
        report = await backend.maintenance.run(Retention(runs=DAY))
        assert report.errors["keys"] == "StoreError: the disk is gone"
        assert set(report.errors) | set(report.done) == set(PARTS)


async def test_what_deleted_documents_left_goes_at_once_however_many_they_are():
    later = [NOW]
    async with StateBackend.open("memory://", app="tests", clock=lambda: later[0]) as backend:
        for number in range(70):
            await backend.keys.set(f"k{number}", 1, ttl=DAY)
            await backend.documents.set(f"d{number}", "k", 1, f"type{number % 3}")
            await backend.documents.delete(f"d{number}", f"type{number % 3}")
        await backend.keys.set("living", 1)
        later[0] += 3 * DAY
        for part, most in (("keys", 71), ("documents", 70)):
            cursor, removed, pieces = None, 0, 0
            while pieces == 0 or cursor is not None:
                piece = await backend.maintenance.piece(part, Retention(), cursor, limit=20)
                cursor, removed, pieces = piece.cursor, removed + piece.done, pieces + 1
                assert piece.done <= 20
            assert (removed, pieces) == (70, -(-most // 20))
        assert len(await backend.store.list()) == 1


async def test_where_no_checkpoint_is_dropped_nothing_is_announced(backend):
    ref = await a_run(backend, "long")
    await backend.runs.checkpoint(ref, step=1, state={})
    before = await backend.store.list()
    assert await backend.maintenance.trim_checkpoints(1) == 0
    assert await backend.store.list() == before


@pytest.mark.parametrize("wrong", [{}, 30, {"failed": 30}])
async def test_cleaning_up_without_an_age_is_refused(backend, wrong):
    with pytest.raises(InvalidValueError):
        await backend.maintenance.cleanup(older_than=wrong)


async def test_pieces_go_on_where_the_one_before_stopped(backend):
    for number in range(5):
        await a_run(backend, f"run {number}", ended=31, started=60 - 7 * number)
    retention, cursor, pieces = Retention(runs=30 * DAY), None, []
    while not pieces or cursor is not None:
        piece = await backend.maintenance.piece("runs", retention, cursor, limit=2)
        cursor = piece.cursor
        pieces.append(piece.done)
    assert pieces == [2, 2, 1]
    assert await names(backend) == set()


async def test_when_the_time_is_over_the_rest_is_said_to_be_unfinished(backend):
    report = await backend.maintenance.run(Retention(), time_limit=timedelta(seconds=-1))
    assert (report.done, report.unfinished) == ({}, [*PARTS])


@pytest.mark.parametrize(
    "wrong",
    [{"runs": {"running": DAY}}, {"runs": -DAY}, {"runs": {"done": DAY}}, {"checkpoints": 0}],
)
def test_a_retention_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidValueError):
        Retention(**wrong)


@pytest.mark.parametrize(
    "retention",
    [
        Retention(),
        Retention(runs=DAY),
        Retention(runs={"failed": DAY}, checkpoints=3, stale=DAY, namespace="other"),
        Retention(on_end=["completed"]),
    ],
)
def test_a_retention_travels_as_json(retention):
    told = Retention.from_json(json.loads(json.dumps(retention.to_json())))
    assert told.ages() == retention.ages()
    assert set(told.on_end) == set(retention.on_end)
    for name in ("checkpoints", "stale", "namespace"):
        assert getattr(told, name) == getattr(retention, name)
