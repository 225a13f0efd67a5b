"""All that can be asked of runs and done with them: the same in workflow and activity code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, Interceptor, Replayer

from temporal_state import (
    ConflictError,
    ContextError,
    InvalidValueError,
    NotRecordedError,
    Recording,
    StateBackend,
    StatePlugin,
    _default,
    state,
)
from temporal_state.documents import Caller
from temporal_state.errors import TooLargeError
from temporal_state.temporal.requests import FailedRuns, GetStats, ListAudit, ListRuns, Scope

SOON = timedelta(seconds=30)
DAY = timedelta(days=1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ONCE = RetryPolicy(maximum_attempts=1)
QUICK = Recording(flush_interval=timedelta(milliseconds=20))


async def asks(id: str) -> dict[str, Any]:
    runs = state.runs
    old = {"workflow_type": f"T-{id}", "started": NOON, "at": NOON}
    a = await runs.start(f"{id}-a", **old, run_id=f"{id}1", metadata={"team": {"id": 7}})
    b = await runs.start(f"{id}-b", **old, run_id=f"{id}2", parent=a)
    c = await runs.start(f"{id}-c", **old, run_id=f"{id}3")
    for number in (1, 2, 3):
        await runs.checkpoint(a, step=number, state={"n": number}, at=NOON)
    await runs.step(a, number=1, name=f"load-{id}", started=NOON, ended=NOON + SOON)
    await runs.evaluate(a, 0.5, "so so")
    await runs.finish(a, ended=NOON + SOON)
    await runs.finish(b, "failed", error="no", ended=NOON + SOON)
    first = await runs.list(workflow_type=f"T-{id}", status=("completed", "failed"), limit=1)
    second = await runs.list(workflow_type=f"T-{id}", status=("completed", "failed"), limit=1,
                             cursor=first.cursor)  # fmt: skip
    noted = await runs.list(metadata={"team": {"id": 7}}, ended_since=NOON, parent=None, limit=None)
    ever = await runs.failed(within=None, workflow_type=f"T-{id}")
    stats = await runs.stats(until=NOON + DAY)
    sums = await runs.step_stats(name=f"load-{id}")
    said = await runs.evaluations(f"{id}-a")
    latest, change = await runs.load_checkpoint(f"{id}-a"), await runs.diff(f"{id}-a", 1, 3)
    found = {
        "pages": sorted([run.run_id for page in (first, second) for run in page]),
        "more": second.cursor,
        "noted": [run.run_id for run in noted if run.workflow_type == f"T-{id}"],
        "failed": [[run.run_id, run.error.message] for run in ever],
        "lately": len(await runs.failed(workflow_type=f"T-{id}")),
        "background": [run.run_id for run in await runs.background(f"{id}-a", status="failed")],
        "step": (await runs.get_step(f"{id}-a", 1)).name == f"load-{id}",
        "of_workflow": [run.run_id for run in await runs.of_workflow(f"{id}-b")],
        "stats": [stats.by_type[f"T-{id}"], stats.average_checkpoint_time > timedelta()],
        "steps": [[one.status, one.count, one.average == SOON] for one in sums],
        "said": [[one.score, one.feedback] for one in said],
        "latest": latest.state,
        "diff": [change.changed["/n"], change.steps],
        "trimmed": await runs.trim_checkpoints(f"{id}-a", keep=1),
        "stale": await runs.fail_stale(older_than=DAY),
        "old": await runs.cleanup(older_than={"completed": DAY}, dry_run=True),
        "folded": await runs.fold_feed(),
        "gone": await runs.cleanup(older_than={"completed": DAY}, actor=id),
    }
    deleted = await runs.delete(f"{id}-b", actor=id)
    lines = await runs.audit()
    return {
        **found,
        "deleted": [deleted.run_id, deleted.status, await runs.delete(f"{id}-b")],
        "audit": [line.target["run_id"] for line in lines if line.actor == id],
        "left": [[run.run_id, run.status] for run in await runs.list(workflow_type=f"T-{id}")],
        "c": c.run_id,
    }


def expected(id: str) -> dict[str, Any]:
    return {
        "pages": [f"{id}1", f"{id}2"],
        "more": None,
        "noted": [f"{id}1"],
        "failed": [[f"{id}2", "no"]],
        "lately": 0,
        "background": [f"{id}2"],
        "step": True,
        "of_workflow": [f"{id}2"],
        "stats": [3, True],
        "steps": [["completed", 1, True]],
        "said": [[0.5, "so so"]],
        "latest": {"n": 3},
        "diff": [[1, 3], 2],
        "trimmed": 2,
        "stale": 1,
        "old": 1,
        "folded": 0,
        "gone": 1,
        "deleted": [f"{id}2", "failed", None],
        "audit": [f"{id}1", f"{id}2"],
        "left": [[f"{id}3", "failed"]],
        "c": f"{id}3",
    }


@activity.defn
async def does(id: str) -> dict[str, Any]:
    return {**await asks(id), "diff": [[1, 3], 2]}


@workflow.defn
class Asks:
    @workflow.run
    async def run(self, id: str) -> list[Any]:
        own = [len(await state.runs.background()), await state.runs.load_checkpoint()]
        return [
            own,
            await asks(f"{id}-w"),
            await workflow.execute_activity(
                does, f"{id}-a", start_to_close_timeout=SOON, retry_policy=ONCE
            ),
        ]


async def test_all_questions_are_answered_alike_in_workflows_activities_and_scripts(
    on_dev, monkeypatch
):
    id = on_dev.task_queue
    async with on_dev.worker(Asks, activities=[does]):
        handle = await on_dev.start(Asks.run, id)
        own, workflow_side, activity_side = await handle.result()
    assert own == [0, None]
    assert workflow_side == expected(f"{id}-w")
    assert activity_side == expected(f"{id}-a")
    monkeypatch.setattr(_default, "_default", on_dev.backend)
    found = await asks(f"{id}-s")
    assert {**found, "diff": [[1, 3], 2]} == expected(f"{id}-s")
    with pytest.raises(ContextError, match="no client is known here"):
        await state.runs.reconcile()
    replayer = Replayer(workflows=[Asks], plugins=[StatePlugin("/nonexistent/never")])
    history = await handle.fetch_history()
    assert (await replayer.replay_workflow(history)).replay_failure is None


broken = set[str]()


@activity.defn
async def breaks(name: str) -> str:
    if name in broken:
        raise ApplicationError("broken", non_retryable=True)
    return name


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(breaks, name, start_to_close_timeout=SOON)


class LosesReplies(Interceptor):
    """The first attempt of each activity that resumes does its work and fails to say so."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                result = await super().execute_activity(input)
                resumes = activity.info().activity_type.endswith((".resume", ".recover"))
                if resumes and activity.info().attempt == 1:
                    raise ApplicationError("the reply is lost", type="Lost")
                return result

        return Inbound(next)


