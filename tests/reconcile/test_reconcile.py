"""Whatever happened to a run while nobody looked: its record comes to say what Temporal says."""

import asyncio
import signal
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from reconciling import (
    ACTIVITIES,
    ONCE_MORE,
    WORKFLOWS,
    Continues,
    FailsOnce,
    Locals,
    Ticks,
    Waits,
    agreed,
    shown,
    until,
)
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import WorkflowFailureError

from temporal_state import Recording, StateBackend, StatePlugin, state
from temporal_state.errors import NotRecordedError
from temporal_state.temporal import Reconcile, freshness, reconcile
from temporal_state.temporal._reconciler import Reconciler
from temporal_state.temporal._wire import MAINTENANCE

SCRIPT = Path(__file__).with_name("kill_after_completion.py")
EACH = Recording(flush_interval=timedelta(milliseconds=20))
FEW = 50
"""Runs that are looked at with ``missing``, the newest first: other tests leave many behind."""


def worker(runner, recording=EACH, **options):
    plugins = [StatePlugin(runner.backend, recording=recording)]
    return runner.worker(*WORKFLOWS, activities=ACTIVITIES, plugins=plugins, **options)


def files(backend):
    root = Path(backend.url) / "persistent-artifacts"  # beside it there is the catalog
    return {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


async def waiting(runner, handle):
    """Wait until the record has all that the workflow does before it waits."""

    async def failed():
        run = await runner.backend.runs.get(handle.id)
        return run is not None and run.counts.get("failed")

    await until(failed)


async def settled_twice(runner, *only, **options):
    """Reconcile, and show that doing it again changes nothing."""
    options["calls_per_second"] = 1000
    result = await reconcile(runner.client, runner.backend, *only, **options)
    assert result.errors == []
    before = files(runner.backend)
    assert before
    again = await reconcile(runner.client, runner.backend, *only, **options)
    assert (again.changed, files(runner.backend)) == ([], before)
    return result


async def start_waiting(runner, **options):
    async with worker(runner):
        handle = await runner.start(Waits.run, "value", **options)
        await waiting(runner, handle)
    return handle


async def test_a_terminated_run_is_recorded_so(on_dev):
    handle = await start_waiting(on_dev)
    await handle.terminate(reason="no longer needed")
    steps = await on_dev.backend.runs.steps(handle.id)
    result = await settled_twice(on_dev)
    assert [(c.before, c.after) for c in result.changed] == [("running", "terminated")]
    run = await agreed(on_dev.client, on_dev.backend, handle.id)
    assert (run.error.type, run.error.message) == ("TerminatedError", "no longer needed")
    assert run.input[0].json() == "value"
    assert shown(await on_dev.backend.runs.steps(handle.id)) == shown(steps)


@pytest.mark.parametrize("which", ["run_timeout", "execution_timeout"])
async def test_a_run_that_timed_out_is_recorded_so(on_dev, which):
    async with worker(on_dev):
        handle = await on_dev.start(Waits.run, "value", **{which: timedelta(seconds=2)})

        async def recorded():
            return await on_dev.backend.runs.get(handle.id)

        await until(recorded)
    with pytest.raises(Exception, match="execution failed"):
        await handle.result()
    await settled_twice(on_dev)
    run = await agreed(on_dev.client, on_dev.backend, handle.id)
    assert (run.status, run.error.type) == ("timed_out", "TimeoutError")


@pytest.mark.parametrize(
    ("how", "capture"),
    [("max_cached_workflows", "none"), ("disable_safe_workflow_eviction", "results")],
)
async def test_an_end_that_no_eviction_confirmed_is_confirmed_with_what_the_worker_kept(
    on_dev, how, capture
):
    options = {how: 0 if how == "max_cached_workflows" else True}
    async with worker(on_dev, **options):
        handle = await on_dev.start(Continues.run, 0)
        await handle.result()
    before = await on_dev.backend.runs.get(handle.id)
    steps = shown(await on_dev.backend.runs.steps(handle.id))
    await settled_twice(on_dev, recording=Recording(capture=capture))
    run = await agreed(on_dev.client, on_dev.backend, handle.id)
    assert (run.status, run.result, run.counts) == ("completed", before.result, before.counts)
    assert run.result.json() == "done"
    assert shown(await on_dev.backend.runs.steps(handle.id)) == steps


@pytest.mark.parametrize(
    ("definition", "arguments", "options", "statuses"),
    [
        (Continues, [2], {}, ["continued_as_new", "continued_as_new", "completed"]),
        (FailsOnce, [], {"retry_policy": ONCE_MORE}, ["failed", "completed"]),
    ],
)
async def test_every_run_of_a_chain_is_recorded_from_its_history_alone(
    on_dev, definition, arguments, options, statuses
):
    async with worker(on_dev, recording=None):
        handle = await on_dev.start(definition.run, *arguments, **options)
        await handle.result()
    runs = on_dev.backend.runs
    assert await runs.of_workflow(handle.id) == []

    async def made():
        query = {"missing": True, "limit": FEW, "calls_per_second": 1000}
        await reconcile(on_dev.client, on_dev.backend, **query)
        return len(await runs.of_workflow(handle.id)) == len(statuses)

    await until(made)
    found = [*reversed(await runs.of_workflow(handle.id))]
    assert [run.status for run in found] == statuses
    assert len({run.chain for run in found}) == 1
    for run in found:
        await agreed(on_dev.client, on_dev.backend, handle.id, run.run_id)
        (step,) = await runs.steps(handle.id, run_id=run.run_id)
        assert (step.name, step.status, step.attempt) == ("echo", "completed", 1)


async def test_what_is_not_to_be_recorded_is_not_learned_from_its_history_either(on_dev):
    plugin = StatePlugin(on_dev.backend, recording=replace(EACH, delete_ended=["failed"]))
    async with on_dev.worker(Secret, *WORKFLOWS, activities=ACTIVITIES, plugins=[plugin]):
        secret = await on_dev.start(Secret.run)
        await secret.result()
    async with worker(on_dev, recording=None):
        failed = await on_dev.start(FailsOnce.run)  # which that plugin would have deleted
        with pytest.raises(WorkflowFailureError):
            await failed.result()
        handle = await on_dev.start(Continues.run, 0)
        await handle.result()
    keep = await on_dev.start(MAINTENANCE)
    await keep.terminate()

    async def made():
        asked = {
            "missing": True,
            "limit": FEW,
            "calls_per_second": 1000,
            "recording": plugin._reconciled(),
        }
        await reconcile(on_dev.client, on_dev.backend, **asked)
        return await on_dev.backend.runs.get(handle.id)

    await until(made)
    for other in (secret, keep, failed):
        assert await on_dev.backend.runs.get(other.id) is None


@state.unrecorded
@workflow.defn
class Secret:
    @workflow.run
    async def run(self) -> str:
        return "a secret"


async def test_each_run_of_a_cron_schedule_is_settled(on_dev):
    async with worker(on_dev, max_cached_workflows=0):
        handle = await on_dev.start(Ticks.run, cron_schedule="@every 1s")

        async def ticked():
            return len(await on_dev.backend.runs.of_workflow(handle.id)) >= 2

        await until(ticked)
    await handle.terminate()
    await settled_twice(on_dev)
    found = await on_dev.backend.runs.of_workflow(handle.id)
    for run in found:
        await agreed(on_dev.client, on_dev.backend, handle.id, run.run_id)
    assert found[-1].status == "completed"


async def test_a_reset_run_is_closed_as_the_server_closed_it(on_dev):
    async with worker(on_dev):
        handle = await on_dev.start(Waits.run, "value")
        await waiting(on_dev, handle)
        history = await handle.fetch_history()
        done = [
            e.event_id
            for e in history.events
            if e.HasField("workflow_task_completed_event_attributes")
        ]
        former = (await handle.describe()).run_id
        reset = await on_dev.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=former),
                workflow_task_finish_event_id=done[1],
                request_id=uuid.uuid4().hex,
            )
        )
        newer = on_dev.client.get_workflow_handle(handle.id, run_id=reset.run_id)
        await newer.signal(Waits.release)
        await newer.result()
    await settled_twice(on_dev)
    old = await agreed(on_dev.client, on_dev.backend, handle.id, former)
    new = await agreed(on_dev.client, on_dev.backend, handle.id, reset.run_id)
    assert (old.status, new.status, new.original) == ("terminated", "completed", former)
    assert len(await on_dev.backend.runs.of_workflow(handle.id)) == 2


