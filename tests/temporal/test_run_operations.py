"""Runs, snapshots and evaluations from workflow and activity code: the same names, made once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    Interceptor,
    Replayer,
    UnsandboxedWorkflowRunner,
)

from temporal_state import (
    ConflictError,
    ContextError,
    InvalidValueError,
    NotFoundError,
    StatePlugin,
    _default,
    state,
)

SOON = timedelta(seconds=30)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)


async def stands_for_other_work(id: str) -> dict[str, Any]:
    """What a workflow or an activity that stands for work elsewhere does."""
    ref = await state.runs.start(id, workflow_type="Import", input=[7], started=NOON)
    await state.runs.step(ref, number=1, name="load", started=NOON, ended=NOON + SOON, result=[1])
    await state.runs.progress(ref, 1, 2, "half")
    await state.runs.annotate(ref, {"customer": {"id": 7}})
    span = await state.runs.span(ref, name="parse", step=1, start=NOON, end=NOON + SOON)
    made = await state.runs.checkpoint(ref, step=1, state={"row": 1}, name="first")
    said = await state.runs.evaluate(ref, 0.5, "so so", metadata={"by": "a person"})
    await state.runs.finish(ref, "failed", error=ValueError("bad row"), ended=NOON + SOON)
    run = await state.runs.get(id)
    steps = await state.runs.steps(id)
    history = await state.runs.history(id, run_id=ref.run_id)
    spans = await state.runs.spans(id)
    listed = await state.runs.list(workflow_type="Import", since=NOON, limit=5)
    assert run.ref == ref
    assert [s.span_id for s in spans if s.name == "parse"] == [span.span_id]
    return {
        "run": [
            run.status,
            run.error.message,
            run.metadata,
            run.progress.done,
            run.input[0].json(),
        ],
        "steps": [[s.number, s.name, s.status, s.result.json()] for s in steps],
        "history": [[c.number, c.name, c.state] for c in history],
        "same": [made.number, made.state],
        "said": [said.score, said.feedback, said.run_id == ref.run_id],
        "listed": [r.workflow_id for r in listed if r.workflow_id == id],
    }


def expected(id):
    return {
        "run": ["failed", "bad row", {"customer": {"id": 7}}, 1, 7],
        "steps": [[1, "load", "completed", [1]]],
        "history": [[1, "first", {"row": 1}]],
        "same": [1, {"row": 1}],
        "said": [0.5, "so so", True],
        "listed": [id],
    }


@activity.defn
async def does(id: str) -> dict[str, Any]:
    return await stands_for_other_work(id)


@workflow.defn
class Stands:
    @workflow.run
    async def run(self, id: str) -> list[Any]:
        return [
            await stands_for_other_work(f"{id}-w"),
            await workflow.execute_activity(
                does, f"{id}-a", start_to_close_timeout=SOON, retry_policy=QUICKLY
            ),
        ]


@pytest.mark.parametrize("sandboxed", [True, False])
async def test_records_by_hand_are_the_same_in_workflows_activities_and_scripts(
    runner, sandboxed, monkeypatch
):
    options = {} if sandboxed else {"workflow_runner": UnsandboxedWorkflowRunner()}
    id = runner.task_queue
    async with runner.worker(Stands, activities=[does], **options):
        handle = await runner.start(Stands.run, id)
        assert await handle.result() == [expected(f"{id}-w"), expected(f"{id}-a")]
    monkeypatch.setattr(_default, "_default", runner.backend)
    assert await stands_for_other_work(f"{id}-s") == expected(f"{id}-s")
    replayer = Replayer(workflows=[Stands], plugins=[StatePlugin("/nonexistent/never")], **options)
    history = await handle.fetch_history()
    assert (await replayer.replay_workflow(history)).replay_failure is None


class LosesReplies(Interceptor):
    """The first attempt of each activity does its work and fails to say so."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                result = await super().execute_activity(input)
                if activity.info().attempt == 1:
                    raise ApplicationError("the reply is lost", type="Lost")
                return result

        return Inbound(next)


