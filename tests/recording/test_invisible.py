"""Recording is invisible: the same history, result and failure with the plugin and without it.

Each workflow runs four times at the same moment, in the sandbox and outside, recorded and not. What
it does is driven so that its history can only be one, except where several activities are open at
once: Temporal may deliver their ends in any order and in any number of workflow tasks.
"""

import asyncio
import copy
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

with workflow.unsafe.imports_passed_through():
    # Importing these anew for each sandbox takes long, and without the plugin ours fails there.
    import pytest
    import pytest_asyncio
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

    from temporal_state import Recording, StateBackend, StatePlugin

SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)
BUSY = timedelta(minutes=1)
"""Workflow tasks have this long: one that a busy machine lets time out adds to a history."""
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)
KEYWORD = SearchAttributeKey.for_keyword("RecordingTest")


@activity.defn
async def double(n: int) -> int:
    return 2 * n


@activity.defn
async def flaky(good_attempt: int) -> int:
    if activity.info().attempt < good_attempt:
        raise ApplicationError("not yet", type="NotYet")
    return activity.info().attempt


@dataclass
class Door:
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


DOORS: dict[str, Door] = {}


@activity.defn
async def waits_at_door() -> str:
    door = DOORS.setdefault(activity.info().workflow_id, Door())
    door.reached.set()
    await door.opened.wait()
    return "through"


async def doubled(n):
    return await workflow.execute_activity(double, n, start_to_close_timeout=SOON)


@workflow.defn
class Sequential:
    @workflow.run
    async def run(self) -> list[int]:
        return [await doubled(i) for i in range(3)]


@workflow.defn
class Locals:
    @workflow.run
    async def run(self) -> list[int]:
        results = [
            await workflow.execute_local_activity(double, i, start_to_close_timeout=SOON)
            for i in range(3)
        ]
        results.append(await doubled(3))
        results.append(
            await workflow.execute_local_activity(
                flaky, 2, start_to_close_timeout=SOON, retry_policy=QUICKLY
            )
        )
        return results


@workflow.defn
class Child:
    @workflow.run
    async def run(self, n: int) -> int:
        if n < 0:
            raise ApplicationError("negative", type="Negative")
        return await doubled(n)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> list[Any]:
        result: list[Any] = [await workflow.execute_child_workflow(Child.run, 1)]
        try:
            await workflow.execute_child_workflow(Child.run, -1)
        except ChildWorkflowError as error:
            result.append(error.cause.type)
        return result


@workflow.defn
class Timers:
    @workflow.run
    async def run(self) -> str:
        sleeping = asyncio.create_task(workflow.sleep(3600, summary="never"))
        await workflow.sleep(0.01)
        sleeping.cancel()
        try:
            await workflow.wait_condition(lambda: False, timeout=0.01)
        except TimeoutError:
            return "timed out"
        return "never"


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
        await doubled(1)
        self.heard.append(word)

    @workflow.update
    async def ask(self, word: str) -> int:
        await doubled(2)
        self.heard.append(word)
        return len(self.heard)

    @ask.validator
    def check(self, word: str):
        if not word:
            raise ValueError("say something")

    @workflow.query
    def count(self) -> int:
        return len(self.heard)


@workflow.defn
class Cancelled:
    def __init__(self):
        self.seen = False

    @workflow.run
    async def run(self, how: str) -> str:
        await doubled(1)
        try:
            if how == "shielded":
                kept = asyncio.create_task(
                    workflow.execute_activity(waits_at_door, start_to_close_timeout=SOON)
                )
                try:
                    await asyncio.shield(kept)
                except asyncio.CancelledError:
                    self.seen = True
                return await kept
            await workflow.wait_condition(lambda: False)
        except asyncio.CancelledError:
            if how == "caught":
                return "caught"
            if how == "cleaned up after":
                await doubled(2)
            raise
        return "never"

    @workflow.query
    def was_cancelled(self) -> bool:
        return self.seen


@workflow.defn
class Continued:
    @workflow.run
    async def run(self, left: int) -> str:
        await doubled(left)
        if left:
            workflow.continue_as_new(left - 1)
        return "done"


@workflow.defn
class Flaky:
    @workflow.run
    async def run(self, good_attempt: int) -> int:
        return await workflow.execute_activity(
            flaky, good_attempt, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )


