"""What lists and sums answer, on each kind of catalog."""

import asyncio
import time
from datetime import datetime, timedelta

import pytest
from catalog_runs import NOON, ended, ids, reference, told

from temporal_state import StateBackend
from temporal_state.errors import InvalidValueError
from temporal_state.runs import RunRef

HOUR = timedelta(hours=1)


async def many(runs, number=12) -> list[RunRef]:
    """Runs, one a minute before the other; every third failed, every fourth is a child."""
    refs = [reference(n) for n in range(number)]
    for n, ref in enumerate(refs):
        parent = {"namespace": "default", "workflow_id": "boss", "run_id": f"b{n % 8}"}
        await told(
            runs,
            ref,
            **ended(ref, "failed" if n % 3 == 0 else "completed", after=10),
            workflow_type="Import" if n % 2 else "Export",
            parent=parent if n % 4 == 0 else None,
            metadata={"env": "prod" if n % 2 else "test", "at": {"n": n, "deep": {"x": n % 2}}},
        )
    return refs


async def test_a_list_is_empty_before_there_is_a_run(runs):
    page = await runs.list()
    assert page == []
    assert page.cursor is None
    assert (await runs.stats()).total == 0


async def test_newest_first_whatever_the_order_of_writing(runs):
    for n in (2, 0, 3, 1):
        await told(runs, reference(n))
    assert ids(await runs.list()) == ["run-0", "run-1", "run-2", "run-3"]


async def test_a_run_is_listed_as_it_is_now(runs):
    ref = await told(runs, reference())
    assert [run.status for run in await runs.list()] == ["running"]
    await told(runs, ref, **ended(ref, "failed"))
    (run,) = await runs.list()
    assert run == await runs.get(ref.workflow_id)
    assert (run.error.type, run.error.message) == ("Oops", "no")


async def test_each_filter_alone(runs):
    await many(runs)
    assert ids(await runs.list(status="failed")) == ["run-0", "run-3", "run-6", "run-9"]
    assert len(await runs.list(status=["failed", "completed"])) == 12
    assert len(await runs.list(status={"running"})) == 0
    assert len(await runs.list(workflow_type="Export")) == 6
    assert ids(await runs.list(workflow_id="order-5")) == ["run-5"]
    assert ids(await runs.list(parent="boss")) == ["run-0", "run-4", "run-8"]
    assert ids(await runs.list(chain="run-7")) == ["run-7"]
    assert len(await runs.list(kind="workflow")) == 12
    assert await runs.list(kind="manual") == []
    assert await runs.list(namespace="other") == []


async def test_what_temporal_may_say_otherwise_is_found_among_all_that_is_settled(runs):
    open_run = await told(runs, reference(0), metadata={"unsettled": True})
    for n, confirmed in ((1, True), (2, False)):
        ref = reference(n)
        await told(runs, ref, **ended(ref, confirmed=confirmed))
    await runs.start("by hand", workflow_type="T", run_id="r", started=NOON)
    unknown = await told(runs, reference(3))
    await runs.mark_unknown(unknown)
    assert ids(await runs.list(unsettled=True)) == ["run-0", "run-2"]
    assert ids(await runs.list(unsettled=True, status="completed")) == ["run-2"]
    await told(runs, open_run, **ended(open_run, confirmed=True))
    assert ids(await runs.list(unsettled=True)) == ["run-2"]


async def test_filter_before_paging(runs):
    await many(runs)
    page = await runs.list(status="failed", limit=2)
    assert ids(page) == ["run-0", "run-3"]
    page = await runs.list(status="failed", limit=2, cursor=page.cursor)
    assert ids(page) == ["run-6", "run-9"]
    assert page.cursor is None


async def test_offset_works_without_a_limit(runs):
    await many(runs)
    assert ids(await runs.list(offset=10, limit=None)) == ["run-10", "run-11"]
    assert ids(await runs.list(offset=10)) == ["run-10", "run-11"]
    assert ids(await runs.list(status=["failed", "completed"], offset=3, limit=2)) == [
        "run-3",
        "run-4",
    ]
    assert await runs.list(offset=99) == []


