"""Recovery: what failed or was lost is resumed, once, and nothing else is."""

import asyncio
import contextlib
import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from temporal_state import (
    ConfigurationError,
    Recording,
    Recover,
    StateBackend,
    StatePlugin,
    StoreError,
    recover,
)
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

ran: Counter[str] = Counter()
broken: set[str] = set()


@pytest.fixture(autouse=True)
def a_clean_slate():
    ran.clear()
    broken.clear()


@activity.defn
async def work(name: str) -> str:
    ran[name] += 1
    if name in broken:
        raise ApplicationError("broken", non_retryable=True)
    while name.startswith("stuck") and "stuck" in broken:
        activity.heartbeat()
        await asyncio.sleep(0.05)
    return name


async def do(name):
    return await workflow.execute_activity(
        work,
        name,
        start_to_close_timeout=timedelta(seconds=30),
        heartbeat_timeout=timedelta(seconds=10),
        retry_policy=RetryPolicy(maximum_attempts=1),
    )


@workflow.defn
class Two:
    @workflow.run
    async def run(self, name: str) -> str:
        await do(f"{name} 1")
        return await do(f"{name} 2")


@workflow.defn
class Other(Two):
    @workflow.run
    async def run(self, name: str) -> str:
        return await super().run(name)


async def fails(runner, name, definition=Two, **options):
    broken.add(f"{name} 2")
    handle = await runner.start(definition.run, name, **options)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    return handle


async def is_recorded(runner, handle, status):
    while True:
        run = await runner.backend.runs.get(handle.id)
        if run is not None and run.status == status:
            return
        await asyncio.sleep(0.02)


async def said(caplog, words):
    async with asyncio.timeout(20):
        while words not in caplog.text:
            await asyncio.sleep(0.01)


async def test_failed_runs_are_resumed_once_and_the_newest_of_each_id(quick):
    async with quick.worker(Two, activities=[work]):
        one = await fails(quick, "one")
        await fails(quick, "late", id="late")
        broken.clear()
        late = await quick.start(Two.run, "later", id="late")  # life went on
        await late.result()
        for handle, status in [(one, "failed"), (late, "completed")]:
            await is_recorded(quick, handle, status)
        before = Counter(ran)
        both = await asyncio.gather(
            *(recover(quick.client, quick.backend) for _ in range(2)), return_exceptions=True
        )
        (new,) = [handle for recovery in both for handle in recovery.resumed]
        assert (new.id, await new.result()) == (one.id, "one 2")
        assert all(recovery.complete for recovery in both)
        await is_recorded(quick, one, "completed")
        assert not (await recover(quick.client, quick.backend)).resumed
    assert ran - before == {"one 2": 1}


async def test_only_those_that_are_asked_for(quick):
    started = datetime.now(UTC)
    async with quick.worker(Two, Other, activities=[work]):
        two, other = await fails(quick, "two"), await fails(quick, "other", Other)
        for handle in (two, other):
            await is_recorded(quick, handle, "failed")
        broken.clear()

        async def resumed(**filters):
            seen = []
            recovery = await recover(
                quick.client,
                quick.backend,
                progress=lambda found: seen.append(found.looked_at),
                **filters,
            )
            assert seen == [*range(1, recovery.looked_at + 1)]
            return [await handle.result() for handle in recovery.resumed]

        assert await resumed(status=["timed_out", "terminated", "lost"]) == []
        assert await resumed(until=started - timedelta(days=1)) == []
        assert await resumed(since=datetime.now(UTC) + timedelta(days=1)) == []
        assert await resumed(task_queue="another") == []
        assert await resumed(workflow_type="Other") == ["other 2"]
        assert await resumed(limit=5) == ["two 2"]


async def test_lost_runs_are_those_that_temporal_says_are_dead(quick):
    broken.add("stuck")
    async with quick.worker(Two, activities=[work]):
        lost = await quick.start(Two.run, "stuck lost")
        alive = await quick.start(Two.run, "stuck alive")
        while ran.total() < 2:
            await asyncio.sleep(0.02)
        for handle in (lost, alive):
            await is_recorded(quick, handle, "running")
        await lost.terminate()
        broken.clear()
        recovery = await recover(quick.client, quick.backend)
        assert [handle.id for handle in recovery.resumed] == [lost.id]
        assert recovery.refused == []
        assert await alive.result() == "stuck alive 2"
        assert await recovery.resumed[0].result() == "stuck lost 2"


