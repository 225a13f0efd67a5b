"""Resume against forged headers, other tenants, stores that fail, resets, and a second resume."""

import asyncio
import dataclasses
import json
import shutil
import uuid
from collections import Counter
from datetime import timedelta

import nexusrpc
import nexusrpc.handler
import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_state import (
    ConflictError,
    NotRecordedError,
    Recording,
    StateBackend,
    StatePlugin,
    StoreError,
    plan_resume,
    resume,
    state,
)
from temporal_state.storage import MemoryStore
from temporal_state.temporal._resume import start
from temporal_state.testing import FailingStore

SOON = timedelta(seconds=30)
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
        raise ApplicationError(f"{name} is broken", non_retryable=True)
    return f"{name} {uuid.uuid4()}"


@activity.defn
@state.never_reuse
async def always() -> None:
    ran["always"] += 1


async def do(name):
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=50))
    return await workflow.execute_activity(
        work, name, start_to_close_timeout=SOON, retry_policy=policy
    )


@workflow.defn
class Three:
    def __init__(self) -> None:
        self.heard = 0

    @workflow.run
    async def run(self) -> list[str]:
        return [await do("1"), await do("2"), await do("3")]

    @workflow.signal
    async def hear(self) -> None:
        self.heard += 1
        await do("heard")

    @workflow.update
    async def ask(self) -> str:
        return await do("asked")


async def failed(runner, definition=Three, culprit="3", **options):
    broken.add(culprit)
    handle = await runner.start(definition.run, **options)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    broken.clear()
    return handle


async def fails_with(handle, kind):
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    error = raised.value.cause.cause  # the activity's, in the workflow's
    assert (error.type, error.non_retryable) == (kind, True)


async def test_another_tenant_or_app_neither_resumes_a_run_nor_takes_over_from_it(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
    root = quick.backend.store.root
    before = Counter(ran)
    for other in ({"app": "tests", "tenant": "other"}, {"app": "other"}):
        async with StateBackend.open(root, **other) as backend:
            with pytest.raises(NotRecordedError):
                await resume(quick.client, backend, handle.id)
            # Whoever names the run nevertheless gets nothing of it.
            async with quick.worker(Three, activities=[work], plugins=[StatePlugin(backend)]):
                run_id = handle.result_run_id
                new = await resume(quick.client, quick.backend, handle.id, run_id)
                await fails_with(new, "NotRecordedError")
        assert ran == before


class Forges(Interceptor):
    def __init__(self, data):
        self.header = Payload(metadata={"encoding": b"json/plain"}, data=data)

    def intercept_client(self, next):
        header = self.header

        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input):
                input.headers = {**input.headers, "temporal-state": header}
                return await super().start_workflow(input)

        return Outbound(next)


SOURCE = {"namespace": "default", "workflow_id": "x", "run_id": "y", "before": None, "way": []}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "InvalidValueError"),
        (b"\xff\x00", "InvalidValueError"),
        (b"[]", "InvalidValueError"),
        (b'{"source": 7}', "InvalidValueError"),
        (json.dumps({"source": {**SOURCE, "way": 7}}).encode(), "InvalidValueError"),
        (json.dumps({"source": {**SOURCE, "way": ["continued:x"]}}).encode(), "InvalidValueError"),
        (json.dumps({"source": {**SOURCE, "before": "z"}}).encode(), "InvalidValueError"),
        (json.dumps({"source": {**SOURCE, "run_id": None}}).encode(), "InvalidValueError"),
        (json.dumps({"source": {**SOURCE, "more": 1}}).encode(), "InvalidValueError"),
        (json.dumps({"home": {"chain": 7}}).encode(), "InvalidValueError"),
        (
            json.dumps({"source": {**SOURCE, "way": ["continued:9" * 9]}}).encode(),
            "InvalidValueError",
        ),
        (
            json.dumps({"source": {**SOURCE, "way": [f"continued:{9**99}"]}}).encode(),
            "NotRecordedError",
        ),
        (json.dumps({"source": {**SOURCE, "workflow_id": "../.."}}).encode(), "NotRecordedError"),
        (json.dumps({"source": SOURCE}).encode(), "NotRecordedError"),
    ],
)
async def test_a_header_that_is_damaged_or_forged_fails_the_run_and_executes_nothing(
    quick, data, kind
):
    config = quick.client.config()
    config["interceptors"] = [Forges(data)]
    forger = dataclasses.replace(quick, client=Client(**config))
    async with quick.worker(Three, activities=[work]):
        await fails_with(await forger.start(Three.run), kind)
    assert not ran