async def test_windows_have_their_first_moment_and_not_their_last(runs):
    await many(runs)
    since, until = NOON - timedelta(minutes=5), NOON - timedelta(minutes=3)
    assert ids(await runs.list(since=since, until=until)) == ["run-4", "run-5"]
    ends = {"ended_since": since + 10 * HOUR / 3600, "ended_until": until + 10 * HOUR / 3600}
    assert ids(await runs.list(**ends)) == ["run-4", "run-5"]
    assert await runs.list(since=until, until=until) == []


async def test_pages_go_through_all_runs_of_one_moment(runs):
    for n in range(7):
        await told(runs, reference(n, started=NOON))
    seen, cursor = [], None
    while True:
        page = await runs.list(limit=2, cursor=cursor)
        seen += ids(page)
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == [f"run-{n}" for n in range(7)]
    assert seen == ids(await runs.list())


async def test_a_cursor_holds_while_new_runs_come(runs):
    await many(runs, 6)
    page = await runs.list(limit=3)
    await told(runs, reference(99, started=NOON + HOUR))
    assert ids(await runs.list(cursor=page.cursor)) == ["run-3", "run-4", "run-5"]


METADATA = [
    ({"env": "prod"}, [1, 3, 5]),
    ({"at": {"n": 4}}, [4]),
    ({"at": {"n": 4.0}}, [4]),
    ({"env": "prod", "at": {"deep": {"x": 1}}}, [1, 3, 5]),
    ({"env": "test", "at": {"deep": {"x": 1}}}, []),
    ({"at": {"deep": {}}}, [0, 1, 2, 3, 4, 5]),
    ({"at": {}}, [0, 1, 2, 3, 4, 5]),
    ({}, [0, 1, 2, 3, 4, 5]),
    ({"env": {}}, []),
    ({"env": None}, []),
    ({"at": {"n": "4"}}, []),
    ({"at": {"n": True}}, []),
    ({"env' OR 1=1 --": 1}, []),
    ({"%s?": "?%"}, []),
]


async def test_metadata_contains_an_object(runs):
    await many(runs, 6)
    for metadata, found in METADATA:
        assert ids(await runs.list(metadata=metadata)) == [f"run-{n}" for n in found], metadata


async def test_metadata_that_changed_is_found_as_it_is_now(runs):
    ref = await runs.start("order-1", workflow_type="T", started=NOON, metadata={"a": [1, {}]})
    assert len(await runs.list(metadata={"a": [1, {}]})) == 1
    await runs.annotate(ref, {"a": "x" * 5000, "nul": "\0"}, at=NOON + HOUR)
    assert await runs.list(metadata={"a": [1, {}]}) == []
    assert len(await runs.list(metadata={"a": "x" * 5000})) == 1
    assert len(await runs.list(metadata={"nul": "\0"})) == 1
    assert await runs.list(metadata={"a": "x" * 4999}) == []


async def test_failed_runs_come_with_their_errors_those_that_ended_last_first(runs, clock):
    for n, after in enumerate([50_000, 10, 30_000]):
        ref = reference(n, started=NOON - timedelta(hours=30))
        await told(runs, ref, **ended(ref, "failed", after=after))
    ref = reference(9, started=NOON - 2 * HOUR)
    await told(runs, ref, **ended(ref, "timed_out"))
    page = await runs.failed(within=timedelta(hours=24))
    assert ids(page) == ["run-9", "run-0", "run-2"]
    assert page[1].error.message == "no"
    assert ids(await runs.failed(within=None)) == ["run-9", "run-0", "run-2", "run-1"]
    first = await runs.failed(within=None, limit=3)
    assert ids(await runs.failed(within=None, cursor=first.cursor)) == ["run-1"]
    assert ids(await runs.failed(within=3 * HOUR, workflow_type="Import")) == ["run-9"]


