"""Increment, append, patch and expected versions from workflows, activities and scripts."""

import asyncio
import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, Interceptor, Replayer

import temporal_state
from temporal_state import (
    ContextError,
    InvalidValueError,
    Limits,
    StateBackend,
    StatePlugin,
    StateStore,
    StateType,
    VersionConflictError,
    configure,
    state,
)
from temporal_state.documents import Caller, Token
from temporal_state.documents._tokens import WINDOW

SOON = timedelta(seconds=30)
W = StateType.WORKFLOWS


class Order(BaseModel):
    status: str = "new"
    total: int = 0


@workflow.defn
class EachOperation:
    @workflow.run
    async def run(self, id: str) -> dict:
        nothing = await state.read()
        own = [
            await state.increment("n"),
            await state.increment("n", 41),
            await state.append("log", "a", "b"),
            await state.append("log", items=["c"], limit=2),
            await state.patch({"limits": {"cpu": 1, "ram": None}}),
        ]
        await state.set("k", 1, if_version=5)
        await state.save(Order(total=1), if_version=6)
        await state.replace({"whole": True}, if_version=7)
        document = await state.read()
        shared = [
            await StateStore.increment_state("n", id, W, by=0.5),
            await StateStore.append_state("log", [1, 2, 3], id, W, limit=2),
            await StateStore.patch_state(id, {"n": None}, W),
        ]
        return {
            "nothing": nothing,
            "own": own,
            "read": [document.value, document.version, document.updated is not None],
            "shared": shared,
            "version": (await StateStore.read_state(id, W)).version,
        }


async def test_every_operation_works_in_workflow_code_and_is_what_it_is_for_ever(runner):
    id = uuid.uuid4().hex
    async with runner.worker(EachOperation):
        handle = await runner.start(EachOperation.run, id)
        assert await handle.result() == {
            "nothing": None,
            "own": [1, 42, 2, 2, {"n": 42, "log": ["b", "c"], "limits": {"cpu": 1}}],
            "read": [{"whole": True}, 8, True],
            "shared": [0.5, 2, {"log": [2, 3]}],
            "version": 3,
        }
    history = await handle.fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    # Local or regular is a part of every history that users have: it cannot change any more.
    count, add = "temporal_state.documents.increment", "temporal_state.documents.append"
    assert scheduled == [count, count, add, add, count, add]
    markers = [e for e in history.events if e.HasField("marker_recorded_event_attributes")]
    assert len(markers) == 8
    replayer = Replayer(workflows=[EachOperation], plugins=[StatePlugin("/nonexistent/never")])
    assert (await replayer.replay_workflow(history)).replay_failure is None


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


@activity.defn
async def counts(id: str) -> list:
    first = await StateStore.increment_state("activity", id, W)
    second = await StateStore.increment_state("activity", id, W)
    length = await StateStore.append_state("other log", ["x"], id, W)
    await state.patch({"patched": {"by": "activity"}})
    return [first, second, length, await state.increment("n")]


@workflow.defn
class Counts:
    @workflow.run
    async def run(self, id: str) -> list:
        *sums, length, own, by_activity = await asyncio.gather(
            *(StateStore.increment_state("n", id, W) for _ in range(5)),
            StateStore.append_state("log", ["x"], id, W),
            state.increment("m"),
            workflow.execute_activity(counts, id, start_to_close_timeout=SOON),
        )
        return [sorted(sums), length, own, by_activity]


async def test_each_is_applied_once_though_every_first_reply_is_lost(runner):
    id = uuid.uuid4().hex
    async with runner.worker(Counts, activities=[counts], interceptors=[LosesReplies()]):
        result = await runner.run(Counts.run, id)
    assert result == [[1, 2, 3, 4, 5], 1, 1, [1, 2, 1, 1]]
    document = await runner.backend.documents.read(id)
    assert document.value == {"n": 5, "activity": 2, "log": ["x"], "other log": ["x"]}
    assert document.version == 9


_amounts = itertools.count(1)
_failures: dict[str, int] = {}


