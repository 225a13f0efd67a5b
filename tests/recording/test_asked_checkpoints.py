"""Checkpoints that workflow code asks for: durable, numbered in the chain, made once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    Interceptor,
    Replayer,
    UnsandboxedWorkflowRunner,
)

from temporal_state import (
    ContextError,
    InvalidValueError,
    Recording,
    StatePlugin,
    TooLargeError,
    state,
)

SOON = timedelta(seconds=30)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)


@activity.defn
async def works(n: int) -> int:
    return n


async def worked(n):
    return await workflow.execute_activity(works, n, start_to_close_timeout=SOON)


@workflow.defn
class Asks:
    @workflow.run
    async def run(self, left: int) -> list[int]:
        await state.update(left=left)
        numbers = [await state.checkpoint("begun")]
        await asyncio.gather(*(worked(i) for i in range(4)))
        await state.update(done=True)
        state.progress(4, 5)
        numbers.append(await state.checkpoint())
        numbers.append(await state.checkpoint("given", {"own": [left]}))
        if left:
            workflow.continue_as_new(left - 1)
        return numbers


@pytest.mark.parametrize("sandboxed", [True, False])
async def test_they_have_numbers_of_one_sequence_with_the_automatic_ones(runner, sandboxed):
    options = {} if sandboxed else {"workflow_runner": UnsandboxedWorkflowRunner()}
    plugins = [StatePlugin(runner.backend, recording=Recording(checkpoint_every=1))]
    async with runner.worker(Asks, activities=[works], plugins=plugins, **options):
        handle = await runner.start(Asks.run, 1)
        asked = await handle.result()
    runs = runner.backend.runs
    chain = [
        await runs.history(handle.id, run_id=run.run_id)
        for run in await runs.of_workflow(handle.id)
    ]
    last, first = chain
    numbers = [checkpoint.number for checkpoint in [*first, *last]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert (
        [c.name for c in first if c.name] == ["begun", "given"] == [c.name for c in last if c.name]
    )
    for run in await runs.of_workflow(handle.id):  # and no end is another step's
        steps = await runs.steps(handle.id, run_id=run.run_id)
        assert {step.status for step in steps} == {"completed"}
        assert [step.result.json() for step in steps if step.name == "works"] == [0, 1, 2, 3]
    begun, given = await runs.load_checkpoint(handle.id, "begun"), last[asked[2] - last[0].number]
    assert (begun.state, begun.version, begun.number) == ({"left": 0, "done": True}, 3, asked[0])
    assert (given.name, given.state) == ("given", {"own": [0]})
    middle = await runs.load_checkpoint(handle.id, asked[1])
    assert (middle.state, middle.progress.done) == ({"left": 0, "done": True}, 4)
    assert middle.counts["completed"] == middle.step >= 6
    changed = await runs.diff(handle.id, "begun", "given")
    assert changed == await runs.diff(handle.id, asked[0], asked[2])
    assert await runs.load_checkpoint(handle.id, "never") is None

    history = await handle.fetch_history()
    for recording in (Recording(), Recording(checkpoint_every=1), None):
        plugin = StatePlugin("/nonexistent/never", recording=recording)
        replayer = Replayer(workflows=[Asks], plugins=[plugin], **options)
        assert (await replayer.replay_workflow(history)).replay_failure is None


@pytest.mark.parametrize("recording", [Recording(), Recording(capture="none"), None])
async def test_history_is_the_same_however_it_is_recorded(on_dev, recording):
    plugins = [StatePlugin(on_dev.backend, recording=recording)]
    async with on_dev.worker(Asks, activities=[works], plugins=plugins):
        handle = await on_dev.start(Asks.run, 0)
        numbers = await handle.result()
    kinds = [e.WhichOneof("attributes") for e in (await handle.fetch_history()).events]
    # Two changes of the document and three checkpoints; four activities, in any number of tasks.
    assert kinds.count("marker_recorded_event_attributes") == 5
    assert kinds.count("activity_task_scheduled_event_attributes") == 4
    kept = {c.number: c for c in await on_dev.backend.runs.history(handle.id)}
    assert [kept[n].name for n in numbers] == ["begun", None, "given"]
    assert kept[numbers[1]].state == {"left": 0, "done": True}


class LosesReplies(Interceptor):
    """The first attempt of each activity does its work and fails to say so."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                result = await super().execute_activity(input)
                if activity.info().attempt == 1:
                    raise ApplicationError("the reply is lost")
                return result

        return Inbound(next)


@workflow.defn
class FailsItsTask:
    @workflow.run
    async def run(self, id: str) -> list[int]:
        numbers = [await state.checkpoint("a"), await state.checkpoint("a")]
        if id not in FAILED:
            with workflow.unsafe.sandbox_unrestricted():
                FAILED.add(id)
            raise RuntimeError("fails the task")
        return [*numbers, await state.checkpoint("a")]


FAILED: set[str] = set()


