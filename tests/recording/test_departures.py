"""Runs that go as soon as they have ended: no workflow notices, and none goes early."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from temporal_state import (
    ConfigurationError,
    Recording,
    Retention,
    StateBackend,
    StatePlugin,
    state,
)
from temporal_state.documents import utc_now
from temporal_state.errors import StoreError
from temporal_state.runs import EndedRuns, Patch, RunRef
from temporal_state.temporal import Reconcile, _departures
from temporal_state.temporal._backlog import Counts
from temporal_state.temporal._departures import Departures
from temporal_state.temporal._maintenance import NAME, plan_of
from temporal_state.temporal._wire import to_raw

SOON = timedelta(seconds=30)
GOES = Recording(flush_interval=timedelta(milliseconds=20), delete_ended=["completed"])
KEEPS = Recording(flush_interval=timedelta(milliseconds=20))


@activity.defn
async def work(name: str) -> str:
    if name == "bad":
        raise ApplicationError("bad", non_retryable=True)
    return name


@workflow.defn
class Part:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(work, name, start_to_close_timeout=SOON)


@workflow.defn
class Whole:
    def __init__(self) -> None:
        self.released = False

    @workflow.run
    async def run(self, name: str, waits: bool) -> str:
        await state.update(name=name)
        id = f"{workflow.info().workflow_id}-part"
        await workflow.execute_child_workflow(Part.run, "good", id=id)
        await workflow.wait_condition(lambda: self.released or not waits)
        return await workflow.execute_activity(work, name, start_to_close_timeout=SOON)

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.query
    def is_released(self) -> bool:
        return self.released


def worker(runner, recording, **options):
    plugins = [StatePlugin(runner.backend, recording=recording, **options)]
    return runner.worker(Whole, Part, activities=[work], plugins=plugins)


async def names(backend) -> dict[str, str]:
    return {run.workflow_id: run.status for run in await backend.runs.list(limit=None)}


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_what_has_completed_goes_while_the_worker_runs_and_with_its_parent(
    on_dev, monkeypatch
):
    monkeypatch.setattr(_departures, "AFTER", 0.05)
    runs = on_dev.backend.runs
    async with worker(on_dev, GOES):
        handle = await on_dev.start(Whole.run, "good", True)
        failed = await on_dev.start(Whole.run, "bad", False)
        with pytest.raises(WorkflowFailureError):
            await failed.result()

        async def has_both():
            found = await names(on_dev.backend)
            return found.get(f"{handle.id}-part") == "completed" and found.get(handle.id)

        await until(has_both)
        await handle.signal(Whole.release)
        assert await handle.result() == "good"

        async def is_gone():
            return await runs.get(handle.id) is None

        await until(is_gone)
        assert await handle.query(Whole.is_released)  # which replays it
    kept = {failed.id: "failed", f"{failed.id}-part": "completed"}
    assert await names(on_dev.backend) == kept
    assert await runs.document(handle.id) == {}
    assert await runs.document(failed.id) == {"name": "bad"}
    history = await kinds_of(handle)
    async with worker(on_dev, KEEPS):
        other = await on_dev.start(Whole.run, "good", True)
        await other.signal(Whole.release)
        await other.result()
    assert history == await kinds_of(other)


async def kinds_of(handle) -> Counter[str]:
    """Return how many events of each kind there are, but for tasks, which come as they may."""
    kinds = [EventType.Name(event.event_type) async for event in handle.fetch_history_events()]
    return Counter(kind for kind in kinds if "WORKFLOW_TASK" not in kind)


async def test_a_worker_that_stops_deletes_what_it_had_to(on_dev):
    async with worker(on_dev, GOES):
        assert await on_dev.run(Whole.run, "good", False) == "good"
    assert await names(on_dev.backend) == {}


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_what_cannot_be_deleted_is_in_nobodys_way_and_left_to_maintenance(
    on_dev, monkeypatch, how
):
    async def delete(*_):
        if how == "fails":
            raise StoreError("the store is away")
        await asyncio.sleep(3600)

    monkeypatch.setattr(_departures, "AFTER", 0.0)
    counted = []
    monkeypatch.setattr(Counts, "add", lambda _, name, number: counted.append((name, number)))
    short = Recording(
        flush_interval=timedelta(milliseconds=20),
        shutdown_timeout=timedelta(seconds=1),
        delete_ended=["completed"],
    )
    with monkeypatch.context() as broken:
        broken.setattr(EndedRuns, "delete", delete)
        async with asyncio.timeout(30), worker(on_dev, short):
            ids = [(await on_dev.start(Whole.run, "good", False)) for _ in range(2)]
            assert [await handle.result() for handle in ids] == ["good"] * 2
    assert set((await names(on_dev.backend)).values()) == {"completed"}
    assert ("left", 1) in counted if how == "fails" else any(n == "left" and k for n, k in counted)
    assert ("lost", 1) not in counted
    later = StateBackend.open(
        on_dev.backend.url, app="tests", clock=lambda: utc_now() + timedelta(hours=1)
    )
    on_dev.backend = later
    plan = to_raw(plan_of(Retention(), Reconcile()))
    async with later, worker(on_dev, GOES, maintenance=True):
        await on_dev.run(NAME, plan)
        assert await names(later) == {}


async def test_only_an_end_that_is_written_and_confirmed_is_one(backend):
    counted = []
    ref = RunRef("default", "a", "r", utc_now())
    ended = EndedRuns(backend.runs, {"completed"}, "test")
    departures = Departures(ended, lambda *what: counted.append(what))
    for header in (
        None,
        {"status": "running", "confirmed": False},
        {"status": "completed", "confirmed": False},
        {"status": "failed", "confirmed": True},
    ):
        departures.written(Patch(ref, header))
    await departures.finish()
    assert counted == [("left", 0)]
    departures.written(Patch(ref, {"status": "completed", "confirmed": True}))
    await departures.finish()
    assert ("left", 1) in counted  # of which nothing is there to be deleted


async def test_what_is_too_much_is_left_to_maintenance(backend, monkeypatch):
    monkeypatch.setattr(_departures, "WAITING", 1)
    counted = []
    ended = EndedRuns(backend.runs, {"completed"}, "test")
    departures = Departures(ended, lambda *what: counted.append(what))
    for run_id in "ab":
        ref = RunRef("default", "a", run_id, utc_now())
        departures.written(Patch(ref, {"status": "completed", "confirmed": True}))
    assert counted == [("left", 1)]


@pytest.mark.parametrize("wrong", ["completed", ["continued_as_new"]])
def test_only_ends_can_be_named_for_it(wrong):
    with pytest.raises(ConfigurationError, match="is no list of ends"):
        Recording(delete_ended=wrong)