async def test_background_runs_are_those_that_a_run_started(runs):
    await many(runs)
    assert ids(await runs.background("boss")) == ["run-0", "run-4", "run-8"]
    assert ids(await runs.background("boss", run_id="b4")) == ["run-4"]
    assert ids(await runs.background("boss", status="failed")) == ["run-0"]
    assert ids(await runs.failed(parent="boss")) == ["run-0"]


async def test_statistics(runs):
    await many(runs)
    old = reference(50, started=NOON - timedelta(days=40))
    await told(runs, old, **ended(old, after=70), checkpoints=[point(1), point(2)])
    stats = await runs.stats()
    assert stats.total == 13
    assert stats.by_status == {"completed": 9, "failed": 4}
    assert stats.by_type == {"Export": 6, "Import": 7}
    assert stats.last_24_hours == {"completed": 8, "failed": 4}
    assert stats.background_by_status == {"completed": 2, "failed": 1}
    assert stats.average_duration == timedelta(seconds=(12 * 10 + 70) / 13)
    assert stats.average_duration_by_type["Export"] == timedelta(seconds=10)
    assert (stats.checkpoints, stats.unreadable) == (2, 0)
    assert stats.bytes > 13 * 500
    window = await runs.stats(since=NOON - timedelta(minutes=3), until=NOON)
    assert (window.total, window.by_status) == (3, {"completed": 2, "failed": 1})


def point(number: int):
    situation = {"clock": number, "progress": None, "counts": {}, "open": []}
    return {"number": number, "step": number, "time": "2026-05-01T12:00:00.000000Z", **situation}


async def test_statistics_tell_what_records_and_checkpoints_cost(runs):
    begun = time.monotonic()
    ref = await runs.start("order-1", workflow_type="T", run_id="r", started=NOON)
    small = (await runs.stats()).bytes
    made = await runs.checkpoint(ref, step=1, state={"rows": "x" * 10_000})
    await runs.checkpoint(ref, step=2, state={"rows": "y" * 20_000})
    await runs.step(ref, number=70, name="load", result="z" * 40_000)
    worker = await told(runs, reference(3), checkpoints=[point(1)])
    longest = timedelta(seconds=time.monotonic() - begun)
    assert 30_000 < (await runs.stats()).bytes - small < 40_000
    await runs.finish(ref)
    stats = await runs.stats()
    assert 70_000 < stats.bytes - small < 80_000
    (theirs,) = await runs.history(worker.workflow_id)
    await told(runs, worker, checkpoints=[point(1)], clock=2)
    assert [theirs] == await runs.history(worker.workflow_id)
    kept = [*await runs.history("order-1"), theirs]
    assert kept[0] == made
    assert all(timedelta() < one.took <= longest for one in kept)
    average = sum((one.took for one in kept), timedelta()) / 3
    assert abs(stats.average_checkpoint_time - average) <= timedelta(microseconds=1)
    assert stats == await runs.stats()
    await runs.reindex()
    assert stats == await runs.stats()


async def test_a_paused_run_is_found_as_running_and_as_paused(runs):
    for n in range(2):
        await told(runs, reference(n), clock=5, paused_at=5 if n else -1)
    assert ids(await runs.list(status="paused")) == ["run-1"]
    assert ids(await runs.list(status="running")) == ["run-0", "run-1"]
    assert (await runs.stats()).by_status == {"paused": 1, "running": 1}
    await told(runs, reference(1), **ended(reference(1)), paused_at=5)
    assert await runs.list(status="paused") == []


async def test_statistics_follow_a_run_that_changes(runs):
    ref = await told(runs, reference(3))
    assert (await runs.stats()).by_status == {"running": 1}
    await told(runs, ref, **ended(ref, "failed"))
    assert (await runs.stats()).by_status == {"failed": 1}
    await told(runs, ref, clock=12)  # the server did not take the end
    stats = await runs.stats()
    assert (stats.by_status, stats.average_duration) == ({"running": 1}, None)
    await runs.delete(ref.workflow_id, force=True)
    stats = await runs.stats()
    assert (stats.total, stats.by_status, stats.bytes) == (0, {}, 0)
    assert await runs.list() == []