async def test_a_repeated_call_is_the_same_checkpoint_and_each_call_is_one(on_dev):
    options = {"interceptors": [LosesReplies()], "workflow_runner": UnsandboxedWorkflowRunner()}
    async with on_dev.worker(FailsItsTask, **options):
        handle = await on_dev.start(FailsItsTask.run, on_dev.task_queue)
        numbers = await handle.result()
    kept = [c for c in await on_dev.backend.runs.history(handle.id) if c.name == "a"]
    assert [c.number for c in kept] == numbers
    assert len(set(numbers)) == 3
    assert (await on_dev.backend.runs.load_checkpoint(handle.id, "a")).number == numbers[2]


@workflow.defn
class AsksTogether:
    @workflow.run
    async def run(self, n: int) -> list[int]:
        both = asyncio.gather(*(state.checkpoint(f"c{i}") for i in range(n)))
        await asyncio.gather(*(worked(i) for i in range(n)))
        return list(await both)


async def test_checkpoints_asked_for_together_collide_with_no_automatic_one(on_dev):
    plugins = [StatePlugin(on_dev.backend, recording=Recording(checkpoint_every=1))]
    async with on_dev.worker(AsksTogether, activities=[works], plugins=plugins):
        handle = await on_dev.start(AsksTogether.run, 8)
        numbers = await handle.result()
    assert len(set(numbers)) == 8
    kept = await on_dev.backend.runs.history(handle.id)
    assert [c.number for c in kept] == list(range(1, len(kept) + 1))
    by_name = {c.name: c.number for c in kept if c.name}
    assert [by_name[f"c{i}"] for i in range(8)] == numbers


@workflow.defn
class StepByStep:
    def __init__(self):
        self.steps = 0

    @workflow.run
    async def run(self, n: int) -> list[int]:
        numbers = []
        for i in range(n):
            await workflow.wait_condition(lambda i=i: self.steps > i)
            await worked(i)
            numbers.append(await state.checkpoint(f"c{i}"))
        return numbers

    @workflow.signal
    def step(self):
        self.steps += 1


async def test_recording_may_change_between_them_and_none_is_lost(on_dev):
    settings = [
        Recording(checkpoint_every=1),
        Recording(checkpoint_every=100),
        None,
        Recording(checkpoint_every=1),
    ]
    handle = None
    for part, recording in enumerate(settings):
        plugins = [StatePlugin(on_dev.backend, recording=recording)]
        async with on_dev.worker(StepByStep, activities=[works], plugins=plugins):
            handle = handle or await on_dev.start(StepByStep.run, len(settings))
            await handle.signal(StepByStep.step)
            async with asyncio.timeout(20):
                while await on_dev.backend.runs.load_checkpoint(handle.id, f"c{part}") is None:
                    await asyncio.sleep(0.02)
                if part + 1 == len(settings):
                    numbers = await handle.result()
    assert len(set(numbers)) == 4
    kept = {c.name: c.number for c in await on_dev.backend.runs.history(handle.id) if c.name}
    assert [kept[f"c{i}"] for i in range(4)] == numbers


@activity.defn
async def asks_in_an_activity() -> str:
    with pytest.raises(ContextError) as refused:
        await state.checkpoint("a")
    return str(refused.value)


@workflow.defn
class Refused:
    @workflow.run
    async def run(self) -> list[Any]:
        refused = []
        for name, value in (
            ("", None),
            (7, None),
            ("\ud800", None),
            (None, {"n": float("nan")}),
            (None, {"big": "x" * 1_000_000}),
        ):
            try:
                await state.checkpoint(name, value)
            except (InvalidValueError, TooLargeError) as error:
                refused.append(type(error).__name__)
        told = await workflow.execute_activity(
            asks_in_an_activity, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )
        return [refused, told, await state.checkpoint()]


async def test_what_can_be_no_checkpoint_is_refused_before_anything_is_scheduled(on_dev):
    async with on_dev.worker(Refused, activities=[asks_in_an_activity]):
        handle = await on_dev.start(Refused.run)
        refused, told, number = await handle.result()
    history = await handle.fetch_history()
    assert [e.event_type for e in history.events].count(EventType.EVENT_TYPE_MARKER_RECORDED) == 1
    assert refused == [*["InvalidValueError"] * 4, "TooLargeError"]
    assert "workflow code" in told
    assert number == 1
    with pytest.raises(ContextError, match=r"StateBackend\.runs\.checkpoint"):
        await state.checkpoint()


@workflow.defn
class ByName:
    @workflow.run
    async def run(self) -> Any:
        return await workflow.execute_activity(
            "temporal_state.own.checkpoint", {"name": "n"}, start_to_close_timeout=SOON
        )


async def test_workflows_of_any_language_ask_for_it_by_name(on_dev):
    async with on_dev.worker(ByName):
        handle = await on_dev.start(ByName.run)
        assert await handle.result() == {"number": 1}
    assert (await on_dev.backend.runs.load_checkpoint(handle.id, "n")).state == {}
