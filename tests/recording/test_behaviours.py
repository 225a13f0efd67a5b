"""Whatever workflows and activities do: it goes the same with the plugin, and the record is right.

Run as a script, this module is one more worker process, for the fan-out over several.
"""

import asyncio
import contextlib
import multiprocessing
import threading
import uuid
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import nexusrpc
import nexusrpc.handler
import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import ActivityFailureError, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    WorkflowAlreadyStartedError,
)
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    SharedStateManager,
    StartActivityInput,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityCancellationType, ParentClosePolicy

from temporal_state import Recording, StatePlugin, state
from temporal_state.temporal import _attempts

SOON = timedelta(seconds=30)
MOMENT = timedelta(milliseconds=20)
ONCE = RetryPolicy(maximum_attempts=1)
POLICY = RetryPolicy(initial_interval=MOMENT, backoff_coefficient=1, maximum_attempts=3)


@pytest.fixture
def runner(on_dev):
    """Without the sandbox, which another module tests: this one has many workers."""
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    return on_dev


async def nothing(handle):
    """Let it run."""


async def both(runner, definition, *args, drive=nothing, activities=(), others=(), **options):
    """Run a workflow with the plugin and without; return the handle of the recorded run."""

    async def one(part, plugins):
        async with part.worker(
            definition, *others, activities=activities, plugins=plugins, **options
        ):
            handle = await part.start(definition.run, *args)
            await drive(handle)
            try:
                return handle, await handle.result()
            except WorkflowFailureError as error:
                return handle, told(error.cause)

    recorded = type(runner)(runner.client, runner.backend, dict(runner.options))
    plain = type(runner)(runner.client, runner.backend, dict(runner.options))
    (handle, with_it), (other, without) = await asyncio.gather(
        one(recorded, [StatePlugin(runner.backend)]), one(plain, [])
    )
    assert with_it == without
    assert await runner.backend.runs.get(other.id) is None
    return handle, with_it


def told(error):
    parts = []
    while isinstance(error, FailureError):
        parts.append((type(error).__name__, getattr(error, "type", None), error.message))
        error = error.cause
    return parts


async def record_of(runner, handle):
    run = await runner.backend.runs.get(handle.id)
    assert (run.lost, run.open) == (0, [])
    steps = await runner.backend.runs.steps(handle.id)
    assert [s.number for s in steps] == list(range(1, run.steps + 1))
    return run, steps


def value_of(value):
    return None if value is None or value.data is None else value.data.decode()


def all_bytes(backend):
    """Return what lies in a store, whatever object it is in."""
    objects = (p for p in sorted(Path(backend.url).rglob("*.json")) if p.is_file())
    return b"".join(p.read_bytes() for p in objects)


def brief(steps):
    return [(s.kind, s.name, s.status, value_of(s.result)) for s in steps]


# --- activities ---


@activity.defn
async def double(n: int) -> int:
    return 2 * n


@activity.defn
async def flaky(good_attempt: int) -> int:
    attempt = activity.info().attempt
    if attempt < good_attempt:
        raise ApplicationError(f"attempt {attempt} failed", type="NotYet")
    return attempt


@workflow.defn
class Flaky:
    @workflow.run
    async def run(self, good_attempt: int, local: bool) -> int:
        options = {"start_to_close_timeout": SOON, "retry_policy": POLICY}
        call = workflow.execute_local_activity if local else workflow.execute_activity
        return await call(flaky, good_attempt, **options)


@pytest.mark.parametrize("local", [False, True], ids=["remote", "local"])
async def test_a_retried_activity_is_one_step_with_its_last_attempt(runner, local):
    handle, result = await both(runner, Flaky, 3, local, activities=[flaky])
    assert result == 3
    run, (step,) = await record_of(runner, handle)
    assert (run.status, run.counts) == ("completed", {"completed": 1})
    assert (step.status, step.attempt, value_of(step.result)) == ("completed", 3, "3")
    assert (step.error, step.kind) == (None, "local_activity" if local else "activity")
    assert step.scheduled <= step.started <= step.ended