@workflow.defn
class FansOut:
    @workflow.run
    async def run(self) -> int:
        return sum(await asyncio.gather(*(doubled(i) for i in range(20))))


@workflow.defn
class Patched:
    @workflow.run
    async def run(self) -> int:
        workflow.uuid4()
        if workflow.patched("a-change"):
            await doubled(1)
        workflow.deprecate_patch("an-older-change")
        # Were our code to draw from the workflow's random numbers, this would differ on replay.
        return await doubled(workflow.random().randint(0, 0))


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> int:
        await doubled(1)
        raise ApplicationError("on purpose", {"a": 1}, type="OnPurpose", non_retryable=True)


@workflow.defn
class Upserts:
    @workflow.run
    async def run(self) -> Any:
        workflow.upsert_memo({"note": "first", "n": 1})
        await doubled(1)
        workflow.upsert_search_attributes([KEYWORD.value_set("a value")])
        workflow.upsert_memo({"n": None})
        workflow.set_current_details("details")
        await doubled(2)
        return sorted(workflow.memo())


@workflow.defn
class SignalsOut:
    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(Talks.run)
        for word in "abcd":
            await child.signal(Talks.tell, word)
        try:
            await workflow.get_external_workflow_handle("nobody-" + workflow.info().run_id).signal(
                "hello"
            )
        except ApplicationError as error:
            return f"{len(await child)} {error.type}"
        return "never"


Drive = Callable[[WorkflowHandle[Any, Any]], Awaitable[None]]


async def nothing(handle):
    """Let it run."""


async def settled(handle, events):
    """Wait until no workflow task is open and the history has reached a length."""
    while True:
        last = (await handle.fetch_history()).events
        if len(last) >= events and last[-1].WhichOneof("attributes") in {
            "workflow_task_completed_event_attributes",
            "activity_task_scheduled_event_attributes",
        }:
            return
        await asyncio.sleep(0.02)


async def talk(handle):
    await settled(handle, 4)
    for n, word in enumerate("ab"):
        await handle.signal(Talks.tell, word)
        while await handle.query(Talks.count) == n:
            await asyncio.sleep(0.02)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Talks.ask, "")
    assert await handle.execute_update(Talks.ask, "c") == 3
    assert await handle.execute_update(Talks.ask, "d") == 4


async def cancel(handle):
    await settled(handle, 10)
    await handle.cancel()


async def cancel_at_door(handle):
    door = DOORS.setdefault(handle.id, Door())
    await door.reached.wait()
    await handle.cancel()
    while not await handle.query(Cancelled.was_cancelled):
        await asyncio.sleep(0.02)
    door.opened.set()


@dataclass(frozen=True)
class Case:
    definition: Any
    arguments: tuple[Any, ...] = ()
    drive: Drive = nothing
    racy: str = ""
    """Why the order of its events is not one."""


CASES = {
    "activities one after the other": Case(Sequential),
    "local activities": Case(Locals),
    "children": Case(Parent),
    "timers": Case(Timers),
    "signals, updates and queries": Case(Talks, drive=talk),
    "a cancellation that is caught": Case(Cancelled, ("caught",), cancel),
    "a cancellation that is cleaned up after": Case(Cancelled, ("cleaned up after",), cancel),
    "a cancellation that is shielded from": Case(Cancelled, ("shielded",), cancel_at_door),
    "a chain of continued runs": Case(Continued, (2,)),
    "an activity that is retried": Case(Flaky, (2,)),
    "an activity that fails": Case(Flaky, (9,)),
    "a fan-out": Case(FansOut, racy="twenty activities end in any order"),
    "patches and random numbers": Case(Patched),
    "a failure": Case(Fails),
    "memo and search attributes": Case(Upserts),
    "signals to others": Case(SignalsOut, racy="a child tells of its start while it is signalled"),
}
WORKFLOWS = [*{case.definition for case in CASES.values()}, Child]


ASKED_FOR = {
    "activity_task_scheduled_event_attributes",
    "start_child_workflow_execution_initiated_event_attributes",
    "timer_started_event_attributes",
}
UNLIKE = {"header", "task_queue", "workflow_id", "workflow_task_completed_event_id"}
"""What is another each time, and the header, which may say more."""