@workflow.defn
class Operates:
    """Looks after other workflows, as an operator would."""

    @workflow.run
    async def run(self, id: str, run_id: str) -> list[Any]:
        settled = await state.runs.reconcile(id)
        fresh = await state.runs.freshness(id)
        refused = []
        for call in (
            lambda: state.runs.freshness(f"{id}-none"),
            lambda: state.runs.resume(f"{id}-none"),
            lambda: state.runs.recover(timeout="soon"),
            lambda: state.runs.list(since="yesterday"),
            lambda: state.runs.list(limit="many"),
            lambda: state.runs.cleanup(older_than=None),
            lambda: state.runs.delete(workflow.info().workflow_id),
        ):
            try:
                await call()
                refused.append("nothing")
            except (ConflictError, InvalidValueError, NotRecordedError, TooLargeError) as error:
                refused.append(type(error).__name__)
        new = await state.runs.resume(id, run_id)
        handle = workflow.get_external_workflow_handle(new["workflow_id"], run_id=new["run_id"])
        rest = await state.runs.recover(since=NOON, timeout=SOON, workflow_type="Fails")
        return [settled.errors, fresh.settled, refused, handle.run_id, rest["complete"]]


async def test_a_workflow_reconciles_and_resumes_others_once_each(on_dev):
    on_dev.options["plugins"] = [StatePlugin(on_dev.backend, recording=QUICK)]
    name = on_dev.task_queue
    broken.add(name)
    async with on_dev.worker(Fails, Operates, activities=[breaks], interceptors=[LosesReplies()]):
        failed = await on_dev.start(Fails.run, name)
        with pytest.raises(WorkflowFailureError):
            await failed.result()
        broken.clear()
        settled, fresh, refused, new, complete = await on_dev.run(
            Operates.run, failed.id, failed.result_run_id
        )
        assert (settled, fresh, complete) == ([], True, True)
        wrong = "InvalidValueError"
        assert refused == [*["NotRecordedError"] * 2, *[wrong] * 4, "ConflictError"]
        handle = on_dev.client.get_workflow_handle(failed.id)
        assert await handle.result() == name
        assert (await handle.describe()).run_id == new


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (ListRuns(limit="many"), "limit='many'; give a whole number or nothing"),
        (ListRuns(offset=True), "offset=True; give a whole number"),
        (ListRuns(metadata=["env"]), r"metadata=\['env'\]; give an object or nothing"),
        (ListRuns(status=["failed", 5]), "give a text or a list, each a text or nothing"),
        (ListRuns(workflow_type=7), "workflow_type=7; give a text"),
        (FailedRuns(within_seconds="1 d"), "within_seconds='1 d'; give a number"),
        (GetStats(since=5), "since=5; give a text"),
        (ListAudit(limit=None), "limit=None; give a whole number"),
    ],
    ids=lambda value: None if isinstance(value, str) else value.operation,
)
async def test_a_question_with_a_value_of_another_type_is_refused_by_its_name(asked, named):
    async with StateBackend.open("memory://") as backend:
        with pytest.raises(InvalidValueError, match=named):
            await asked.perform(Scope(backend, Caller(NOON), None))


async def test_a_fault_of_ours_is_not_taken_for_one_of_the_question(monkeypatch):
    async def faulty(_: Any, **__: Any) -> None:
        raise TypeError("a fault")

    async with StateBackend.open("memory://") as backend:
        monkeypatch.setattr(type(backend.runs), "list", faulty)
        with pytest.raises(TypeError, match="a fault"):
            await ListRuns().perform(Scope(backend, Caller(NOON), None))