@pytest.mark.parametrize("local", [False, True], ids=["remote", "local"])
async def test_a_failed_activity_is_a_failed_step_with_its_last_error(runner, local):
    handle, _ = await both(runner, Flaky, 9, local, activities=[flaky])
    run, (step,) = await record_of(runner, handle)
    assert (run.status, run.error.type, run.counts) == ("failed", "NotYet", {"failed": 1})
    assert run.error.message == "attempt 3 failed"
    assert (step.status, step.attempt, step.result) == ("failed", 3, None)
    assert (step.error.type, step.error.message) == ("NotYet", "attempt 3 failed")


@workflow.defn
class BacksOff:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_local_activity(
            flaky,
            2,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200)),
            local_retry_threshold=MOMENT,
        )


async def test_a_local_activity_that_waits_for_its_retry_by_a_timer_stays_one_step(runner):
    handle, result = await both(runner, BacksOff, activities=[flaky])
    assert result == 2
    _, steps = await record_of(runner, handle)
    # The timer is in the history too.
    assert sorted(brief(steps)) == [
        ("local_activity", "flaky", "completed", "2"),
        ("timer", "timer", "completed", None),
    ]
    assert steps[0].attempt == 2


@workflow.defn
class GivesUpInAPause:
    @workflow.run
    async def run(self) -> str:
        call = workflow.start_local_activity(
            flaky,
            100,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=30)),
            local_retry_threshold=MOMENT,
        )
        await workflow.sleep(timedelta(seconds=1))  # the call pauses by now
        call.cancel()
        try:
            await call
        except (asyncio.CancelledError, ActivityError):
            return "given up"
        return "not given up"


async def test_a_local_activity_cancelled_in_its_pause_is_a_cancelled_step(runner):
    handle, result = await both(runner, GivesUpInAPause, activities=[flaky])
    assert result == "given up"
    run, steps = await record_of(runner, handle)
    assert sorted((s.kind, s.status) for s in steps) == [
        ("local_activity", "cancelled"),
        ("timer", "cancelled"),  # the pause
        ("timer", "completed"),
    ]
    assert run.counts == {"cancelled": 2, "completed": 1}


TOKENS: dict[str, bytes] = {}


@activity.defn
async def completes_elsewhere() -> str:
    TOKENS[activity.info().workflow_id] = activity.info().task_token
    activity.raise_complete_async()


@workflow.defn
class CompletesElsewhere:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(completes_elsewhere, start_to_close_timeout=SOON)


async def test_an_activity_completed_from_elsewhere_is_a_completed_step(runner):
    async def complete(handle):
        while handle.id not in TOKENS:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        asynchronous = runner.client.get_async_activity_handle(task_token=TOKENS[handle.id])
        await asynchronous.complete("from elsewhere")

    handle, result = await both(
        runner, CompletesElsewhere, drive=complete, activities=[completes_elsewhere]
    )
    assert result == "from elsewhere"
    _, (step,) = await record_of(runner, handle)
    assert (step.status, step.attempt, step.error) == ("completed", 1, None)
    assert value_of(step.result) == '"from elsewhere"'


@activity.defn
def doubles_in_a_thread(n: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    activity.heartbeat("in a thread")
    return 2 * n


@activity.defn
def doubles_in_a_process(n: int) -> int:
    assert multiprocessing.current_process().name != "MainProcess"
    activity.heartbeat("in a process")
    return 2 * n


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, name: str, n: int) -> int:
        calls = (
            workflow.execute_activity(
                name, i, start_to_close_timeout=SOON, heartbeat_timeout=SOON, result_type=int
            )
            for i in range(n)
        )
        return sum(await asyncio.gather(*calls))


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_sync_activities_are_recorded(runner, where):
    options = {}
    if where == "thread":
        function, executor = doubles_in_a_thread, ThreadPoolExecutor(4)
    else:
        context = multiprocessing.get_context("spawn")
        function, executor = doubles_in_a_process, ProcessPoolExecutor(1, mp_context=context)
        manager = SharedStateManager.create_from_multiprocessing(context.Manager())
        options = {"shared_state_manager": manager}
    name = function.__name__
    with executor:
        handle, result = await both(
            runner, Doubles, name, 4, activities=[function], activity_executor=executor, **options
        )
    assert result == 12
    _, steps = await record_of(runner, handle)
    assert brief(steps) == [("activity", name, "completed", str(2 * i)) for i in range(4)]
    assert {s.attempt for s in steps} == {1}
    beats = {value_of(s.heartbeat) for s in steps}
    assert beats - {None} <= {f'"in a {where}"'}
    assert where == "process" or beats == {'"in a thread"'}