@workflow.defn(sandboxed=False)
class TaskFails:
    """Computes other amounts whenever it is repeated, and fails three workflow tasks."""

    @workflow.run
    async def run(self, id: str) -> list:
        first = await StateStore.increment_state("n", id, W, by=next(_amounts))
        self.fail(id, 1)
        task = asyncio.create_task(StateStore.increment_state("n", id, W, by=next(_amounts)))
        await asyncio.sleep(0)
        self.fail(id, 2)  # with a command that the server has not taken yet
        second = await task
        length = await StateStore.append_state("log", [next(_amounts)], id, W)
        self.fail(id, 3)
        return [first, second, length]

    def fail(self, id: str, number: int) -> None:
        if _failures.setdefault(id, 0) < number:
            _failures[id] = number
            raise RuntimeError("a bug that fails the workflow task")


async def test_failed_workflow_tasks_that_compute_other_amounts_count_once(on_dev):
    id = uuid.uuid4().hex
    async with on_dev.worker(TaskFails):
        handle = await on_dev.start(TaskFails.run, id, task_timeout=timedelta(seconds=10))
        first, second, length = await asyncio.wait_for(handle.result(), 20)
    assert _failures[id] == 3
    document = await on_dev.backend.documents.read(id)
    assert (document.value["n"], document.version) == (second, 3)
    assert len(document.value["log"]) == length == 1
    assert first < second


@workflow.defn
class Long:
    """Counts to three before each of some signals."""

    def __init__(self) -> None:
        self.signals = 0
        self.done = 0

    @workflow.run
    async def run(self, id: str, signals: int) -> int:
        for number in range(signals + 1):
            await workflow.wait_condition(lambda number=number: self.signals >= number)
            for _ in range(3):
                total = await StateStore.increment_state("n", id, W)
            self.done = await StateStore.append_state("log", [number], id, W)
        return total

    @workflow.signal
    def go_on(self) -> None:
        self.signals += 1

    @workflow.query
    def rounds(self) -> int:
        return self.done


async def appended(backend, id):
    return len((await backend.documents.get(id)).get("log", []))


@pytest.mark.parametrize(
    "stop",
    [
        "between two activities",
        # The server learns of the lost answer by the timeout of the attempt.
        pytest.param("in an activity that has made its change", marks=pytest.mark.slow),
    ],
)
async def test_restarted_workers_count_on_exactly(on_dev, stop):
    id, soon = uuid.uuid4().hex, timedelta(milliseconds=100)
    handle = await on_dev.start(Long.run, id, 2)
    for number, cached in enumerate((100, 0, 100)):  # 0 replays before each step
        options = {"sticky_queue_schedule_to_start_timeout": soon} if cached else {}
        async with on_dev.worker(Long, max_cached_workflows=cached, **options):
            while await appended(on_dev.backend, id) == number:
                await asyncio.sleep(0.005)
            while stop.startswith("between") and await handle.query(Long.rounds) == number:
                await asyncio.sleep(0.005)
        if number < 2:
            await handle.signal(Long.go_on)
    async with on_dev.worker(Long):
        assert await handle.result() == 9
    document = await on_dev.backend.documents.read(id)
    assert document.value == {"n": 9, "log": [0, 1, 2]}
    assert document.version == 12


async def reset(on_dev, handle, event_id: int):
    """Reset a run to a workflow task of its own, and return the run that goes on from there."""
    run = WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id)
    response = await on_dev.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=run,
            reason="test",
            workflow_task_finish_event_id=event_id,
            request_id=uuid.uuid4().hex,
        )
    )
    return on_dev.client.get_workflow_handle(handle.id, run_id=response.run_id)


async def test_a_reset_run_counts_nothing_again(on_dev):
    id = uuid.uuid4().hex
    async with on_dev.worker(Long):
        handle = await on_dev.start(Long.run, id, 0)
        assert await handle.result() == 3
        assert await (await reset(on_dev, handle, 4)).result() == 3
    assert await on_dev.backend.documents.get(id) == {"n": 3, "log": [0]}


