"""The last checkpoint before a run: of the run it resumes, or of those it continues."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from temporal_state import ContextError, Recording, StateBackend, StatePlugin, resume, state

SOON = timedelta(seconds=30)
broken: set[str] = set()
backends: list[StateBackend] = []


@pytest.fixture
def runner(quick):
    backends[:] = [quick.backend]
    recording = Recording(checkpoint_every=2, flush_interval=timedelta(milliseconds=50))
    quick.options["plugins"] = [StatePlugin(quick.backend, recording=recording)]
    broken.clear()
    return quick


@activity.defn
async def work(n: int) -> int:
    if n == 3 and broken:
        raise ApplicationError("broken", non_retryable=True)
    return n


@activity.defn
async def looks() -> int | None:
    found = await state.last_checkpoint()
    return None if found is None else found.number


@activity.defn
async def waits_until_kept(name: str) -> None:
    """Wait until a checkpoint of this run has a document with this name in it."""
    info, (backend,) = activity.info(), backends
    while True:
        kept = await backend.runs.history(info.workflow_id, run_id=info.workflow_run_id)
        if any(name in checkpoint.state for checkpoint in kept):
            return
        await asyncio.sleep(0.02)


async def is_kept(name):
    await workflow.execute_activity(waits_until_kept, name, start_to_close_timeout=SOON)


ACTIVITIES = [work, looks, waits_until_kept]


def shown(checkpoint):
    return None if checkpoint is None else [checkpoint.number, checkpoint.state]


@workflow.defn
class Continues:
    @workflow.run
    async def run(self, times: int) -> list:
        before = shown(await state.last_checkpoint())
        inside = await workflow.execute_activity(looks, start_to_close_timeout=SOON)
        document = await state.update({f"run {times}": True})
        await workflow.execute_activity(work, times, start_to_close_timeout=SOON)
        if times:
            await is_kept(f"run {times}")
            workflow.continue_as_new(times - 1)
        return [before, inside, sorted(document)]


async def test_a_continued_run_reads_that_of_the_run_before_and_counts_on(runner):
    async with runner.worker(Continues, activities=ACTIVITIES):
        handle = await runner.start(Continues.run, 2)
        before, inside, document = await handle.result()
    runs = await runner.backend.runs.of_workflow(handle.id)
    numbers = []
    for run in reversed(runs):
        history = await runner.backend.runs.history(handle.id, run_id=run.run_id)
        numbers.append([checkpoint.number for checkpoint in history])
    assert len(numbers) == 3
    assert [n for run in numbers for n in run] == list(range(1, sum(map(len, numbers)) + 1))
    last = numbers[1][-1]
    assert before == [last, {"run 2": True, "run 1": True}]
    assert inside == last
    assert document == ["run 0", "run 1", "run 2"]


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> list:
        before = shown(await state.last_checkpoint())
        await state.update(first=1)
        for n in range(3):
            await workflow.execute_activity(work, n, start_to_close_timeout=SOON)
        await is_kept("first")
        await workflow.execute_activity(work, 3, start_to_close_timeout=SOON)
        await state.update(second=2)
        return before


async def test_a_resumed_run_reads_that_of_the_run_it_resumes(runner):
    broken.add("3")
    async with runner.worker(Fails, activities=ACTIVITIES):
        handle = await runner.start(Fails.run)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken.clear()
        new = await resume(runner.client, runner.backend, handle.id)
        number, document = await new.result()
        last = (await runner.backend.runs.history(handle.id, run_id=handle.result_run_id))[-1]
        assert (number, document) == (last.number, {"first": 1})
        history = await new.fetch_history()
    replayer = Replayer(
        workflows=[Fails],
        workflow_runner=UnsandboxedWorkflowRunner(),
        plugins=[StatePlugin(runner.backend)],
    )
    await replayer.replay_workflow(history)
    checkpoints = await runner.backend.runs.history(handle.id)
    assert checkpoints[-1].state["first"] == 1  # that of the document that the run goes on with


async def test_a_run_with_nothing_before_it_has_none(runner):
    async with runner.worker(Fails, activities=ACTIVITIES):
        assert await runner.run(Fails.run) is None
    with pytest.raises(ContextError, match="history"):
        await state.last_checkpoint()