@workflow.defn
class Reports:
    @workflow.run
    async def run(self) -> str:
        state.progress(0, 2, "reading")
        result = await workflow.execute_activity(
            "reports", 7, start_to_close_timeout=SOON, heartbeat_timeout=SOON
        )
        state.progress(2, 2, "done")
        return result


async def test_progress_and_heartbeats_appear_in_run_and_step(runner, monkeypatch):
    monkeypatch.setattr(_attempts, "HEARTBEAT_INTERVAL", 0.0)
    seen, looked = [], asyncio.Event()

    @activity.defn
    async def reports(n: int) -> str:
        state.progress(1, n, "begun")
        activity.heartbeat({"row": 1})
        await looked.wait()
        activity.heartbeat({"row": n}, "more")
        state.progress(n, n, "read")
        return "read"

    recording = Recording(flush_interval=MOMENT)
    plugin = StatePlugin(runner.backend, recording=recording)
    async with runner.worker(Reports, activities=[reports], plugins=[plugin]):
        handle = await runner.start(Reports.run)
        while not seen or seen[-1].progress is None:
            seen += (await runner.backend.runs.steps(handle.id))[:1]
            await asyncio.sleep(0.01)
        early = await runner.backend.runs.get(handle.id)
        looked.set()
        await handle.result()
    assert (early.status, early.progress.message, early.open) == ("running", "reading", ["reports"])
    assert (seen[-1].status, seen[-1].progress.done) == ("started", 1)
    run, (step,) = await record_of(runner, handle)
    assert (run.progress.done, run.progress.total, run.progress.message) == (2, 2, "done")
    assert (step.progress.done, step.progress.total, step.progress.message) == (7, 7, "read")
    assert value_of(step.heartbeat) == '{"row":7}'


@activity.defn
async def never_ends(beats: bool) -> None:
    while True:
        if beats:
            activity.heartbeat()
        await asyncio.sleep(0.02)


@activity.defn
async def takes_a_moment() -> None:
    await asyncio.sleep(0.1)


@workflow.defn
class GivesUp:
    @workflow.run
    async def run(self, how: str) -> str:
        options: dict[str, Any] = {"start_to_close_timeout": SOON, "retry_policy": ONCE}
        if how == "timed_out":
            options["start_to_close_timeout"] = timedelta(milliseconds=200)
        if how in ActivityCancellationType.__members__:
            options["cancellation_type"] = ActivityCancellationType[how]
            options["heartbeat_timeout"] = timedelta(seconds=5)
        start = workflow.start_local_activity if how == "local" else workflow.start_activity
        handle = start(never_ends, True, **options)
        if how != "timed_out":
            if how == "local":  # a timer would not fire before it has ended
                await workflow.execute_local_activity(takes_a_moment, start_to_close_timeout=SOON)
            elif how != "at once":
                await workflow.sleep(0.1)
            handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        except asyncio.CancelledError:
            return "CancelledError"
        return "never"


