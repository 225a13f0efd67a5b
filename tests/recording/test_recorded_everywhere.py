"""Wherever a worker's plugin keeps the records: the same is recorded, reconciled and resumed."""

from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from temporal_state import Recording, StateBackend, StatePlugin, freshness, reconcile, resume, state

SOON = timedelta(seconds=30)
TWICE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=1))
QUICK = Recording(flush_interval=timedelta(milliseconds=20), checkpoint_every=1)
broken = set[str]()
executed: list[str] = []


@activity.defn
async def load(name: str) -> str:
    executed.append(f"load {name}")
    with state.span("parse"):
        if activity.info().attempt == 1:
            raise ApplicationError("once more")
    return name * 3000  # too large to lie in the record itself


@activity.defn
async def publish(name: str) -> str:
    executed.append(f"publish {name}")
    if name in broken:
        raise ApplicationError("the target refuses", non_retryable=True)
    return "published"


@workflow.defn
class Part:
    @workflow.run
    async def run(self, name: str) -> int:
        return len(name)


@workflow.defn
class Report:
    @workflow.run
    async def run(self, name: str) -> str:
        state.annotate(team={"id": 7})
        options = {"start_to_close_timeout": SOON, "retry_policy": TWICE}
        await workflow.execute_activity(load, name, **options)
        state.progress(1, 2, "loaded")
        await state.update(cursor=1)
        await state.checkpoint("loaded")
        await workflow.execute_child_workflow(Part.run, name, id=f"{name}-part")
        return await workflow.execute_activity(publish, name, **options)


@pytest.fixture(params=["local", "memory", "s3"])
async def backend(request, tmp_path):
    """Here its catalog is in memory, as none must be left in the user's cache folder."""
    url = {"local": tmp_path / "store", "memory": "memory://"}.get(request.param)
    if url is None:
        url = request.getfixturevalue("s3_store")
    async with StateBackend.open(url, app="tests", catalog="memory://") as opened:
        yield opened


async def test_a_run_is_recorded_resumed_and_reconciled_on_every_store(on_dev, backend):
    name = f"r{uuid4().hex[:8]}"
    broken.add(name)
    executed.clear()
    client, runs = on_dev.client, backend.runs
    plugins = [StatePlugin(backend, recording=QUICK)]
    async with on_dev.worker(Report, Part, activities=[load, publish], plugins=plugins):
        failed = await on_dev.start(Report.run, name, id=name)
        with pytest.raises(WorkflowFailureError):
            await failed.result()
    run = await runs.get(name)
    assert (run.status, run.confirmed, run.error.type) == ("failed", True, "ApplicationError")
    assert (run.input[0].json(), run.progress.message) == (name, "loaded")
    steps = {step.name: step for step in await runs.steps(name)}
    assert (steps["load"].attempt, steps["load"].result.json()) == (2, name * 3000)
    assert [steps[each].status for each in ("load", "Part", "publish")] == [
        *("completed", "completed", "failed")
    ]
    assert {"parse", "load", "Report"} <= {span.name for span in await runs.spans(name)}
    assert (await runs.load_checkpoint(name, "loaded")).state == {"cursor": 1}
    assert len(await runs.history(name)) > 1
    assert await runs.document(name) == {"cursor": 1}
    assert [one.run_id for one in await runs.list(metadata={"team": {"id": 7}})] == [run.run_id]
    assert [one.status for one in await runs.background(name)] == ["completed"]
    assert (await freshness(client, backend, name)).settled
    broken.clear()
    async with on_dev.worker(Report, Part, activities=[load, publish], plugins=plugins):
        assert await (await resume(client, backend, name)).result() == "published"
    assert executed == [f"load {name}"] * 2 + [f"publish {name}"] * 2
    assert [one.status for one in await runs.of_workflow(name)] == ["completed", "failed"]
    lost = await on_dev.start(Report.run, name, id=f"{name}-lost")
    await lost.terminate()
    await reconcile(client, backend, lost.id)
    assert (await runs.get(lost.id)).status == "terminated"
    stats = await runs.stats()
    assert stats.by_status == {"completed": 3, "failed": 1, "terminated": 1}
