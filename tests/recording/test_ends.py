"""How runs end, and how they seem to end: the record says what Temporal says, and one end only.

Each claim is checked on the dev server, after the worker has stopped (which flushes the record)
and, where the record could be wrong for a while, also while it runs.
"""

import asyncio
import itertools
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

with workflow.unsafe.imports_passed_through():
    import pytest  # importing it anew for each sandbox takes long

from temporal_state import Recording, StatePlugin

SOON = timedelta(seconds=30)
EACH = Recording(checkpoint_every=1, flush_interval=timedelta(milliseconds=20))
WORDS = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "continued_as_new",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


def quick(runner) -> dict[str, Any]:
    return {"plugins": [StatePlugin(runner.backend, recording=EACH)], "activities": [echo]}


async def until(condition, seconds=15.0):
    """Wait for an awaitable condition to become true, and return what it returned."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await condition()):
        assert asyncio.get_running_loop().time() < end, "it did not become true in time"
        await asyncio.sleep(0.02)
    return found


async def agreed(runner, handle, run_id=None, *, told_of_ends=True):
    """Return the record of a run, once it is sure that its status is Temporal's."""
    run = await runner.backend.runs.get(handle.id, run_id=run_id)
    described = await runner.client.get_workflow_handle(handle.id, run_id=run_id).describe()
    assert run.status == WORDS[described.status]
    assert run.confirmed == (run.status != "running" and told_of_ends)
    assert (run.ended is None) == (run.status == "running")
    return run


def files(backend):
    return {p: p.read_bytes() for p in sorted(Path(backend.url).rglob("*")) if p.is_file()}


@activity.defn
async def echo(value: Any) -> Any:
    return value