@pytest.mark.parametrize(
    "how",
    ["timed_out", "at once", "local", "TRY_CANCEL", "WAIT_CANCELLATION_COMPLETED", "ABANDON"],
)
async def test_an_activity_that_is_given_up_says_so(runner, how):
    # Cancellation reaches an activity with one of its heartbeats, which the SDK holds back.
    options = {"default_heartbeat_throttle_interval": MOMENT} | {
        "max_heartbeat_throttle_interval": MOMENT,
        "graceful_shutdown_timeout": timedelta(0),
    }
    activities = [never_ends, takes_a_moment]
    handle, result = await both(runner, GivesUp, how, activities=activities, **options)
    status = "timed_out" if how == "timed_out" else "cancelled"
    assert result == ("TimeoutError" if how == "timed_out" else "CancelledError")
    run, steps = await record_of(runner, handle)
    (step,) = [s for s in steps if s.name == "never_ends"]
    assert step.kind == ("local_activity" if how == "local" else "activity")
    assert (run.status, run.counts[status]) == ("completed", 1)
    assert (step.status, step.result) == (status, None)
    assert (step.error.type if step.error else None) == (
        "TimeoutError" if how == "timed_out" else None
    )


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> str:
        reminder = asyncio.create_task(workflow.sleep(3600, summary="reminder"))
        await workflow.sleep(0.01, summary="a moment")
        reminder.cancel()
        try:
            await workflow.wait_condition(lambda: False, timeout=0.01)
        except TimeoutError:
            return "timed out"
        return "never"


async def test_timers_are_steps_with_their_summaries(runner):
    handle, _ = await both(runner, Waits)
    run, steps = await record_of(runner, handle)
    assert [(s.kind, s.name, s.status) for s in steps] == [
        ("timer", "a moment", "completed"),
        ("timer", "reminder", "cancelled"),
        ("timer", "timer", "completed"),
    ]
    assert run.counts == {"completed": 2, "cancelled": 1}
    assert [s.attempt for s in steps] == [None] * 3


@activity.defn
async def counts_calls(same: str) -> str:
    CALLS.append(activity.info().activity_id)
    return activity.info().activity_id


CALLS: list[str] = []


@workflow.defn
class RepeatsItself:
    @workflow.run
    async def run(self, n: int) -> list[str]:
        remote = (
            workflow.execute_activity(counts_calls, "same", start_to_close_timeout=SOON)
            for _ in range(n)
        )
        local = (
            workflow.execute_local_activity(counts_calls, "same", start_to_close_timeout=SOON)
            for _ in range(n)
        )
        return [*await asyncio.gather(*remote), *await asyncio.gather(*local)]


async def test_calls_of_the_same_content_are_told_apart(runner):
    handle, result = await both(runner, RepeatsItself, 8, activities=[counts_calls])
    _, steps = await record_of(runner, handle)
    assert [value_of(s.result) for s in steps] == [f'"{id}"' for id in result]
    assert [s.id for s in steps] == result
    assert len({s.key for s in steps}) == 16
    assert {(s.status, s.attempt) for s in steps} == {("completed", 1)}


# --- standalone activities ---


async def test_a_standalone_activity_is_a_run_of_its_own_kind(runner):
    options = {"task_queue": runner.task_queue, "start_to_close_timeout": SOON}
    async with runner.worker(Flaky, activities=[flaky, double]):
        assert await runner.client.execute_activity(double, 4, id="plain", **options) == 8
        options["retry_policy"] = POLICY
        assert await runner.client.execute_activity(flaky, 2, id="retried", **options) == 2
        with pytest.raises(ActivityFailureError):
            await runner.client.execute_activity(flaky, 9, id="failed", **options)
    found = {run.workflow_id: run for run in await runner.backend.runs.list()}
    assert {
        id: (run.kind, run.status, run.attempt, value_of(run.result)) for id, run in found.items()
    } == {
        "plain": ("activity", "completed", 1, "8"),
        "retried": ("activity", "completed", 2, "2"),
        "failed": ("activity", "failed", 3, None),
    }
    assert found["retried"].error is None
    assert (found["failed"].error.type, found["failed"].error.message) == (
        "NotYet",
        "attempt 3 failed",
    )
    for id, run in found.items():
        (step,) = await runner.backend.runs.steps(id)
        assert (step.status, step.attempt) == (run.status, run.attempt)


# --- messages ---