async def recorded_by_history(runner, handle, tmp_path, **options):
    async with StateBackend.open(tmp_path / "other", app="tests") as other:
        await reconcile(runner.client, other, handle.id, **options)
        again = await reconcile(runner.client, other, handle.id, **options)
        assert again.changed == []
        return await other.runs.get(handle.id), await other.runs.steps(handle.id)


@pytest.mark.parametrize("definition", [Waits, Locals])
async def test_a_history_tells_the_same_steps_as_a_worker(on_dev, tmp_path, definition):
    async with worker(on_dev):
        handle = await on_dev.start(
            definition.run, "value", memo={"a": 1}, task_timeout=timedelta(seconds=7)
        )
        if definition is Waits:
            await handle.signal(Waits.release)
        await handle.result()
    run, steps = await recorded_by_history(on_dev, handle, tmp_path)
    worker_run = await on_dev.backend.runs.get(handle.id)
    worker_steps = await on_dev.backend.runs.steps(handle.id)
    for name in (
        "status",
        "steps",
        "counts",
        "open",
        "input",
        "result",
        "start",
        "chain",
        "cron",
        "original",
        "started",
        "parent",
        "workflow_type",
        "task_queue",
        "attempt",
        "kind",
    ):
        assert getattr(run, name) == getattr(worker_run, name), name
    known = [s if s[1] != "local_activity" else (*s[:4], None, *s[5:]) for s in shown(worker_steps)]
    assert shown(steps) == known
    for step, other in zip(steps, worker_steps, strict=True):
        if step.kind == "activity":
            assert (step.attempt, step.worker) == (other.attempt, other.worker)
            assert step.scheduled == other.scheduled
        if definition is Waits:
            assert (step.scheduled, step.closed) == (other.scheduled, other.closed)