@workflow.defn
class CountsTwice:
    @workflow.run
    async def run(self, id: str) -> None:
        for _ in range(2):
            await StateStore.increment_state("n", id, W)
            await workflow.sleep(timedelta(milliseconds=5))


async def test_what_a_reset_run_may_have_counted_long_ago_is_refused_and_not_counted_again(
    on_dev, tmp_path
):
    limits = Limits(retry_horizon=timedelta(milliseconds=1))
    async with StateBackend.open(tmp_path / "forgetful", limits=limits) as backend:
        on_dev.backend, id = backend, uuid.uuid4().hex
        async with on_dev.worker(CountsTwice):
            handle = await on_dev.start(CountsTwice.run, id)
            await handle.result()
            events = [event async for event in handle.fetch_history_events()]
            tasks = [e for e in events if e.HasField("workflow_task_completed_event_attributes")]
            for part in ("a", "b"):  # others make it forget what the run has done
                tokens = [Token(f"{part}{n}", datetime.now(UTC)) for n in range(WINDOW)]
                others = [backend.documents.on_behalf_of(Caller(token=token)) for token in tokens]
                await asyncio.gather(*(other.merge(id, {"other": 1}, W) for other in others))
            again = await reset(on_dev, handle, tasks[1].event_id)
            with pytest.raises(WorkflowFailureError) as error:
                await again.result()
            assert error.value.cause.type == "TokenExpiredError"
        assert (await backend.documents.get(id))["n"] == 2


async def conflicts(id: str) -> list:
    """Try each change of a document of version 1 at version 9, and say what came of it."""
    store, found = StateStore, []
    calls = [
        lambda **o: store.save_state("k", 2, id, W, **o),
        lambda **o: store.save_state_object(id, {"k": 2}, W, **o),
        lambda **o: store.replace_state(id, {"k": 2}, W, **o),
        lambda **o: store.patch_state(id, {"k": 2}, W, **o),
        lambda **o: store.increment_state("k", id, W, **o),
        lambda **o: store.append_state("log", [2], id, W, **o),
        lambda **o: store.save_model(id, Order(), W, **o),
        lambda **o: store.delete_state(id, W, **o),
    ]
    for call in calls:
        try:
            await call(if_version=9)
        except VersionConflictError as error:
            found.append([error.expected, error.actual])
    document = await store.read_state(id, W)
    return [found, document.version, await calls[0](if_version=document.version)]


CONFLICTS = [[[9, 1]] * 8, 1, None]


@activity.defn
async def finds_conflicts(id: str) -> list:
    return await conflicts(id)


@workflow.defn
class FindsConflicts:
    @workflow.run
    async def run(self, id: str, where: str) -> list:
        if where == "activity":
            return await workflow.execute_activity(finds_conflicts, id, start_to_close_timeout=SOON)
        return await conflicts(id)


@pytest.mark.parametrize("where", ["workflow", "activity"])
async def test_a_conflict_carries_both_versions(on_dev, where):
    id = uuid.uuid4().hex
    await on_dev.backend.documents.merge(id, {"k": 1})
    async with on_dev.worker(FindsConflicts, activities=[finds_conflicts]):
        assert await on_dev.run(FindsConflicts.run, id, where) == CONFLICTS
    assert await on_dev.backend.documents.get(id) == {"k": 2}


async def test_a_conflict_carries_both_versions_in_a_script_too():
    async with configure("memory://"):
        await StateStore.save_state("k", 1, "a", W)
        assert await conflicts("a") == CONFLICTS
        assert await StateStore.increment_state("k", "a", W) == 3
        with pytest.raises(ContextError):
            await state.increment("k")
    temporal_state._default._default = None


@activity.defn
async def changes_once(id: str) -> None:
    await StateStore.save_state_object(id, {"k": 2}, W, if_version=1)
    await state.update(k=1, if_version=0)
    if activity.info().attempt < 3:
        raise ApplicationError("after the change", next_retry_delay=timedelta(milliseconds=10))