@workflow.defn
class Talks:
    def __init__(self):
        self.heard = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.heard) == 4)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    async def tell(self, word: str):
        await workflow.execute_activity(double, 1, start_to_close_timeout=SOON)
        self.heard.append(word)

    @workflow.update
    async def ask(self, word: str) -> int:
        await workflow.execute_local_activity(double, 2, start_to_close_timeout=SOON)
        self.heard.append(word)
        return len(self.heard)

    @workflow.update
    async def fails(self):
        raise ApplicationError("the update fails, the run does not")

    @workflow.query
    def count(self) -> int:
        return len(self.heard)


async def test_what_handlers_do_are_steps_of_the_run(runner):
    async def talk(handle):
        for n, word in enumerate("ab"):
            await handle.signal(Talks.tell, word)
            while await handle.query(Talks.count) == n:
                await asyncio.sleep(0.01)
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update(Talks.fails)
        assert await handle.execute_update(Talks.ask, "c") == 3
        assert await handle.execute_update(Talks.ask, "d") == 4

    handle, result = await both(runner, Talks, drive=talk, activities=[double])
    assert result == ["a", "b", "c", "d"]
    run, steps = await record_of(runner, handle)
    assert (run.status, run.error) == ("completed", None)
    assert brief(steps) == [
        ("activity", "double", "completed", "2"),
        ("activity", "double", "completed", "2"),
        ("local_activity", "double", "completed", "4"),
        ("local_activity", "double", "completed", "4"),
    ]


# --- children ---


@workflow.defn
class Child:
    @workflow.run
    async def run(self, how: str) -> str:
        if how == "fails":
            raise ApplicationError("a child fails", type="Childish")
        if how == "waits":
            await workflow.wait_condition(lambda: False)
        return how


@workflow.defn
class Family:
    @workflow.run
    async def run(self) -> list[str]:
        me = workflow.info().workflow_id
        told = [await workflow.execute_child_workflow(Child.run, "is good")]
        try:
            await workflow.execute_child_workflow(Child.run, "fails")
        except ChildWorkflowError as error:
            told.append(error.cause.type)
        waiting = await workflow.start_child_workflow(Child.run, "waits", id=f"{me}-waits")
        try:
            await workflow.start_child_workflow(Child.run, "waits", id=f"{me}-waits")
        except WorkflowAlreadyStartedError:
            told.append("already started")
        waiting.cancel()
        try:
            await waiting
        except ChildWorkflowError as error:
            told.append(type(error.cause).__name__)
        await workflow.start_child_workflow(
            Child.run,
            "waits",
            id=f"{me}-abandoned",
            parent_close_policy=ParentClosePolicy.ABANDON,
        )
        return told


async def test_children_are_steps_and_runs_of_their_own(runner):
    async def seen_to_begin(handle):
        abandoned = runner.client.get_workflow_handle(f"{handle.id}-abandoned")
        begun = 0
        while begun < 4:  # its first task is completed
            await asyncio.sleep(0.01)
            with contextlib.suppress(RPCError):  # it is not there yet
                begun = (await abandoned.describe()).history_length

    handle, result = await both(runner, Family, drive=seen_to_begin, others=[Child])
    assert result == ["is good", "Childish", "already started", "CancelledError"]
    runs = runner.backend.runs
    run, steps = await runs.get(handle.id), await runs.steps(handle.id)
    assert [(s.kind, s.name, s.status) for s in steps] == [
        ("child", "Child", "completed"),
        ("child", "Child", "failed"),
        ("child", "Child", "cancelled"),
        ("child", "Child", "failed"),
        ("child", "Child", "scheduled"),
    ]
    assert (run.status, run.open) == ("completed", ["Child"])
    assert run.counts == {"completed": 1, "failed": 2, "cancelled": 1}
    assert value_of(steps[0].result) == '"is good"'
    assert (steps[1].error.type, steps[1].error.message) == ("Childish", "a child fails")
    assert steps[3].error.type == "WorkflowAlreadyStartedError"
    children = [await runs.get(step.id) for step in steps]
    assert [child.status for child in children] == [
        "completed",
        "failed",
        "cancelled",
        "cancelled",
        "running",
    ]
    for child in children:
        assert (child.parent["workflow_id"], child.parent["run_id"]) == (handle.id, run.run_id)
        assert child.chain == child.run_id
    await runner.client.get_workflow_handle(f"{handle.id}-abandoned").terminate()