async def test_what_temporal_has_dropped_is_unknown_and_not_failed(on_dev):
    handle = await start_waiting(on_dev)
    before = await on_dev.backend.runs.get(handle.id)
    await on_dev.client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=before.run_id),
        )
    )

    async def gone():
        return (await reconcile(on_dev.client, on_dev.backend, handle.id)).unknown

    await until(gone)
    written = files(on_dev.backend)
    run = await on_dev.backend.runs.get(handle.id)
    assert (run.status, run.confirmed, run.known_to_temporal) == ("running", False, False)
    again = await reconcile(on_dev.client, on_dev.backend, handle.id)
    assert again.unknown == [(handle.id, run.run_id)]
    assert (again.changed, files(on_dev.backend)) == ([], written)
    fresh = await freshness(on_dev.client, on_dev.backend, handle.id)
    assert (fresh.temporal_clock, fresh.behind, fresh.open) == (None, None, None)


async def test_an_unknown_run_is_an_error(on_dev):
    with pytest.raises(NotRecordedError, match="neither the store nor Temporal"):
        await reconcile(on_dev.client, on_dev.backend, "no-such-run")
    with pytest.raises(NotRecordedError):
        await freshness(on_dev.client, on_dev.backend, "no-such-run")


async def test_a_living_worker_and_reconcile_converge(on_dev):
    async with worker(on_dev):
        handles = [await on_dev.start(Waits.run, f"value {i}") for i in range(3)]
        stop = asyncio.Event()

        async def over_and_over():
            while not stop.is_set():
                for handle in handles:
                    await reconcile(on_dev.client, on_dev.backend, handle.id, calls_per_second=1000)
                await reconcile(on_dev.client, on_dev.backend, calls_per_second=1000)

        task = asyncio.create_task(over_and_over())
        for handle in handles:
            await waiting(on_dev, handle)
            await handle.signal(Waits.release)
            await handle.result()
        stop.set()
        await task
    await settled_twice(on_dev)
    for i, handle in enumerate(handles):
        run = await agreed(on_dev.client, on_dev.backend, handle.id)
        steps = await on_dev.backend.runs.steps(handle.id)
        assert (run.status, run.result.json(), run.steps) == ("completed", f"value {i}", 5)
        assert run.counts == {"completed": 4, "failed": 1}
        assert [s.name for s in steps] == ["echo", "echo", "a nap", "Child", "fails"]
        assert [s.kind for s in steps] == ["activity", "activity", "timer", "child", "activity"]


async def test_a_run_in_flight_gets_the_steps_it_lacks(on_dev, tmp_path):
    handle = await start_waiting(on_dev)
    run, steps = await recorded_by_history(on_dev, handle, tmp_path)
    assert (run.status, run.confirmed, run.ended) == ("running", False, None)
    assert shown(steps) == shown(await on_dev.backend.runs.steps(handle.id))
    fresh = await freshness(on_dev.client, on_dev.backend, handle.id)
    assert (fresh.open, fresh.settled) == (True, False)
    assert 0 <= fresh.behind < 10
    await handle.terminate()