@dataclass
class Outcome:
    end: Any
    histories: list[Any]

    def events(self, case):
        kinds = [[e.WhichOneof("attributes") for e in h.events] for h in self.histories]
        if not case.racy:
            return kinds
        return [Counter(k for k in part if not k.startswith("workflow_task")) for part in kinds]

    def asked_for(self):
        """Return the activities, children and timers with all that Temporal is told of them."""
        asked = []
        for event in (event for history in self.histories for event in history.events):
            kind = event.WhichOneof("attributes")
            if kind in ASKED_FOR:
                told = copy.deepcopy(getattr(event, kind))
                for name in UNLIKE.intersection(told.DESCRIPTOR.fields_by_name):
                    told.ClearField(name)
                asked.append((told, event.user_metadata))
        return asked


async def outcome_of(client, queue, case):
    handle = await client.start_workflow(
        case.definition.run,
        args=case.arguments,
        id=f"{case.definition.__name__}-{uuid.uuid4().hex}",
        task_queue=queue,
        task_timeout=BUSY,
    )
    await case.drive(handle)
    try:
        end = await handle.result()
    except WorkflowFailureError as error:
        end = told(error.cause)
    return Outcome(end, [history async for history in chain_of(client, handle)])


def told(error):
    """What a failure says, down to the innermost."""
    parts = []
    while isinstance(error, FailureError):
        kind = getattr(error, "type", None)
        parts.append((type(error).__name__, kind, error.message, getattr(error, "details", ())))
        error = error.cause
    return parts