# --- Nexus ---


@nexusrpc.service
class Greets:
    hello: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Greets)
class GreetsHandler:
    @nexusrpc.handler.sync_operation
    async def hello(self, ctx: nexusrpc.handler.StartOperationContext, name: str) -> str:
        if name == "nobody":
            raise nexusrpc.HandlerError(
                "nobody is there", type=nexusrpc.HandlerErrorType.BAD_REQUEST
            )
        return f"hello {name}"


@workflow.defn
class CallsNexus:
    @workflow.run
    async def run(self, endpoint: str) -> str:
        client = workflow.create_nexus_client(service=Greets, endpoint=endpoint)
        try:
            await client.execute_operation(Greets.hello, "nobody", schedule_to_close_timeout=SOON)
        except FailureError:
            return await client.execute_operation(Greets.hello, "you")
        return "nobody answered"


async def test_nexus_operations_are_steps(runner, dev):
    endpoint = f"greets-{uuid.uuid4().hex}"
    queue = uuid.uuid4().hex
    await dev.create_nexus_endpoint(endpoint, queue)
    async with Worker(
        runner.client, task_queue=queue, nexus_service_handlers=[GreetsHandler()], workflows=[]
    ):
        handle, result = await both(runner, CallsNexus, endpoint)
    assert result == "hello you"
    _, steps = await record_of(runner, handle)
    assert brief(steps) == [
        ("nexus", "Greets.hello", "failed", None),
        ("nexus", "Greets.hello", "completed", '"hello you"'),
    ]
    assert steps[0].error is not None


# --- workers, plugins and interceptors ---


@workflow.defn
class CallsAnotherQueue:
    @workflow.run
    async def run(self, queue: str) -> list[int]:
        return [
            await workflow.execute_activity(double, i, task_queue=to, start_to_close_timeout=SOON)
            for i, to in enumerate([queue, None, queue])
        ]


async def test_two_workers_with_a_plugin_each_make_one_record(runner):
    queue = uuid.uuid4().hex
    url = runner.backend.url
    options = {"activities": [double]}
    one = StatePlugin(url, app="tests")
    other = StatePlugin(url, app="tests")
    async with (
        runner.worker(CallsAnotherQueue, plugins=[one], identity="one", **options),
        Worker(runner.client, task_queue=queue, plugins=[other], identity="other", **options),
    ):
        handle = await runner.start(CallsAnotherQueue.run, queue)
        assert await handle.result() == [0, 2, 4]
    run, steps = await record_of(runner, handle)
    assert (run.status, run.worker) == ("completed", "one")
    assert [(s.worker, s.attempt, s.status) for s in steps] == [
        ("other", 1, "completed"),
        ("one", 1, "completed"),
        ("other", 1, "completed"),
    ]


class OnlyLooks(Interceptor):
    """What tracing does: a header out, and wrapped calls on both sides."""

    def __init__(self):
        self.seen = []

    def intercept_activity(self, next):
        root = self

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                root.seen.append(("activity", "x-trace" in input.headers))
                return await super().execute_activity(input)

        return Inbound(next)

    def workflow_interceptor_class(self, input):
        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> Any:
                input.headers = {**input.headers, "x-trace": Payload(data=b"1")}
                return super().start_activity(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound):
                super().init(Outbound(outbound))

        return Inbound


@pytest.mark.parametrize("order", ["before", "after"])
async def test_other_plugins_and_interceptors_beside_ours_work_as_they_do(runner, order):
    own, plugged = OnlyLooks(), OnlyLooks()
    simple = SimplePlugin("simple", interceptors=[plugged], activities=[double])
    ours = StatePlugin(runner.backend)
    plugins = [simple, ours] if order == "before" else [ours, simple]
    async with runner.worker(Doubles, plugins=plugins, interceptors=[own]):
        handle = await runner.start(Doubles.run, "double", 2)
        assert await handle.result() == 2
    assert own.seen == plugged.seen == [("activity", True)] * 2
    run, steps = await record_of(runner, handle)
    assert run.status == "completed"
    assert brief(steps) == [("activity", "double", "completed", v) for v in ("0", "2")]
    assert [s.attempt for s in steps] == [1, 1]