@workflow.defn
class ChangesOnce:
    @workflow.run
    async def run(self, id: str) -> None:
        await workflow.execute_activity(changes_once, id, start_to_close_timeout=SOON)
        await StateStore.save_state_object(id, {"k": 3}, W, if_version=2)


async def test_a_retried_change_of_an_expected_version_is_no_conflict_with_itself(on_skipping):
    id = uuid.uuid4().hex
    await on_skipping.backend.documents.merge(id, {"k": 1})
    async with on_skipping.worker(
        ChangesOnce, activities=[changes_once], interceptors=[LosesReplies()]
    ):
        await on_skipping.run(ChangesOnce.run, id)
    document = await on_skipping.backend.documents.read(id)
    assert (document.value, document.version) == ({"k": 3}, 3)


@activity.defn
async def conflicting(id: str) -> None:
    await StateStore.save_state("k", 1, id, W, if_version=7)


@workflow.defn(sandboxed=False)
class Uncaught:
    @workflow.run
    async def run(self, id: str, what: str) -> None:
        match what:
            case "workflow":
                await conflicting(id)
            case "activity":
                await workflow.execute_activity(conflicting, id, start_to_close_timeout=SOON)
            case "text":
                await StateStore.save_state("n", "text", id, W)
                await StateStore.increment_state("n", id, W)
            case "nan":
                await StateStore.increment_state("n", id, W, by=float("nan"))
            case "batch":
                async with StateBackend.open("memory://").documents.batch():
                    pass


@pytest.mark.parametrize("where", ["workflow", "activity"])
async def test_an_uncaught_conflict_is_not_retried_and_keeps_both_versions(on_dev, where):
    async with on_dev.worker(Uncaught, activities=[conflicting]):
        with pytest.raises(WorkflowFailureError) as failure:
            await on_dev.run(Uncaught.run, uuid.uuid4().hex, where)
    cause = failure.value.cause
    cause = cause if isinstance(cause, ApplicationError) else cause.cause
    assert (cause.type, cause.details) == ("VersionConflictError", (7, 0))
    assert cause.non_retryable


@pytest.mark.parametrize(
    ("what", "type"),
    [
        ("text", InvalidValueError),
        ("nan", InvalidValueError),
        ("batch", ContextError),
    ],
)
async def test_what_cannot_be_done_fails_the_workflow_at_once(on_dev, what, type):
    policy = RetryPolicy(maximum_attempts=1)
    async with on_dev.worker(Uncaught, activities=[conflicting]):
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(
                on_dev.run(Uncaught.run, uuid.uuid4().hex, what, retry_policy=policy), 20
            )
    assert failure.value.cause.type == type.__name__


@activity.defn
def threaded() -> list:
    results = [
        state.sync.read(),
        state.sync.increment("n", 2),
        state.sync.append("log", 1, items=[2]),
        state.sync.patch({"n": None}),
        state.sync.save(Order(total=1), if_version=3).total,
    ]
    try:
        state.sync.update(x=1, if_version=1)
    except VersionConflictError as error:
        results.append([error.expected, error.actual])
    state.sync.set("x", 1, if_version=4)
    state.sync.replace({}, if_version=5)
    results.append(state.sync.read().version)
    if activity.info().attempt == 1:
        raise ApplicationError("again", next_retry_delay=timedelta(milliseconds=10))
    return results[1:4] + results[-1:]


@workflow.defn
class Threaded:
    @workflow.run
    async def run(self) -> list:
        return await workflow.execute_activity(threaded, start_to_close_timeout=SOON)


async def test_threaded_activities_have_them_too(on_dev):
    with ThreadPoolExecutor(2) as pool:
        async with on_dev.worker(Threaded, activities=[threaded], activity_executor=pool):
            result = await on_dev.run(Threaded.run)
    # A repeated change answers with the document as it is by now, and applies nothing.
    assert result == [2, 2, {}, 6]
