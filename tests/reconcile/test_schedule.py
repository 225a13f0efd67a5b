"""Maintenance on a Temporal Schedule: installed, changed, fired, paused, removed."""

import uuid
from datetime import timedelta

import pytest
from reconciling import ACTIVITIES, WORKFLOWS, Continues, Waits, agreed, until

from temporal_state import Recording, StatePlugin
from temporal_state.errors import InvalidValueError
from temporal_state.runs import PARTS, Retention
from temporal_state.temporal import MaintenanceSchedule, Reconcile, install_schedule

NOW = Reconcile(older_than=timedelta(0), calls_per_second=1000)
RECORDING = Recording(flush_interval=timedelta(milliseconds=20))


def worker(runner):
    plugin = StatePlugin(runner.backend, recording=RECORDING, maintenance=True)
    return runner.worker(*WORKFLOWS, activities=ACTIVITIES, plugins=[plugin])


async def report_of(client, schedule):
    """Return what the newest maintenance of a schedule reports, once it has ended."""

    async def started():
        found = await client.get_schedule_handle(schedule.id).describe()
        return found.info.recent_actions

    action = (await until(started))[-1].action
    handle = client.get_workflow_handle(action.workflow_id, run_id=action.first_execution_run_id)
    return await handle.result()


async def test_a_schedule_maintains_the_store(on_dev):
    client, runs = on_dev.client, on_dev.backend.runs
    schedule = await install_schedule(
        client,
        task_queue=on_dev.task_queue,
        every=timedelta(hours=2),
        id=f"maintenance-{uuid.uuid4().hex}",
        retention=Retention(runs={"completed": timedelta(0)}, stale=timedelta(0)),
        reconcile=NOW,
    )
    async with worker(on_dev):
        over = await on_dev.start(Continues.run, 0)
        await over.result()
        ended = await on_dev.start(Waits.run, "value")
        by_hand = await runs.start("by-hand", workflow_type="Script")

        async def recorded():
            run = await runs.get(ended.id)
            completed = await runs.list(status="completed")
            waits = run is not None and run.counts.get("failed")
            return waits and [r.confirmed for r in completed] == [True, True]

        await until(recorded)
        await ended.terminate()
        await schedule.trigger()
        report = await report_of(client, schedule)
        assert report["errors"] == {}
        assert set(report["done"]) == {"reconcile", *PARTS}
        assert (report["done"]["runs"], report["done"]["stale"]) == (2, 1)  # and the child
    assert (await agreed(client, on_dev.backend, ended.id)).status == "terminated"
    assert await runs.get(over.id) is None
    assert (await runs.get(by_hand.workflow_id)).status == "failed"
    # It keeps the store tidy, and leaves no records of itself there.
    assert {run.workflow_id for run in await runs.list()} == {ended.id, "by-hand"}
    assert (await schedule.describe()).runs == 1
    assert await schedule.delete()


async def test_installing_twice_changes_the_schedule_and_leaves_it_paused(on_dev):
    schedule = MaintenanceSchedule(on_dev.client, f"maintenance-{uuid.uuid4().hex}")
    assert await schedule.describe() is None
    await schedule.install(task_queue="one", every=timedelta(hours=1))
    await schedule.pause("while we migrate")
    await schedule.install(task_queue="two", every=timedelta(hours=3))
    shown = await schedule.describe()
    assert (shown.every, shown.paused, shown.note) == (timedelta(hours=3), True, "while we migrate")
    found = await on_dev.client.get_schedule_handle(schedule.id).describe()
    assert found.schedule.action.task_queue == "two"
    await schedule.unpause()
    shown = await schedule.describe()
    assert (shown.paused, shown.runs) == (False, 0)
    assert shown.next is not None
    assert [await schedule.delete(), await schedule.delete()] == [True, False]
    assert await schedule.describe() is None


async def test_a_run_that_is_damaged_is_named_and_hides_no_other(on_dev):
    backend = on_dev.backend
    await backend.runs.finish(await backend.runs.start("by-hand", workflow_type="Script"))
    assert len(await backend.runs.list()) == 1
    (key,) = [key for key in await backend.store.list() if key.endswith("/run.json")]
    await backend.store.put(key, b"no JSON")
    schedule = await install_schedule(
        on_dev.client,
        task_queue=on_dev.task_queue,
        id=f"maintenance-{uuid.uuid4().hex}",
        retention=Retention(runs=timedelta(0)),
        reconcile=NOW,
    )
    async with worker(on_dev):
        await schedule.trigger()
        report = await report_of(on_dev.client, schedule)
    assert set(report["errors"]) == {"runs"}
    assert "damaged" in report["errors"]["runs"]
    assert report["failed"] == {"runs": 1}
    assert set(report["done"]) == {"reconcile", *PARTS}
    await schedule.delete()


async def test_an_interval_must_be_one(on_dev):
    with pytest.raises(InvalidValueError, match="not positive"):
        await install_schedule(on_dev.client, task_queue="q", every=timedelta(0))