async def test_a_source_that_is_deleted_meanwhile_fails_the_run_and_executes_nothing(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
    before = Counter(ran)
    new = await resume(quick.client, quick.backend, handle.id)
    for folder in list(quick.backend.store.root.rglob(f"*-{handle.result_run_id}")):
        shutil.rmtree(folder)
    async with quick.worker(Three, activities=[work]):
        await fails_with(new, "NotRecordedError")
    assert ran == before


async def test_a_store_that_fails_meanwhile_delays_the_run_and_repeats_nothing(quick):
    store = FailingStore(MemoryStore())
    recording = Recording(flush_interval=timedelta(milliseconds=50))
    async with StateBackend.open(store, app="tests") as backend:
        plugin = StatePlugin(backend, recording=recording)
        async with quick.worker(Three, activities=[work], plugins=[plugin]):
            handle = await failed(quick)
            while (await backend.runs.get(handle.id)).ended is None:
                await asyncio.sleep(0.02)
        new = await resume(quick.client, backend, handle.id)
        store.error = StoreError("the store is gone")
        plugin = StatePlugin(backend, recording=recording)
        async with quick.worker(Three, activities=[work], plugins=[plugin]):
            while True:
                (pending,) = (await new.describe()).raw_description.pending_activities or [None]
                if pending is not None and pending.attempt > 2:
                    break
                await asyncio.sleep(0.02)
            assert ran == {"1": 1, "2": 1, "3": 1}
            store.error = None
            assert len(await new.result()) == 3
    assert ran == {"1": 1, "2": 1, "3": 2}


async def test_of_two_who_resume_a_run_one_does(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
        both = await asyncio.gather(
            *(resume(quick.client, quick.backend, handle.id) for _ in range(2)),
            return_exceptions=True,
        )
        assert [type(one) for one in both].count(ConflictError) == 1
        (new,) = [one for one in both if not isinstance(one, ConflictError)]
        await new.result()
        with pytest.raises(ConflictError):  # also when the first one's run has ended meanwhile
            await resume(quick.client, quick.backend, handle.id, handle.result_run_id)
    assert ran == {"1": 1, "2": 1, "3": 2}


async def test_who_planned_before_another_resumed_starts_nothing_although_that_one_failed(quick):
    """It would do again what the other one's run has done."""
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick, culprit="2")
        late = await plan_resume(quick.client, quick.backend, handle.id)
        broken.add("3")
        with pytest.raises(WorkflowFailureError):
            await (await resume(quick.client, quick.backend, handle.id)).result()
        broken.clear()
        with pytest.raises(ConflictError, match="meanwhile"):
            await start(quick.client, quick.backend, late)
        await (await resume(quick.client, quick.backend, handle.id)).result()
    assert ran == {"1": 1, "2": 2, "3": 2}


async def test_signals_and_updates_reach_a_resumed_run(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
    new = await resume(quick.client, quick.backend, handle.id)
    await new.signal(Three.hear)
    async with quick.worker(Three, activities=[work]):
        first, *_ = await asyncio.gather(new.result(), new.execute_update(Three.ask))
    assert len(first) == 3
    assert ran == {"1": 1, "2": 1, "3": 2, "heard": 1, "asked": 1}


async def test_in_the_sandbox_it_is_the_same(quick):
    quick.options["workflow_runner"] = SandboxedWorkflowRunner()
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
        assert len(await (await resume(quick.client, quick.backend, handle.id)).result()) == 3
    assert ran == {"1": 1, "2": 1, "3": 2}


async def reset(runner, handle, run_id, after):
    """Reset a run to the workflow task that follows its n-th completed activity."""
    described = runner.client.get_workflow_handle(handle.id, run_id=run_id)
    seen = 0
    async for event in described.fetch_history_events():
        seen += event.HasField("activity_task_completed_event_attributes")
        if seen == after and event.HasField("workflow_task_started_event_attributes"):
            break
    answer = await runner.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            workflow_task_finish_event_id=event.event_id + 1,
            request_id=str(uuid.uuid4()),
        )
    )
    return runner.client.get_workflow_handle(handle.id, run_id=answer.run_id)