class _Runner(UnsandboxedWorkflowRunner):
    """Somebody's own runner."""


async def test_a_plugin_that_brings_its_own_runner_and_ours_record_all_the_same(runner):
    for plugins in (
        [SimplePlugin("r", workflow_runner=_Runner()), StatePlugin(runner.backend)],
        [SimplePlugin("r", workflow_runner=lambda given: given), StatePlugin(runner.backend)],
        [StatePlugin(runner.backend), SimplePlugin("r", workflow_runner=lambda given: given)],
    ):
        async with runner.worker(Doubles, plugins=plugins, activities=[double]):
            handle = await runner.start(Doubles.run, "double", 1)
            await handle.result()
        run, _ = await record_of(runner, handle)
        assert (run.status, run.confirmed) == ("completed", True)


# --- what is left out ---


@state.unrecorded
@workflow.defn
class Secret:
    @workflow.run
    async def run(self) -> int:
        state.progress(1, 2)
        return await workflow.execute_activity(double, 1, start_to_close_timeout=SOON)


async def test_what_is_excluded_leaves_no_trace(runner):
    recording = Recording(exclude=["Doubles", "double"])
    plugin = StatePlugin(runner.backend, recording=recording)
    async with runner.worker(Secret, Doubles, activities=[double], plugins=[plugin]):
        assert await runner.run(Secret.run) == 2
        assert await runner.run(Doubles.run, "double", 2) == 2
        await runner.client.execute_activity(
            double, 1, id="alone", task_queue=runner.task_queue, start_to_close_timeout=SOON
        )
    assert await runner.backend.runs.list() == []
    assert all_bytes(runner.backend) == b""


@activity.defn
async def echo(value: str) -> str:
    activity.heartbeat(value)
    if value.startswith("fail"):
        raise ApplicationError(value, type="Told", non_retryable=True)
    return value


@workflow.defn
class Echoes:
    @workflow.run
    async def run(self, values: list[str]) -> str:
        for value in values:
            try:
                await workflow.execute_activity(
                    echo, value, start_to_close_timeout=SOON, heartbeat_timeout=SOON
                )
            except ActivityError:
                continue
        return values[-1]


async def echoed(runner, *values, **settings):
    plugin = StatePlugin(runner.backend, recording=Recording(**settings))
    async with runner.worker(Echoes, activities=[echo], plugins=[plugin]):
        handle = await runner.start(Echoes.run, list(values))
        assert await handle.result() == values[-1]
    run, steps = await record_of(runner, handle)
    assert run.status == "completed"
    return run, steps, all_bytes(runner.backend)


async def test_capture_none_keeps_no_value(runner):
    run, steps, stored = await echoed(runner, "plaintext", "fail plaintext", capture="none")
    assert b"plaintext" not in stored
    assert (run.input, run.result) == ([], None)
    assert [(s.input, s.result, s.heartbeat) for s in steps] == [([], None, None)] * 2
    assert [s.status for s in steps] == ["completed", "failed"]
    assert (steps[1].error.type, steps[1].error.message) == ("Told", None)


@pytest.mark.parametrize("capture", ["results", "all"])
async def test_capture_keeps_results_errors_and_inputs_as_told(runner, capture):
    run, steps, _ = await echoed(runner, "a", "fail", capture=capture)
    assert [value_of(v) for v in run.input] == ['["a","fail"]']
    assert value_of(run.result) == '"fail"'
    expected = [['"a"'], ['"fail"']] if capture == "all" else [[], []]
    assert [[value_of(v) for v in s.input] for s in steps] == expected
    assert (value_of(steps[0].result), steps[1].result) == ('"a"', None)
    assert (steps[1].error.type, steps[1].error.message) == ("Told", "fail")