async def chain_of(client, handle):
    run_id = handle.first_execution_run_id
    while run_id:
        one = client.get_workflow_handle(handle.id, run_id=run_id)
        history = await one.fetch_history()
        yield history
        last = history.events[-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id


async def all_outcomes(client, plugins, runner):
    queue = uuid.uuid4().hex
    options = {} if runner is None else {"workflow_runner": runner}
    async with Worker(
        client,
        task_queue=queue,
        workflows=WORKFLOWS,
        activities=[double, flaky, waits_at_door],
        plugins=plugins,
        sticky_queue_schedule_to_start_timeout=BUSY,
        **options,
    ):
        outcomes = (asyncio.wait_for(outcome_of(client, queue, c), 100) for c in CASES.values())
        results = await asyncio.gather(*outcomes)
    return dict(zip(CASES, results, strict=True))


@pytest_asyncio.fixture(scope="module")
async def outcomes(dev, tmp_path_factory):
    """How every case went, by sandbox and plugin; and what was recorded."""
    request = AddSearchAttributesRequest(namespace="default")
    request.search_attributes[KEYWORD.name] = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    try:
        await dev.client.operator_service.add_search_attributes(request)
    except RPCError as error:
        assert "already" in str(error)  # noqa: PT017 another module may have added it
    root = tmp_path_factory.mktemp("invisible")
    plans = {
        (runner, recorded): (
            [StatePlugin(root / str(runner), app="tests")] if recorded else [],
            UnsandboxedWorkflowRunner() if runner == "outside" else None,
        )
        for runner in ("sandbox", "outside")
        for recorded in (True, False)
    }
    # One after the other: workflows that starve one another get more tasks than they need.
    return {key: await all_outcomes(dev.client, *plan) for key, plan in plans.items()}, root


@pytest.mark.parametrize("runner", ["sandbox", "outside"])
@pytest.mark.parametrize("name", CASES)
async def test_recording_adds_nothing_to_a_history_and_changes_no_end(outcomes, name, runner):
    found, _ = outcomes
    recorded, unrecorded = found[runner, True][name], found[runner, False][name]
    assert recorded.end == unrecorded.end
    assert recorded.events(CASES[name]) == unrecorded.events(CASES[name])
    if not CASES[name].racy:
        assert recorded.asked_for() == unrecorded.asked_for()


async def test_every_one_of_them_was_recorded(outcomes):
    found, root = outcomes
    for runner in ("sandbox", "outside"):
        histories = [h for outcome in found[runner, True].values() for h in outcome.histories]
        async with StateBackend.open(root / runner, app="tests") as backend:
            for history in histories:
                run = await backend.runs.get(history.workflow_id, run_id=history.run_id)
                assert run.confirmed
                assert run.lost == 0
                steps = await backend.runs.steps(history.workflow_id, run_id=history.run_id)
                assert [s for s in steps if s.status in {"scheduled", "started"}] == []
                scheduled = sum(
                    e.HasField("activity_task_scheduled_event_attributes") for e in history.events
                )
                assert len([s for s in steps if s.kind == "activity"]) == scheduled


SETTINGS = {
    "without the plugin": None,
    "with it": Recording(),
    "keeping all": Recording(capture="all", checkpoint_every=1),
    "keeping nothing": Recording(capture="none", checkpoint_interval=timedelta(0)),
    "not recording": "off",
}


@pytest.mark.parametrize(
    ("settings", "runner", "recorded"),
    [
        *((settings, "outside", recorded) for settings in SETTINGS for recorded in (True, False)),
        ("without the plugin", "sandbox", True),
        ("keeping all", "sandbox", False),
    ],
)
async def test_a_history_replays_with_and_without_and_the_replayer_writes_nothing(
    outcomes, tmp_path, settings, runner, recorded
):
    found, _ = outcomes
    root = tmp_path / "replayed"
    recording = SETTINGS[settings]
    plugins = []
    if recording is not None:
        recording = None if recording == "off" else recording
        plugins = [StatePlugin(root, app="tests", recording=recording)]
    options = {"workflow_runner": UnsandboxedWorkflowRunner()} if runner == "outside" else {}
    replayer = Replayer(workflows=WORKFLOWS, plugins=plugins, **options)
    histories = [h for outcome in found[runner, recorded].values() for h in outcome.histories]
    results = await replayer.replay_workflows(one_by_one(histories))
    assert results.replay_failures == {}
    assert not root.exists()


async def one_by_one(histories):
    for history in histories:
        yield history


@workflow.defn
class StepByStep:
    def __init__(self):
        self.steps = 0

    @workflow.run
    async def run(self, n: int) -> list[int]:
        done = []
        for i in range(n):
            await workflow.wait_condition(lambda i=i: self.steps > i)
            done.append(await doubled(i))
            await workflow.execute_local_activity(double, i, start_to_close_timeout=SOON)
            if workflow.patched(f"patch-{i}"):
                done.append(i)
        return done

    @workflow.signal
    def step(self):
        self.steps += 1

    @workflow.query
    def at(self) -> int:
        return self.steps


async def test_the_plugin_may_come_change_and_go_while_a_workflow_is_half_way(on_dev):
    plugins = [
        [],
        [StatePlugin(on_dev.backend)],
        [StatePlugin(on_dev.backend, recording=Recording(capture="all", checkpoint_every=1))],
        [StatePlugin(on_dev.backend, recording=None)],
        [StatePlugin(on_dev.backend, recording=Recording(capture="none"))],
        [],
    ]
    runs = on_dev.backend.runs
    handle = None
    seen = []
    for part, given in enumerate(plugins):
        async with on_dev.worker(StepByStep, plugins=given, activities=[double]):
            handle = handle or await on_dev.start(StepByStep.run, len(plugins))
            await handle.signal(StepByStep.step)
            await settled_after(handle, part + 1)
        run = await runs.get(handle.id)
        seen.append(None if run is None else (run.status, len(await runs.steps(handle.id))))
    assert await handle.result() == [x for i in range(6) for x in (2 * i, i)]
    # Recording or not, each part has two steps; those before the plugin are known by replay.
    running = "running"
    assert seen == [None, (running, 4), (running, 6), (running, 6), (running, 10), (running, 10)]
    steps = await runs.steps(handle.id)
    assert [(s.number, s.kind) for s in steps] == [
        (n, "local_activity" if n % 2 == 0 else "activity") for n in range(1, 11)
    ]
    assert {(s.name, s.status) for s in steps} == {("double", "completed")}
    # Values and attempts as far as one of those who saw them kept them.
    results = [None if s.result is None else int(s.result.data) for s in steps]
    assert results == [0, 0, 2, 2, 4, 4, *[None] * 4]
    assert [s.attempt for s in steps] == [None, None, 1, 1, 1, 1, None, None, 1, 1]


async def settled_after(handle, part):
    """Wait until a part's steps are in the history, and what follows them."""
    while True:
        described = await handle.describe()
        events = (await handle.fetch_history()).events
        markers = sum(
            e.marker_recorded_event_attributes.marker_name == "core_patch" for e in events
        )
        if markers >= part and (
            described.status != WorkflowExecutionStatus.RUNNING
            or events[-1].HasField("workflow_task_completed_event_attributes")
            or events[-1].HasField("upsert_workflow_search_attributes_event_attributes")
            or events[-1].HasField("marker_recorded_event_attributes")
        ):
            return
        await asyncio.sleep(0.02)