async def test_a_reset_run_can_be_resumed_and_a_resumed_run_be_reset(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
        broken.add("3")
        again = await reset(quick, handle, handle.result_run_id, after=1)
        with pytest.raises(WorkflowFailureError):
            await again.result()
        broken.clear()
        assert ran == {"1": 1, "2": 2, "3": 2}  # a reset does again what came after its point
        new = await resume(quick.client, quick.backend, handle.id)
        first = await new.result()
        assert ran == {"1": 1, "2": 2, "3": 3}
        reset_run = await reset(quick, new, new.result_run_id, after=1)
        second = await reset_run.result()
    assert ran == {"1": 1, "2": 2, "3": 4}  # 2 is still taken over, from the run it resumed
    assert first[:2] == second[:2]


@workflow.defn
class Child:
    @workflow.run
    async def run(self, name: str) -> str:
        await state.update({name: True})
        return await do(f"child {name}")


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> list[str]:
        await do("1")
        one = await workflow.execute_child_workflow(Child.run, "a")
        two = await workflow.execute_child_workflow(Child.run, "b")
        return [one, two, await do("2")]


async def test_from_a_step_on_children_are_done_again_and_earlier_ones_are_not(quick):
    async with quick.worker(Parent, Child, activities=[work]):
        handle = await failed(quick, Parent, "2")
        plan = await plan_resume(quick.client, quick.backend, handle.id, from_step=3)
        assert [step.number for step in plan.taken_over + plan.children] == [1, 2]
        assert [step.number for step in plan.executed] == [3, 4]
        new = await resume(quick.client, quick.backend, handle.id, from_step=3)
        await new.result()
    assert ran == {"1": 1, "child a": 1, "child b": 2, "2": 2}


@workflow.defn
class Gated:
    def __init__(self) -> None:
        self.open = False

    @workflow.signal
    async def go(self) -> None:
        self.open = True

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.open)
        checkpoint = await state.last_checkpoint()
        done = [
            str(checkpoint is not None),
            await do("1"),
            await workflow.execute_child_workflow(Child.run, "c"),
        ]
        return [*done, await do("2"), await do("3")]


async def test_a_resumed_run_that_ended_before_it_came_to_what_was_done_loses_none_of_it(quick):
    recording = Recording(checkpoint_every=2, flush_interval=timedelta(milliseconds=50))
    plugins = [StatePlugin(quick.backend, recording=recording)]
    async with quick.worker(Gated, Child, activities=[work], plugins=plugins):
        broken.add("3")
        handle = await quick.start(Gated.run, start_signal="go")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken.clear()
        for _ in range(2):
            new = await resume(quick.client, quick.backend, handle.id)
            while not await quick.backend.runs.get(handle.id, run_id=new.first_execution_run_id):
                await asyncio.sleep(0.02)
            await new.terminate()  # it has not begun
        plan = await plan_resume(quick.client, quick.backend, handle.id)
        named = lambda steps: [step.number for step in steps]  # noqa: E731
        assert (named(plan.taken_over), named(plan.children), named(plan.executed)) == (
            [2, 4],
            [3],
            [1, 5],
        )
        new = await resume(quick.client, quick.backend, handle.id)
        await new.signal(Gated.go)
        assert (await new.result())[0] == "True"  # also that of the first run is found
        assert await quick.backend.runs.document(handle.id) == {}
    assert ran == {"1": 1, "child c": 1, "2": 1, "3": 2}