async def test_what_cannot_be_resumed_is_refused_with_its_reason(quick):
    nothing = Recording(capture="none", flush_interval=timedelta(milliseconds=50))
    plugins = [StatePlugin(quick.backend, recording=nothing)]
    async with quick.worker(Two, activities=[work], plugins=plugins):
        failed = await fails(quick, "blank")
        await is_recorded(quick, failed, "failed")
    recovery = await recover(quick.client, quick.backend)
    ((run, reason),) = recovery.refused
    assert (run.workflow_id, recovery.resumed) == (failed.id, [])
    assert "args=" in reason


async def test_a_run_that_may_live_elsewhere_is_left_alone(quick, skipping):
    broken.add("stuck")
    async with quick.worker(Two, activities=[work]):
        handle = await quick.start(Two.run, "stuck here")
        await is_recorded(quick, handle, "running")
        recovery = await recover(skipping.client, quick.backend)
        assert recovery.resumed == []
        assert ["lost=True" in reason for _, reason in recovery.refused] == [True]
        await handle.terminate()


async def test_a_worker_recovers_the_runs_of_its_queue_when_it_starts(quick, caplog):
    caplog.set_level("INFO", "temporal_state")
    async with quick.worker(Two, activities=[work]):
        failed = await fails(quick, "mine")
        await is_recorded(quick, failed, "failed")
    broken.clear()
    for queue, resumes in [("another", False), (quick.task_queue, True)]:
        quick.task_queue = queue
        plugin = StatePlugin(quick.backend, recover=Recover(timeout=timedelta(seconds=20)))
        async with quick.worker(Two, activities=[work], plugins=[plugin]):
            await said(caplog, f" runs of {queue} resumed")
            newest = await quick.client.get_workflow_handle(failed.id).describe()
            assert (newest.run_id != failed.result_run_id) == resumes
            if resumes:
                await is_recorded(quick, failed, "completed")
    assert ran == {"mine 1": 1, "mine 2": 2}


async def test_two_workers_that_start_at_once_recover_each_run_once(quick):
    names = [f"run {n}" for n in range(6)]
    async with quick.worker(Two, activities=[work]):
        handles = [await fails(quick, name) for name in names]
        for handle in handles:
            await is_recorded(quick, handle, "failed")
    broken.clear()
    chosen = Recover(per_second=1000)
    async with contextlib.AsyncExitStack() as stack:
        target = quick.client.service_client.config.target_host
        for client in (quick.client, await Client.connect(target)):  # one each, as processes have
            plugin = StatePlugin(quick.backend, recover=chosen)
            one = dataclasses.replace(quick, client=client)
            worker = one.worker(Two, activities=[work], plugins=[plugin])
            await stack.enter_async_context(worker)
        for handle in handles:
            await is_recorded(quick, handle, "completed")
    assert ran == {**{f"{name} 1": 1 for name in names}, **{f"{name} 2": 2 for name in names}}
    for handle in handles:
        assert len(await quick.backend.runs.of_workflow(handle.id)) == 2


class Hanging(MemoryStore):
    async def list(self, *args, **options):
        await asyncio.sleep(3600)


@pytest.mark.parametrize("kind", ["hangs", "fails"])
async def test_a_recovery_that_hangs_or_fails_holds_up_no_worker(quick, kind, caplog):
    store = Hanging() if kind == "hangs" else FailingStore(MemoryStore())
    plugin = StatePlugin(StateBackend.open(store), recording=None, recover=Recover())
    if kind == "fails":
        store.error = StoreError("the store is gone")
    async with asyncio.timeout(20):
        async with quick.worker(Two, activities=[work], plugins=[plugin]):
            if kind == "fails":
                await said(caplog, "could not find out which runs to recover")
            assert await quick.run(Two.run, "unharmed") == "unharmed 2"


async def test_a_recovery_ends_when_its_time_is_up(quick):
    async with StateBackend.open(Hanging()) as backend:
        recovery = await recover(quick.client, backend, timeout=timedelta(milliseconds=100))
    assert not recovery.complete


def test_filters_that_mean_nothing_are_refused():
    with pytest.raises(ConfigurationError, match="completed"):
        Recover(status=["completed"])
    with pytest.raises(ConfigurationError):
        Recover(status="failed")
    with pytest.raises(ConfigurationError):
        Recover(at_once=0)