async def test_only_so_many_calls_are_made_in_a_second(on_dev):
    async with worker(on_dev, max_cached_workflows=0):
        handles = [await on_dev.start(Continues.run, 0) for _ in range(6)]
        for handle in handles:
            await handle.result()
    clock = asyncio.get_running_loop().time
    times = []

    def took_a_call(result):
        times.append((clock(), result.calls))

    begun = clock()
    result = await reconcile(
        on_dev.client, on_dev.backend, calls_per_second=10, progress=took_a_call
    )
    assert result.looked_at == len(times) == 6
    assert result.calls == 7  # one list of all, one history of each
    assert all(calls - 1 <= 10 * (at - begun) + 0.01 for at, calls in times)


async def test_it_goes_on_where_it_stopped(on_dev):
    async with worker(on_dev, max_cached_workflows=0):
        handles = [await on_dev.start(Continues.run, 0) for _ in range(5)]
        for handle in handles:
            await handle.result()
    cursor, looked_at, rounds = None, 0, 0
    while rounds == 0 or cursor is not None:
        result = await reconcile(
            on_dev.client, on_dev.backend, calls_per_second=1000, limit=2, cursor=cursor
        )
        cursor, rounds = result.cursor, rounds + 1
        looked_at += result.looked_at
    assert (looked_at, rounds) == (5, 3)
    for handle in handles:
        await agreed(on_dev.client, on_dev.backend, handle.id)


async def test_what_is_young_is_left_alone(on_dev):
    handle = await start_waiting(on_dev)
    await handle.terminate()
    result = await reconcile(on_dev.client, on_dev.backend, older_than=timedelta(hours=1))
    assert (result.looked_at, result.calls) == (0, 0)


@pytest.mark.parametrize("flush", ["0.02", "60"])
async def test_a_worker_killed_after_its_completion_was_taken_leaves_nothing_wrong(
    on_dev, children, tmp_path, flush
):
    handle = await on_dev.start(Continues.run, 0)
    target = on_dev.client.service_client.config.target_host
    root = str(tmp_path / "store")
    process = children.worker(SCRIPT, target, on_dev.task_queue, root, handle.id, flush)
    assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
    if flush == "60":
        assert await on_dev.backend.runs.get(handle.id) is None
    await settled_twice(on_dev, handle.id)
    run = await agreed(on_dev.client, on_dev.backend, handle.id)
    assert (run.status, run.result.json(), run.counts) == ("completed", "done", {"completed": 1})
    (step,) = await on_dev.backend.runs.steps(handle.id)
    assert (step.name, step.status, step.result.json()) == ("echo", "completed", 0)


async def test_a_worker_reconciles_when_it_starts_and_is_not_delayed(on_dev, monkeypatch):
    held, unsettled = asyncio.Event(), Reconciler.all_unsettled

    async def later(*arguments):
        await held.wait()
        await unsettled(*arguments)

    monkeypatch.setattr(Reconciler, "all_unsettled", later)
    handle = await start_waiting(on_dev)
    await handle.terminate()
    plugin = StatePlugin(
        on_dev.backend,
        recording=EACH,
        reconcile=Reconcile(older_than=timedelta(0), calls_per_second=1000),
    )
    async with on_dev.worker(*WORKFLOWS, activities=ACTIVITIES, plugins=[plugin]):
        other = await on_dev.start(Continues.run, 0)
        try:
            assert await asyncio.wait_for(other.result(), 15) == "done"
        finally:
            held.set()

        async def terminated():
            return (await on_dev.backend.runs.get(handle.id)).status == "terminated"

        await until(terminated)
    await agreed(on_dev.client, on_dev.backend, handle.id)


async def test_a_worker_that_cannot_reconcile_works_on(on_dev, caplog):
    plugin = StatePlugin(on_dev.backend, reconcile=Reconcile(calls_per_second=0))
    async with on_dev.worker(*WORKFLOWS, activities=ACTIVITIES, plugins=[plugin]):
        other = await on_dev.start(Continues.run, 0)
        assert await other.result() == "done"
    assert "the worker goes on without reconciling" in caplog.text