async def test_statistics_for_code_that_cannot_await_within_a_running_loop(runs):
    await many(runs, 4)
    assert asyncio.get_running_loop().is_running()
    assert runs.stats_sync() == await runs.stats()


def step(name: str, start: datetime, seconds: float | None, status: str = "completed"):
    made = {"call": {"kind": "activity", "name": name, "id": "1", "key": name}}
    made["call"] |= {"time": start.isoformat(), "clock": 1}
    if seconds is not None:
        end = (start + timedelta(seconds=seconds)).isoformat()
        made["end"] = {"time": end, "clock": 2, "status": status}
    return made


async def test_statistics_of_steps_by_name_and_status_once_their_run_is_closed(runs):
    ref, other = reference(0), reference(1)
    steps = {n: step("load", NOON, 2) for n in range(1, 100)}
    steps[100] = step("save", NOON + HOUR, 4, "failed")
    await told(runs, ref, steps=steps, step_count=100)
    await told(runs, other, steps={1: step("load", NOON, 1)}, step_count=1)
    assert list(await runs.step_stats()) == []
    await told(runs, ref, **ended(ref), step_count=100)
    load, save = await runs.step_stats()
    assert (load.name, load.status, load.count, load.average) == (
        "load",
        "completed",
        99,
        timedelta(seconds=2),
    )
    assert (save.name, save.status, save.count) == ("save", "failed", 1)
    assert [s.name for s in await runs.step_stats(since=NOON + HOUR)] == ["save"]
    assert [s.name for s in await runs.step_stats(until=NOON + HOUR)] == ["load"]
    assert [s.name for s in await runs.step_stats(status="failed")] == ["save"]
    assert [s.name for s in await runs.step_stats(name="load")] == ["load"]


async def test_steps_by_hand_are_counted_too(runs):
    ref = await runs.start("order-1", workflow_type="T", started=NOON)
    for number in (1, 70):
        await runs.step(ref, number=number, name="load", started=NOON, ended=NOON + HOUR)
    await runs.finish(ref, ended=NOON + HOUR)
    (load,) = await runs.step_stats()
    assert (load.count, load.average) == (2, HOUR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "finished"},
        {"status": ["failed", "finished"]},
        {"status": []},
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 that is the point
        {"ended_until": datetime(2026, 1, 1)},  # noqa: DTZ001 that is the point
        {"since": "2026-01-01"},
        {"limit": 0},
        {"offset": -1},
        {"cursor": "x"},
        {"cursor": "1.2; DROP TABLE runs"},
        {"cursor": f"{10**18}0.1"},
        {"metadata": {"a": float("nan")}},
    ],
)
async def test_what_cannot_be_asked_is_refused(local, wrong):
    with pytest.raises(InvalidValueError):
        await local.runs.list(**wrong)


async def test_local_times_are_refused_by_sums_as_well(local):
    with pytest.raises(InvalidValueError):
        await local.runs.stats(since=datetime(2026, 1, 1))  # noqa: DTZ001 that is the point


async def test_one_tenant_sees_nothing_of_another(tmp_path, clock):
    for tenant in ("a", "b"):
        async with StateBackend.open(tmp_path, app="x", tenant=tenant, clock=clock) as backend:
            await told(backend.runs, reference(0, workflow_id=tenant))
            assert [run.workflow_id for run in await backend.runs.list()] == [tenant]


@pytest.mark.parametrize("id", ["a\0b", "ü" * 300, "'; --", "run.json", "A" * 900])
async def test_any_workflow_id_is_found(runs, id):
    ref = await told(runs, reference(1, workflow_id=id))
    assert ids(await runs.list(workflow_id=id)) == [ref.run_id]
    assert [run.workflow_id for run in await runs.list()] == [id]