@dataclass
class Gate:
    """Holds workflow code inside of a workflow task, so that a signal can come in between."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def pass_through(self):
        self.reached.set()
        assert self.opened.wait(1.9)


GATES: dict[str, Gate] = {}
BROKEN: set[str] = set()
TRIES: dict[str, int] = {}


def broken() -> bool:
    id = workflow.info().workflow_id
    TRIES[id] = TRIES.get(id, 0) + 1
    return id in BROKEN


@workflow.defn(sandboxed=False)
class EndsTwice:
    def __init__(self):
        self.pokes = 0
        self.finished = False

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(echo, "before", start_to_close_timeout=SOON)
        if self.pokes == 0:
            GATES[workflow.info().workflow_id].pass_through()
            if workflow.info().workflow_id.startswith("fails"):
                raise ApplicationError("too early")
            return "too early"
        await workflow.wait_condition(lambda: self.finished)
        return f"poked {self.pokes} times"

    @workflow.signal
    def poke(self):
        self.pokes += 1

    @workflow.signal
    def finish(self):
        self.finished = True


@pytest.mark.parametrize("end", ["completes", "fails"])
async def test_an_end_that_a_signal_overtakes_is_taken_back(on_dev, end):
    id = f"{end}-{uuid.uuid4().hex}"
    gate = GATES[id] = Gate()
    runs = on_dev.backend.runs
    async with on_dev.worker(EndsTwice, **quick(on_dev)):
        handle = await on_dev.start(EndsTwice.run, id=id)
        await asyncio.to_thread(gate.reached.wait, 10)
        await handle.signal(EndsTwice.poke)
        gate.opened.set()

        async def taken_back():
            run = await until(lambda: runs.get(id))
            # The end is there for a moment, but never as a confirmed one.
            assert not run.confirmed
            history = await handle.fetch_history()
            failed = [
                e for e in history.events if e.HasField("workflow_task_failed_event_attributes")
            ]
            if failed and run.clock > failed[-1].event_id and run.status == "running":
                return failed[-1].workflow_task_failed_event_attributes.cause
            return None

        # So the end was asked for, and the signal was there before.
        cause = await until(taken_back)
        assert cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
        run = await agreed(on_dev, handle)
        assert (run.result, run.error) == (None, None)
        await handle.signal(EndsTwice.finish)
        assert await handle.result() == "poked 1 times"
    run = await agreed(on_dev, handle)
    assert run.status == "completed"
    assert run.result.data == b'"poked 1 times"'
    assert run.error is None
    assert [(s.name, s.status) for s in await runs.steps(id)] == [("echo", "completed")]
    assert len(await runs.list()) == 1


@workflow.defn(sandboxed=False)
class ReturnsWhatDoesNotConvert:
    @workflow.run
    async def run(self) -> Any:
        await workflow.execute_activity(echo, 1, start_to_close_timeout=SOON)
        return object() if broken() else "converts"


@workflow.defn(sandboxed=False)
class FailsItsTasks:
    @workflow.run
    async def run(self, kind: str) -> str:
        await workflow.execute_activity(echo, 1, start_to_close_timeout=SOON)
        if broken():
            raise {"RuntimeError": RuntimeError, "KeyError": KeyError}[kind]("a bug")
        return "fixed"


@activity.defn
async def slow_echo(value: Any) -> Any:
    await asyncio.sleep(0.2)
    return value


@workflow.defn
class EndsAfterLocalOnes:
    @workflow.run
    async def run(self) -> int:
        await workflow.execute_local_activity(slow_echo, 1, start_to_close_timeout=SOON)
        return await workflow.execute_local_activity(slow_echo, 2, start_to_close_timeout=SOON)


async def test_an_end_is_seen_though_the_clock_of_its_worker_is_set_back(on_dev, monkeypatch):
    seconds = itertools.count()

    def backwards() -> datetime:
        return datetime.now(UTC) - timedelta(seconds=next(seconds))

    monkeypatch.setattr("temporal_state.temporal._follower.utc_now", backwards)
    async with on_dev.worker(EndsAfterLocalOnes, **{**quick(on_dev), "activities": [slow_echo]}):
        handle = await on_dev.start(EndsAfterLocalOnes.run)
        assert await handle.result() == 2
    assert (await agreed(on_dev, handle)).counts == {"completed": 2}


@pytest.mark.parametrize(
    ("definition", "arguments", "result"),
    [
        (ReturnsWhatDoesNotConvert, [], b'"converts"'),
        (FailsItsTasks, ["RuntimeError"], b'"fixed"'),
        (FailsItsTasks, ["KeyError"], b'"fixed"'),
    ],
)
async def test_a_failed_task_is_no_end_of_the_run(on_dev, definition, arguments, result):
    id = uuid.uuid4().hex
    BROKEN.add(id)
    runs = on_dev.backend.runs
    async with on_dev.worker(definition, **quick(on_dev)):
        # Temporal repeats a task that failed twice only after the task's timeout.
        handle = await on_dev.start(
            definition.run, *arguments, id=id, task_timeout=timedelta(seconds=1)
        )

        async def failed_twice():
            run = await runs.get(id)
            assert run is None or (run.status, run.ended) == ("running", None)
            return TRIES.get(id, 0) >= 2

        await until(failed_twice)
        run = await until(lambda: runs.get(id))
        assert (await agreed(on_dev, handle)).status == "running"
        BROKEN.discard(id)
        await handle.result()
    run = await agreed(on_dev, handle)
    assert run.status == "completed"
    assert run.result.data == result
    assert [(s.name, s.status) for s in await runs.steps(id)] == [("echo", "completed")]


@workflow.defn(sandboxed=False)
class RepeatsATask:
    """Its first task fails after its local activities; what comes first changes in between."""

    def __init__(self):
        self.told = 0

    @workflow.run
    async def run(self) -> int:
        is_broken = broken()  # once, as it may be mended at any moment
        for i in range(4 if is_broken else 2):
            await workflow.execute_local_activity(echo, f"main {i}", start_to_close_timeout=SOON)
        if is_broken:
            raise RuntimeError("a bug")
        await workflow.wait_condition(lambda: self.told == 1)
        return self.told

    @workflow.signal
    async def tell(self):
        await workflow.execute_local_activity(echo, "handler", start_to_close_timeout=SOON)
        self.told += 1


async def test_a_repeated_task_leaves_no_step_of_the_failed_one(on_dev):
    id = uuid.uuid4().hex
    BROKEN.add(id)
    runs = on_dev.backend.runs
    async with on_dev.worker(RepeatsATask, **quick(on_dev)):
        handle = await on_dev.start(RepeatsATask.run, id=id, task_timeout=timedelta(seconds=1))

        async def recorded():
            return [s.status for s in await runs.steps(id)] == ["completed"] * 4

        await until(recorded)
        await handle.signal(RepeatsATask.tell)
        BROKEN.discard(id)
        assert await handle.result() == 1
    run = await agreed(on_dev, handle)
    steps = await runs.steps(id)
    assert (run.status, run.steps, run.counts) == ("completed", 3, {"completed": 3})
    # The signal is handled before the main routine begins.
    assert [s.result.data for s in steps] == [b'"handler"', b'"main 0"', b'"main 1"']
    assert {(s.kind, s.status) for s in steps} == {("local_activity", "completed")}
    numbers = [c.number for c in await runs.history(id)]
    assert numbers == list(range(1, len(numbers) + 1))


@activity.defn
async def slow() -> str:
    await asyncio.sleep(0.2)
    return "slow"


@workflow.defn
class LeavesThingsOpen:
    @workflow.run
    async def run(self, what: str, how: str) -> str:
        options = {"start_to_close_timeout": SOON}
        started: list[Any] = []
        if what == "activity":
            started.append(workflow.start_activity(slow, **options))
        elif what == "local activity":
            started.append(workflow.start_local_activity(slow, **options))
        elif what == "timer":
            started.append(asyncio.create_task(workflow.sleep(100)))
        elif what == "child":
            await workflow.start_child_workflow(EndsInAHandler.run)
        elif what == "cancelled activity":
            workflow.start_activity(slow, **options).cancel()
        elif what == "cancelled local activity":
            workflow.start_local_activity(slow, **options).cancel()
        await asyncio.sleep(0)
        if how == "failed":
            raise ApplicationError("with something open", type="Open")
        if how == "continued_as_new":
            workflow.continue_as_new(args=["nothing", "completed"])
        return what


@pytest.mark.parametrize(
    "what",
    [
        "activity",
        "local activity",
        "timer",
        "child",
        "cancelled activity",
        "cancelled local activity",
    ],
)
async def test_a_run_that_ends_with_something_open_has_ended(on_dev, what):
    plugins = [StatePlugin(on_dev.backend, recording=EACH)]
    definitions = (LeavesThingsOpen, EndsInAHandler)
    ends = ("completed", "failed", "continued_as_new")
    async with on_dev.worker(*definitions, plugins=plugins, activities=[slow]):
        handles = [await on_dev.start(LeavesThingsOpen.run, what, how) for how in ends]
        completed, failed, continued = handles
        assert await completed.result() == what
        with pytest.raises(WorkflowFailureError):
            await failed.result()
        assert await continued.result() == "nothing"
    for how, handle in zip(ends, handles, strict=True):
        run = await agreed(on_dev, handle, handle.first_execution_run_id)
        assert run.status == how
        assert (run.error.type if run.error else None) == ("Open" if how == "failed" else None)
        assert (run.result is None) == (how != "completed")


@workflow.defn
class ReturnsTooMuch:
    @workflow.run
    async def run(self) -> str:
        return "x" * 3_000_000


async def test_a_result_too_large_for_temporal_is_no_end(on_dev):
    async with on_dev.worker(ReturnsTooMuch, **quick(on_dev)):
        handle = await on_dev.start(ReturnsTooMuch.run)

        async def dealt_with():
            events = (await handle.fetch_history()).events
            return any("fail" in str(e.WhichOneof("attributes")) for e in events)

        await until(dealt_with)
    run = await agreed(on_dev, handle)
    assert run.result is None
    assert run.status == "running"  # Temporal fails its tasks again and again
    await handle.terminate()


@workflow.defn
class EndsInAHandler:
    @workflow.run
    async def run(self, how: str = "wait") -> str:
        if how != "wait":
            return how
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.signal
    async def fail(self):
        await workflow.execute_local_activity(echo, 1, start_to_close_timeout=SOON)
        raise ApplicationError("in a handler", type="InHandler")

    @workflow.signal
    async def go_on(self):
        workflow.continue_as_new("continued")


async def test_a_failure_raised_in_a_signal_handler_is_the_runs_failure(on_dev):
    async with on_dev.worker(EndsInAHandler, **quick(on_dev)):
        handle = await on_dev.start(EndsInAHandler.run)
        await handle.signal(EndsInAHandler.fail)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    run = await agreed(on_dev, handle)
    assert run.status == "failed"
    assert (run.error.type, run.error.message) == ("InHandler", "in a handler")
    assert run.counts == {"completed": 1}


async def test_a_run_continued_by_a_signal_handler_ends_as_continued(on_dev):
    async with on_dev.worker(EndsInAHandler, **quick(on_dev)):
        handle = await on_dev.start(EndsInAHandler.run)
        await handle.signal(EndsInAHandler.go_on)
        assert await handle.result() == "continued"
    first = await agreed(on_dev, handle, handle.first_execution_run_id)
    assert first.status == "continued_as_new"
    last = await on_dev.backend.runs.get(handle.id)
    assert (last.status, last.continued_from) == ("completed", first.run_id)
    assert last.chain == first.run_id


@workflow.defn
class Counts:
    """Does some of everything, and waits for a signal in the middle."""

    def __init__(self):
        self.released = False

    @workflow.run
    async def run(self, n: int) -> int:
        for i in range(n):
            await workflow.execute_activity(echo, i, start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.released)
        for i in range(n):
            await self.also(i)
            await workflow.execute_activity(echo, i, start_to_close_timeout=SOON)
        return n

    async def also(self, i: int):
        await workflow.execute_local_activity(echo, i, start_to_close_timeout=SOON)

    @workflow.signal
    def release(self):
        self.released = True

    @workflow.query
    def is_released(self) -> bool:
        return self.released


@workflow.defn
class CountsAfar(Counts):
    """The same without local activities, which work badly without a cache, whoever looks on."""

    @workflow.run
    async def run(self, n: int) -> int:
        return await super().run(n)

    async def also(self, i: int):
        await workflow.execute_activity(echo, i, start_to_close_timeout=SOON)


STEPS_OF_COUNTS = [
    ("activity", "0"),
    ("activity", "1"),
    ("local_activity", "0"),
    ("activity", "0"),
    ("local_activity", "1"),
    ("activity", "1"),
]


def assert_is_whole(run, steps):
    """The record of a completed run of ``Counts(2)``: every step, once."""
    assert (run.status, run.steps) == ("completed", 6)
    assert (run.counts, run.open, run.lost) == ({"completed": 6}, [], 0)
    assert (run.result.data, [v.data for v in run.input]) == (b"2", [b"2"])
    expected = [
        ("activity" if run.workflow_type == "CountsAfar" else kind, value)
        for kind, value in STEPS_OF_COUNTS
    ]
    assert [(s.kind, s.result.data.decode()) for s in steps] == expected
    assert [s.number for s in steps] == [1, 2, 3, 4, 5, 6]
    assert {(s.status, s.attempt, s.error) for s in steps} == {("completed", 1, None)}
    assert len({s.key for s in steps}) == 6


async def test_a_query_of_a_closed_run_changes_nothing_in_its_record(on_dev):
    async with on_dev.worker(Counts, **quick(on_dev)):
        handle = await on_dev.start(Counts.run, 2)
        await handle.signal(Counts.release)
        await handle.result()
    before = files(on_dev.backend)
    assert any(p.name == "run.json" for p in before)
    async with on_dev.worker(Counts, **quick(on_dev)):
        assert await handle.query(Counts.is_released)
        assert await handle.query(Counts.is_released)
    assert files(on_dev.backend) == before


async def test_a_query_of_a_running_run_changes_nothing_either(on_dev):
    async with on_dev.worker(Counts, **quick(on_dev)):
        handle = await on_dev.start(Counts.run, 2)
        await until(lambda: _counted(on_dev, handle, 2))
    before = files(on_dev.backend)
    async with on_dev.worker(Counts, **quick(on_dev)):
        assert not await handle.query(Counts.is_released)
    assert files(on_dev.backend) == before
    await handle.terminate()


async def _counted(runner, handle, steps):
    run = await runner.backend.runs.get(handle.id)
    return run is not None and run.counts.get("completed") == steps


@pytest.mark.parametrize(
    ("definition", "options", "told_of_ends"),
    [
        (Counts, {}, True),
        (Counts, {"max_cached_workflows": 1}, True),
        # These workers are not told whether an end was accepted, so it stays a provisional one.
        (CountsAfar, {"max_cached_workflows": 0}, False),
        (Counts, {"disable_safe_workflow_eviction": True}, False),
    ],
    ids=str,
)
async def test_the_record_does_not_depend_on_the_workers_cache(
    on_dev, definition, options, told_of_ends
):
    runs = on_dev.backend.runs
    options = {**quick(on_dev), "workflow_runner": UnsandboxedWorkflowRunner(), **options}
    async with on_dev.worker(definition, **options):
        handles = [await on_dev.start(definition.run, 2) for _ in range(4)]
        for handle in handles:
            await until(lambda handle=handle: _counted(on_dev, handle, 2))
        for handle in handles:
            assert (await agreed(on_dev, handle)).status == "running"
            await handle.signal(Counts.release)
        assert [await h.result() for h in handles] == [2] * 4
    for handle in handles:
        run = await agreed(on_dev, handle, told_of_ends=told_of_ends)
        assert_is_whole(run, await runs.steps(handle.id))
        history = await runs.history(handle.id)
        assert [c.number for c in history] == list(range(1, len(history) + 1))
        assert history[-1].step == 6
    assert len(await runs.list()) == 4


@workflow.defn
class IsCancelled:
    @workflow.run
    async def run(self, how: str) -> str:
        await workflow.execute_activity(echo, 1, start_to_close_timeout=SOON)
        try:
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            if how == "is cancelled":
                raise
            if how == "fails":
                raise ApplicationError("instead", type="Instead") from None
        return "caught"


@pytest.mark.parametrize("options", [{}, {"max_cached_workflows": 0}], ids=str)
@pytest.mark.parametrize(
    ("how", "status"),
    [("is cancelled", "cancelled"), ("completes", "completed"), ("fails", "failed")],
)
async def test_cancellation_is_an_end_only_if_the_workflow_lets_it_be(on_dev, how, status, options):
    async with on_dev.worker(IsCancelled, **quick(on_dev), **options):
        handle = await on_dev.start(IsCancelled.run, how)
        await until(lambda: _counted(on_dev, handle, 1))
        await handle.cancel()
        if status == "completed":
            assert await handle.result() == "caught"
        else:
            with pytest.raises(WorkflowFailureError):
                await handle.result()
    run = await agreed(on_dev, handle, told_of_ends=not options)
    assert run.status == status
    assert run.counts == {"completed": 1}
    assert (run.error.type if run.error else None) == ("Instead" if how == "fails" else None)


async def test_runs_that_leave_the_cache_or_their_worker_are_still_running(on_dev):
    options = {**quick(on_dev), "workflow_runner": UnsandboxedWorkflowRunner()}
    async with on_dev.worker(IsCancelled, **options, max_cached_workflows=1):
        handles = [await on_dev.start(IsCancelled.run, "completes") for _ in range(8)]
        for handle in handles:
            await until(lambda handle=handle: _counted(on_dev, handle, 1))
    for handle in handles:
        run = await agreed(on_dev, handle)
        assert (run.status, run.ended, run.error) == ("running", None, None)
        await handle.terminate()


async def test_a_worker_stopped_in_the_middle_leaves_a_running_record_that_the_next_one_ends(
    on_dev,
):
    runs = on_dev.backend.runs
    async with on_dev.worker(Counts, **quick(on_dev)):
        handle = await on_dev.start(Counts.run, 2)
        await until(lambda: _counted(on_dev, handle, 2))
    assert (await agreed(on_dev, handle)).status == "running"
    assert [s.status for s in await runs.steps(handle.id)] == ["completed", "completed"]
    async with on_dev.worker(Counts, **quick(on_dev)):
        await handle.signal(Counts.release)
        await handle.result()
    assert_is_whole(await agreed(on_dev, handle), await runs.steps(handle.id))
    history = await runs.history(handle.id)
    assert [c.number for c in history] == list(range(1, len(history) + 1))
    assert len(await runs.list()) == 1


@workflow.defn
class InAChain:
    @workflow.run
    async def run(self, mode: str, left: int) -> str:
        for i in range(2):
            await workflow.execute_activity(echo, i, start_to_close_timeout=SOON)
        if mode == "continue" and left:
            workflow.continue_as_new(args=[mode, left - 1])
        if mode == "retry" and workflow.info().attempt <= left:
            raise ApplicationError("once more", type="Again")
        return "done"


async def _chain(runner, handle):
    """Return the records of a chain's runs, the oldest first, and their checkpoints' numbers."""
    listed = [run for run in await runner.backend.runs.list() if run.workflow_id == handle.id]
    found = sorted(listed, key=lambda run: run.started)
    numbers = [
        [c.number for c in await runner.backend.runs.history(run.workflow_id, run_id=run.run_id)]
        for run in found
    ]
    assert {run.chain for run in found} == {handle.first_execution_run_id}
    assert len({run.run_id for run in found}) == len(found)
    for run in found:
        assert run.counts == {"completed": 2}
        await agreed(runner, handle, run.run_id)
    return found, numbers


async def test_a_continued_chain_has_a_record_for_each_run_and_its_checkpoints_go_on(on_dev):
    async with on_dev.worker(InAChain, **quick(on_dev)):
        handle = await on_dev.start(InAChain.run, "continue", 2)
        assert await handle.result() == "done"
    found, numbers = await _chain(on_dev, handle)
    assert [r.status for r in found] == ["continued_as_new", "continued_as_new", "completed"]
    assert [r.continued_from for r in found] == [None, found[0].run_id, found[1].run_id]
    everything = [number for part in numbers for number in part]
    assert everything == sorted(set(everything))
    assert [len(part) for part in numbers] == [2, 2, 2]


async def test_a_retried_workflow_has_a_record_for_each_attempt_and_numbers_anew(on_dev):
    policy = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=100))
    async with on_dev.worker(InAChain, **quick(on_dev)):
        handle = await on_dev.start(InAChain.run, "retry", 1, retry_policy=policy)
        assert await handle.result() == "done"
    found, numbers = await _chain(on_dev, handle)
    assert [(r.status, r.attempt) for r in found] == [("failed", 1), ("completed", 2)]
    assert (found[0].error.type, found[1].error) == ("Again", None)
    assert numbers == [[1, 2], [1, 2]]


async def test_a_cron_workflow_has_a_record_for_each_run_and_numbers_anew(on_dev):
    async with on_dev.worker(InAChain, **quick(on_dev)):
        handle = await on_dev.start(InAChain.run, "cron", 0, cron_schedule="@every 1s")

        async def ran_twice():
            runs = await on_dev.backend.runs.list(status="completed")
            return len([run for run in runs if run.confirmed]) >= 2

        await until(ran_twice)
        await on_dev.client.get_workflow_handle(handle.id).terminate()
    found = sorted(await on_dev.backend.runs.list(status="completed"), key=lambda r: r.started)
    for run in found:
        assert (run.chain, run.cron) == (handle.first_execution_run_id, "@every 1s")
        assert run.counts == {"completed": 2}
        history = await on_dev.backend.runs.history(handle.id, run_id=run.run_id)
        assert [checkpoint.number for checkpoint in history] == [1, 2]
        await agreed(on_dev, handle, run.run_id)