async def test_values_over_the_limit_are_dropped_and_the_record_says_so(runner):
    large = "x" * 100
    run, steps, stored = await echoed(
        runner, "small", f"fail {large}", large, capture="all", capture_limit=60
    )
    assert large.encode() not in stored
    for value in (run.input[0], run.result, steps[2].input[0], steps[2].result):
        assert value.data is None
        assert value.dropped.startswith("too large (")
    assert (value_of(steps[0].result), steps[0].result.dropped) == ('"small"', None)
    assert (steps[1].error.type, steps[1].error.message) == ("Told", None)


def hides_secrets(value, payload):
    if b"broken" in payload.data:
        raise ValueError("the hook fails")
    if b"secret" in payload.data:
        return None
    if b"name" in payload.data:
        return Payload(metadata=payload.metadata, data=b'"(a name)"')
    return payload


async def test_a_redact_hook_drops_and_changes_values_and_may_fail(runner):
    values = ["secret", "name", "broken", "plain", "fail with a secret"]
    run, steps, stored = await echoed(runner, *values, capture="all", redact=hides_secrets)
    for word in ("secret", "broken"):
        assert word.encode() not in stored.replace(b'"dropped"', b"")
    assert run.input[0].dropped == "unencodable"  # it has "broken" in it
    assert [(value_of(s.result), s.result.dropped) for s in steps[:4]] == [
        (None, "redacted"),
        ('"(a name)"', None),
        (None, "unencodable"),
        ('"plain"', None),
    ]
    assert [(value_of(s.input[0]), s.input[0].dropped) for s in steps] == [
        (None, "redacted"),
        ('"(a name)"', None),
        (None, "unencodable"),
        ('"plain"', None),
        (None, "redacted"),
    ]
    assert [s.status for s in steps] == ["completed"] * 4 + ["failed"]
    assert (steps[4].error.type, steps[4].error.message) == ("Told", None)


async def test_a_redact_hook_is_told_whose_value_it_looks_at(runner):
    seen = set()

    def looks(value, payload):
        seen.add((value.kind, value.step, value.workflow_id, value.run_id))
        return payload

    run, *_ = await echoed(runner, "beat", "fail", capture="all", redact=looks)
    whose = (run.workflow_id, run.run_id)
    assert seen == {
        ("input", None, *whose),
        ("result", None, *whose),
        ("input", "echo", *whose),
        ("result", "echo", *whose),
        ("heartbeat", "echo", *whose),
        ("error", "echo", *whose),
    }


# --- many ---


@workflow.defn
class FansOut:
    @workflow.run
    async def run(self, n: int) -> int:
        calls = (
            workflow.execute_activity(double, i, start_to_close_timeout=SOON) for i in range(n)
        )
        return sum(await asyncio.gather(*calls))


DOUBLING = Path(__file__).with_name("doubling_worker.py")


async def test_500_steps_over_three_processes_are_all_there_once(runner, children):
    url, queue = runner.backend.url, runner.task_queue
    address = runner.client.service_client.config.target_host
    processes = [
        await children.ready_worker(DOUBLING, address, queue, url, f"worker-{i}") for i in range(2)
    ]
    plugin = StatePlugin(url, app="tests")
    options = {"activities": [double], "plugins": [plugin], "identity": "main"}
    async with runner.worker(FansOut, **options, max_concurrent_activities=20):
        handle = await runner.start(FansOut.run, 500)
        assert await handle.result() == 500 * 499
    for process in processes:
        process.terminate()
    assert [await asyncio.to_thread(process.wait, 20) for process in processes] == [0, 0]
    run, steps = await record_of(runner, handle)
    assert (run.status, run.steps, run.counts) == ("completed", 500, {"completed": 500})
    assert [int(value_of(s.result)) for s in steps] == [2 * i for i in range(500)]
    assert {(s.name, s.status, s.attempt, s.error) for s in steps} == {
        ("double", "completed", 1, None)
    }
    assert len({s.key for s in steps}) == len({s.id for s in steps}) == 500
    assert {s.worker for s in steps} == {"worker-0", "worker-1", "main"}
    assert all(s.scheduled <= s.started <= s.ended for s in steps)