@workflow.defn
class MakesOnce:
    @workflow.run
    async def run(self, id: str) -> list[Any]:
        refs = [await state.runs.start(id, workflow_type="Import") for _ in range(2)]
        await state.runs.span(refs[0], name="s", start=NOON, end=NOON)
        await state.evaluate(1, "good")
        await state.evaluate(1, "good", step=1)
        await state.update(n=1)
        made = await state.snapshots.create(f"{id}-own", metadata={"why": "test"})
        await state.update(n=2)
        restored = await state.snapshots.restore(f"{id}-own")
        loaded = await state.snapshots.load(f"{id}-own")
        own = await state.get("n")
        listed = await state.snapshots.list(prefix=f"{id}-")
        gone = [await state.snapshots.delete(f"{id}-own") for _ in range(2)]
        return [
            len({ref.run_id for ref in refs}),
            [made.name, made.version, made.metadata, loaded.state],
            [restored, own],
            [one.name for one in listed],
            gone[1],
            await state.snapshots.load(f"{id}-own"),
        ]


async def test_what_is_repeated_is_made_once_and_what_is_called_twice_is_two(on_dev):
    id = on_dev.task_queue
    async with on_dev.worker(MakesOnce, interceptors=[LosesReplies()]):
        handle = await on_dev.start(MakesOnce.run, id)
        assert await handle.result() == [
            2,
            [f"{id}-own", 1, {"why": "test"}, {"n": 1}],
            [3, 1],
            [f"{id}-own"],
            False,
            None,
        ]
    runs = on_dev.backend.runs
    assert len(await runs.of_workflow(id)) == 2
    said = await runs.evaluations(handle.id)
    assert sorted(e.step or 0 for e in said) == [0, 1]
    spans = [
        span
        for run in await runs.of_workflow(id)
        for span in await runs.spans(id, run_id=run.run_id, name="s")
    ]
    assert len(spans) == 1


@workflow.defn
class Refused:
    @workflow.run
    async def run(self, id: str) -> list[str]:
        ref = await state.runs.start(id, workflow_type="Import")
        await state.runs.finish(ref, "completed")
        refused = []
        for call in (
            lambda: state.runs.finish(ref, "failed"),
            lambda: state.runs.finish(ref, "done"),
            lambda: state.runs.step(ref, number=0, name="n"),
            lambda: state.runs.step(ref, number=1, name="n", nonsense=True),
            lambda: state.runs.step({"run_id": "no ref"}, number=1, name="n"),
            lambda: state.runs.span(ref, name="", start=NOON, end=NOON),
            lambda: state.runs.list(limit=5, status="done"),
            lambda: state.snapshots.restore(f"{id}-none"),
            lambda: state.snapshots.create(f"{id}-none", document="none"),
            lambda: state.evaluate(float("inf")),
        ):
            try:
                await call()
                refused.append("nothing")
            except (ConflictError, InvalidValueError, NotFoundError) as error:
                refused.append(type(error).__name__)
        return refused


async def test_what_cannot_be_is_refused_as_the_same_class_in_workflow_code(on_dev):
    async with on_dev.worker(Refused):
        refused = await on_dev.run(Refused.run, on_dev.task_queue)
    wrong = "InvalidValueError"
    assert refused == [
        "ConflictError",
        *[wrong] * 6,
        *["NotFoundError"] * 2,
        wrong,
    ]


@workflow.defn
class ByName:
    @workflow.run
    async def run(self, id: str) -> Any:
        async def call(name, argument):
            return await workflow.execute_activity(
                f"temporal_state.{name}",
                argument,
                start_to_close_timeout=SOON,
                retry_policy=QUICKLY,
            )

        said = {"workflow_id": id, "workflow_type": "Import"}
        ref = await call("runs.start", {"more": said})
        step = {"number": 1, "name": "load", "started": "2026-05-01T12:00:00Z"}
        await call(
            "runs.step", {"ref": ref, "more": {**step, "error": {"type": "E", "message": "m"}}}
        )
        return [len(await call("runs.steps", {"workflow_id": id})), sorted(ref)]


async def test_workflows_of_any_language_call_them_by_name(on_dev):
    async with on_dev.worker(ByName):
        found = await on_dev.run(ByName.run, on_dev.task_queue)
    assert found == [1, ["namespace", "run_id", "started", "workflow_id"]]


async def test_where_no_run_calls_its_own_record_cannot_be_meant(on_dev, monkeypatch):
    monkeypatch.setattr(_default, "_default", on_dev.backend)
    for call in (state.evaluate(1), state.snapshots.create("s"), state.runs.get()):
        with pytest.raises(ContextError, match="none is known here"):
            await call