async def test_a_step_from_which_all_is_done_again_is_a_step_of_the_resumed_run_and_before(quick):
    async with quick.worker(Three, activities=[work]):
        handle = await failed(quick)
        broken.add("2")
        with pytest.raises(WorkflowFailureError):
            await (await resume(quick.client, quick.backend, handle.id, from_step=2)).result()
        broken.clear()
        await (await resume(quick.client, quick.backend, handle.id)).result()
    assert ran == {"1": 1, "2": 3, "3": 2}  # 2 is not that of the first run again


@workflow.defn
class Rolls:
    @workflow.run
    async def run(self, n: int) -> str:
        await do(f"{n} a")
        await do(f"{n} b")
        if n < 3:
            workflow.continue_as_new(n + 1)
        return f"{n} done"


async def test_a_run_in_the_midst_of_a_chain_is_resumed_and_goes_on_with_the_chain(quick):
    async with quick.worker(Rolls, activities=[work]):
        broken.add("2 b")
        handle = await quick.start(Rolls.run, 1)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        with pytest.raises(ConflictError, match="continued_as_new"):
            await resume(quick.client, quick.backend, handle.id, handle.first_execution_run_id)
        broken.symmetric_difference_update({"2 b", "3 b"})
        with pytest.raises(WorkflowFailureError):
            await (await resume(quick.client, quick.backend, handle.id)).result()
        broken.clear()
        assert await (await resume(quick.client, quick.backend, handle.id)).result() == "3 done"
    assert ran == {"1 a": 1, "1 b": 1, "2 a": 1, "2 b": 2, "3 a": 1, "3 b": 2}


@activity.defn(name="renamed")
async def renamed(name: str) -> str:
    ran[f"renamed {name}"] += 1
    return name


@workflow.defn(name="Edited")
class Old:
    @workflow.run
    async def run(self) -> None:
        for name in ("same", "changed", "moved", "broken"):
            await do(name)


@workflow.defn(name="Edited")
class New:
    @workflow.run
    async def run(self) -> None:
        await do("same")
        await do("changed to")
        await workflow.execute_activity(renamed, "moved", start_to_close_timeout=SOON)


async def test_a_call_whose_argument_or_activity_is_another_now_runs(quick):
    async with quick.worker(Old, activities=[work]):
        handle = await failed(quick, Old, "broken")
    async with quick.worker(New, activities=[work, renamed]):
        await (await resume(quick.client, quick.backend, handle.id)).result()
    of_old = {"same": 1, "changed": 1, "moved": 1, "broken": 1}
    assert ran == {**of_old, "changed to": 1, "renamed moved": 1}


@nexusrpc.service
class Pays:
    pay: nexusrpc.Operation[int, int]


@nexusrpc.handler.service_handler(service=Pays)
class PaysHandler:
    @nexusrpc.handler.sync_operation
    async def pay(self, ctx: nexusrpc.handler.StartOperationContext, cents: int) -> int:
        ran["nexus"] += 1
        return cents


@workflow.defn
class PaysByNexus:
    @workflow.run
    async def run(self, endpoint: str) -> int:
        client = workflow.create_nexus_client(service=Pays, endpoint=endpoint)
        paid = await client.execute_operation(Pays.pay, 7, schedule_to_close_timeout=SOON)
        await do("1")
        await do("2")
        return paid


async def test_a_nexus_operation_is_repeated_and_that_is_said_before(quick, dev, caplog):
    endpoint, queue = f"pays-{uuid.uuid4().hex}", uuid.uuid4().hex
    await dev.create_nexus_endpoint(endpoint, queue)
    async with (
        Worker(quick.client, task_queue=queue, nexus_service_handlers=[PaysHandler()]),
        quick.worker(PaysByNexus, activities=[work]),
    ):
        broken.add("2")
        handle = await quick.start(PaysByNexus.run, endpoint)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken.clear()
        plan = await plan_resume(quick.client, quick.backend, handle.id)
        assert [step.name for step in plan.repeated] == ["Pays.pay"]
        assert [step.number for step in plan.taken_over] == [2]
        assert await (await resume(quick.client, quick.backend, handle.id)).result() == 7
    assert "step 1 (Pays.pay)" in caplog.text
    assert ran == {"nexus": 2, "1": 1, "2": 2}


@workflow.defn
class Always:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(always, start_to_close_timeout=SOON)
        await do("1")


async def test_what_is_never_reused_is_listed_before(quick, caplog):
    async with quick.worker(Always, activities=[work, always]):
        handle = await failed(quick, Always, "1")
        plan = await plan_resume(quick.client, quick.backend, handle.id)
        assert [step.name for step in plan.repeated] == ["always"]
        await (await resume(quick.client, quick.backend, handle.id)).result()
    assert "step 1 (always)" in caplog.text
    assert ran["always"] == 2


async def test_a_run_of_a_schedule_can_be_resumed(quick):
    async with quick.worker(Three, activities=[work]):
        broken.add("3")
        name = f"scheduled-{uuid.uuid4().hex[:8]}"
        action = ScheduleActionStartWorkflow(Three.run, id=name, task_queue=quick.task_queue)
        schedule = await quick.client.create_schedule(name, Schedule(action, ScheduleSpec()))
        await schedule.trigger()
        while not (actions := (await schedule.describe()).info.recent_actions):
            await asyncio.sleep(0.05)
        workflow_id = actions[0].action.workflow_id
        with pytest.raises(WorkflowFailureError):
            await quick.client.get_workflow_handle(workflow_id).result()
        broken.clear()
        assert len(await (await resume(quick.client, quick.backend, workflow_id)).result()) == 3
        await schedule.delete()
    assert ran == {"1": 1, "2": 1, "3": 2}


async def test_a_standalone_activity_is_not_resumed(quick):
    async with quick.worker(activities=[work]):
        id = f"alone-{uuid.uuid4().hex[:8]}"
        await quick.client.execute_activity(
            work, "1", id=id, task_queue=quick.task_queue, start_to_close_timeout=SOON
        )
        while await quick.backend.runs.get(id) is None:
            await asyncio.sleep(0.02)
        with pytest.raises(ConflictError, match="only workflows"):
            await resume(quick.client, quick.backend, id)


@workflow.defn
class Retried:
    @workflow.run
    async def run(self) -> list[str]:
        seen = await state.update({f"attempt {workflow.info().attempt}": True})
        done = [await do("1"), await workflow.execute_child_workflow(Child.run, "c")]
        if workflow.info().attempt < 3:
            raise ApplicationError("not yet")
        return [*done, *sorted(seen)]


@pytest.mark.parametrize("reuse", [False, True])
async def test_a_workflow_retry_takes_over_if_it_is_asked_for(quick, reuse):
    recording = Recording(reuse_on_retry=reuse, flush_interval=timedelta(milliseconds=200))
    plugins = [StatePlugin(quick.backend, recording=recording)]
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)
    async with quick.worker(Retried, Child, activities=[work], plugins=plugins):
        result = await quick.run(Retried.run, retry_policy=policy)
    times = 1 if reuse else 3
    assert ran == {"1": times, "child c": times}
    assert result[2:] == ["attempt 1", "attempt 2", "attempt 3"]  # one chain, one document
