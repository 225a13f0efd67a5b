"""P7 inside an activity: a loop over items goes on with the first that was not done."""

import asyncio
import dataclasses
import json
import random
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import (
    CodecTransform,
    ConflictError,
    ContextError,
    InvalidValueError,
    Limits,
    Recording,
    StateBackend,
    StatePlugin,
    StoreError,
    StorePermissionError,
    TooLargeError,
    resume,
    state,
)
from temporal_state.documents import Engine, Layout
from temporal_state.runs import ChainRef, LoopRef, Position, Positions
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

SOON = timedelta(seconds=30)
QUICKLY = timedelta(milliseconds=10)
PROMPTLY = timedelta(milliseconds=50)
"""The SDK holds heartbeats back no longer than this."""


@workflow.defn
class Calls:
    """Calls activities, one after the other."""

    @workflow.run
    async def run(self, names: list[str], attempts: int, seconds: float | None = None) -> Any:
        result = None
        for name in names:
            result = await workflow.execute_activity(
                name,
                start_to_close_timeout=SOON,
                heartbeat_timeout=timedelta(seconds=seconds) if seconds else None,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                retry_policy=retries(attempts),
            )
        return result


@workflow.defn
class CallsLocally:
    """The same with local activities, which need no server for a retry: it takes a second there."""

    @workflow.run
    async def run(self, names: list[str], attempts: int, calls: int = 1) -> Any:
        result = None
        for name in names * calls:
            result = await workflow.execute_local_activity(
                name, schedule_to_close_timeout=SOON, retry_policy=retries(attempts)
            )
        return result


def retries(attempts: int) -> RetryPolicy:
    return RetryPolicy(initial_interval=QUICKLY, backoff_coefficient=1, maximum_attempts=attempts)


@pytest.fixture
def runner(on_dev):
    with ThreadPoolExecutor(8) as pool:
        on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
        on_dev.options["activity_executor"] = pool
        yield on_dev


def named(function: Any, name: str) -> Any:
    return activity.defn(name=name)(function)


async def call(runner, *functions, attempts=20, beats=None, local=True, **options):
    """Run a workflow that calls the functions, each an activity under a name of its own."""
    names = [f"{n}-{uuid.uuid4().hex}" for n in range(len(functions))]
    activities = [named(f, name) for f, name in zip(functions, names, strict=True)]
    async with runner.worker(Calls, CallsLocally, activities=activities, **options):
        if local and beats is None:
            return await runner.run(CallsLocally.run, names, attempts)
        return await runner.run(Calls.run, names, attempts, beats)


async def failure_of(runner, function, **options):
    """Return the type of the failure that ends the activity's workflow."""
    with pytest.raises(WorkflowFailureError) as error:
        await call(runner, function, **options)
    cause = error.value.cause  # of a local activity it is the error itself
    return (cause if isinstance(cause, ApplicationError) else cause.cause).type


def loop(kind, body, items, **options):
    """Return an activity, async or threaded, that calls ``body`` for each item."""

    async def asynchronous() -> Any:
        loop = state.resumable(items, **options)
        async for item in loop:
            body(item, loop)
        return loop.value

    def threaded() -> Any:
        loop = state.sync.resumable(items, **options)
        for item in loop:
            body(item, loop)
        return loop.value

    return asynchronous if kind == "async" else threaded


def attempt() -> int:
    return activity.info().attempt


def again() -> ApplicationError:
    return ApplicationError("again")


def positions(backend):
    root = backend.store.root
    return [json.loads(path.read_bytes()) for path in sorted(root.rglob("loops/*/*.json"))]


KINDS = pytest.mark.parametrize("kind", ["async", "threaded"])


@pytest.mark.parametrize("local", [True, False])
@KINDS
async def test_a_retry_goes_on_with_the_first_item_that_was_not_done(runner, kind, local):
    seen = []

    def body(item, _loop):
        seen.append(item)
        if (attempt(), item) in {(1, 5), (2, 7)}:
            raise again()

    await call(runner, loop(kind, body, range(10)), local=local)
    assert seen == [0, 1, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9]


async def numbers():
    for n in range(10):
        yield n


async def numbers_from(position):
    for n in range(position, 10):
        yield n


async def list_from(position):
    return list(range(position, 10))


SOURCES = {
    "list": lambda: list(range(10)),
    "dict": lambda: dict.fromkeys(range(10)),
    "iterator": lambda: iter(range(10)),
    "function": lambda: lambda position: range(position, 10),
}
ASYNC_SOURCES = {
    **SOURCES,
    "async generator": numbers,
    "async function": lambda: list_from,
    "function of an async generator": lambda: numbers_from,
}


@pytest.mark.parametrize("check", ["length", "digest", None])
@KINDS
async def test_items_come_from_sources_of_any_kind(runner, kind, check):
    sources = ASYNC_SOURCES if kind == "async" else SOURCES
    seen = {name: [] for name in sources}

    def body(name):
        def do(item, _loop):
            seen[name].append(item)
            if attempt() < 3 and item == 3 * attempt():
                raise again()

        return do

    async def asynchronous(name):
        await loop("async", body(name), sources[name](), check=check)()

    def threaded(name):
        loop("threaded", body(name), sources[name](), check=check)()

    await call(runner, *(bound(asynchronous if kind == "async" else threaded, n) for n in sources))
    assert list(seen.values()) == [[0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9]] * len(sources)


def bound(function, argument):
    """Return a function without arguments, of the same kind."""
    if asyncio.iscoroutinefunction(function):

        async def asynchronous():
            return await function(argument)

        return asynchronous
    return lambda: function(argument)


async def test_a_source_that_can_start_anywhere_is_asked_to(runner):
    asked = []

    def source(position):
        asked.append(position)
        return range(position, 1_000_000_000)

    def body(item, _loop):
        if item == 7:
            raise again() if attempt() < 3 else ApplicationError("enough", non_retryable=True)

    await failure_of(runner, loop("async", body, source))
    assert asked == [0, 7, 7]


class Refusing(FailingStore):
    """Refuses every save, once told so: to all that comes after it is as if it had crashed."""

    refusing = False

    async def update(self, key, change):
        if self.refusing and "/loops/" in key:
            raise StorePermissionError("refused")
        await super().update(key, change)


@pytest.mark.parametrize("seed", range(4))
@KINDS
async def test_every_item_is_done_and_at_most_every_are_repeated_per_crash(runner, kind, seed):
    dice = random.Random(f"{kind} {seed}")
    every, length = dice.choice([1, 2, 3, 10, 50]), 300
    crashes = sorted(dice.sample(range(length), 5))
    seen, repeated = [], []
    async with StateBackend.open(Refusing(runner.backend.store)) as backend:
        store = backend.store

        def body(item, loop):
            if seen and item != seen[-1] + 1:
                repeated.append(seen[-1] + 1 - item)
            seen.append(item)
            assert loop.position == item
            if dice.random() < 0.2:
                time.sleep(0.0005)
            if crashes and item >= crashes[0]:
                crashes.pop(0)
                store.refusing = dice.random() < 0.8
                raise again()

        def run():
            store.refusing = False
            return loop(kind, body, range(length), every=every)()

        async def run_async():
            return await run()

        runner.backend = backend
        await call(runner, run_async if kind == "async" else run)
    assert set(seen) == set(range(length))
    assert len(repeated) == 5
    assert all(1 <= n <= every for n in repeated), (every, repeated)


@KINDS
async def test_the_value_is_that_of_the_items_done(runner, kind):
    def body(item, loop):
        loop.value = {"sum": loop.value["sum"] + item}
        if item % 7 == 3 and attempt() == item // 7 + 1:
            raise again()  # after the value has been set: it counts with its item only

    result = await call(runner, loop(kind, body, range(40), every=1000, initial={"sum": 0}))
    assert result == {"sum": sum(range(40))}


async def test_value_and_position_are_known_before_the_loop_on_demand(runner):
    known = []

    async def run() -> None:
        unknown = state.resumable(range(3), name="other")
        for ask in (lambda: unknown.value, lambda: unknown.position):
            with pytest.raises(ContextError, match="async with"):
                ask()
        async with state.resumable(range(10), initial="first") as items:
            known.append((items.position, items.value))
            async for item in items:
                items.value = f"after {item}"
                if item == 5 and attempt() == 1:
                    raise again()
            items.value = "last"
        if attempt() == 2:
            raise again()

    await call(runner, run)
    assert known == [(0, "first"), (5, "after 4"), (10, "last")]


async def test_the_same_in_a_thread(runner):
    known = []

    def run() -> None:
        with state.sync.resumable(range(10), initial="first") as items:
            known.append((items.position, items.value))
            for item in items:
                if item == 5 and attempt() == 1:
                    raise again()

    await call(runner, run)
    assert known == [(0, "first"), (5, "first")]


async def test_a_value_is_a_copy_of_json_and_small(runner):
    async def run() -> None:
        async for _ in (items := state.resumable(range(2))):
            items.value = mine = {"list": [1]}
            mine["list"].append(2)
            items.value["list"].append(3)
            assert items.value == {"list": [1]}
            for wrong, error in ((float("nan"), InvalidValueError), ("x" * 70_000, TooLargeError)):
                with pytest.raises(error):
                    items.value = wrong

    await call(runner, run)


CHANGED = [
    ("length", list(range(10)), list(range(11))),
    ("length", iter(range(10)), iter(range(3))),
    ("digest", list(range(10)), [0, 1, 2, 3, 99, 5, 6, 7, 8, 9]),
    ("digest", list(range(10)), list(range(3))),
]


@pytest.mark.parametrize(("check", "first", "then"), CHANGED)
@KINDS
async def test_items_that_have_changed_are_an_error(runner, kind, check, first, then):
    attempts = []
    if not isinstance(first, list):  # each case is run twice
        first, then = iter(range(10)), iter(range(3))

    def body(item, _loop):
        if attempt() == 1 and item == 5:
            raise again()

    def items():
        attempts.append(attempt())
        return first if attempt() == 1 else then

    async def asynchronous():
        await loop(kind, body, items(), check=check)()

    def threaded():
        loop(kind, body, items(), check=check)()

    function = asynchronous if kind == "async" else threaded
    assert await failure_of(runner, function) == "ChangedItemsError"
    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("check", "first", "then", "rest"),
    [
        (None, range(10), range(8), [5, 6, 7]),
        (None, range(10), range(2), []),
        ("digest", range(10), range(12), [5, 6, 7, 8, 9, 10, 11]),
    ],
)
async def test_a_change_that_is_allowed_is_none(runner, check, first, then, rest):
    seen = []

    async def run() -> None:
        async for item in state.resumable(first if attempt() == 1 else then, check=check):
            seen.append(item)
            if attempt() == 1 and item == 5:
                raise again()

    await call(runner, run)
    assert seen == [0, 1, 2, 3, 4, 5, *rest]


async def test_loops_are_named_by_their_order_or_their_name(runner):
    seen = []

    async def run() -> None:
        for what in ("first", "second"):
            seen.extend([(what, item) async for item in state.resumable(range(3))])
        async with asyncio.TaskGroup() as group:
            for what in ("a", "b") if attempt() == 1 else ("b", "a"):
                group.create_task(one(what))
        if attempt() == 1:
            raise again()

    async def one(what):
        async for item in state.resumable(range(3), name=what):
            seen.append((what, item))
            await asyncio.sleep(0)

    await call(runner, run)
    assert Counter(seen) == {
        (what, n): 1 for what in ("first", "second", "a", "b") for n in range(3)
    }


async def test_two_loops_of_one_name_and_a_second_turn_are_errors(runner):
    async def run() -> None:
        state.resumable(range(2))
        items = state.resumable(range(2), name="rows")
        state.resumable(range(2), name="loop-1")
        with pytest.raises(ConflictError, match="'rows'"):
            state.resumable(range(2), name="rows")
        assert [item async for item in items] == [0, 1]
        with pytest.raises(ConflictError, match="once"):
            [item async for item in items]

    await call(runner, run)


@pytest.mark.parametrize(
    "options",
    [
        {"items": {1, 2}},
        {"items": 7},
        {"items": [], "every": 0},
        {"items": [], "interval": timedelta()},
        {"items": [], "check": "size"},
        {"items": [], "initial": {1}},
    ],
)
async def test_what_cannot_be_a_loop_is_refused(runner, options):
    async def run() -> None:
        with pytest.raises(InvalidValueError):
            state.resumable(**options)

    await call(runner, run)


@KINDS
async def test_a_loop_that_had_ended_is_not_repeated_when_the_activity_fails_later(runner, kind):
    seen = []

    def body(item, loop):
        seen.append(item)
        loop.value = item

    once = loop(kind, body, range(5))

    async def asynchronous():
        result = await once()
        if attempt() < 3:
            raise again()
        return result

    def threaded():
        result = once()
        if attempt() < 3:
            raise again()
        return result

    assert await call(runner, asynchronous if kind == "async" else threaded) == 4
    assert seen == [0, 1, 2, 3, 4]


async def test_an_attempt_whose_result_is_lost_repeats_nothing(runner):
    """The loop has ended and the activity returned, but Temporal does not learn of it."""
    seen = []

    async def run() -> int:
        seen.extend([item async for item in state.resumable(range(5))])
        if attempt() == 1:  # the server gives up on this attempt, and drops its result
            await asyncio.sleep(1.5)
        return attempt()

    assert await call(runner, run, beats=0.5) == 2
    assert seen == [0, 1, 2, 3, 4]


async def test_no_items_leave_nothing_behind(runner):
    async def run() -> None:
        assert [item async for item in state.resumable([])] == []

    await call(runner, run)
    assert positions(runner.backend) == []


async def test_a_reset_run_does_again_what_had_completed_and_goes_on_with_what_had_not(runner):
    seen, broken = [], True

    async def whole() -> None:
        seen.extend([item async for item in state.resumable(range(3))])

    async def part() -> None:
        async for item in state.resumable(range(10, 20)):
            seen.append(item)
            if broken and item == 15:
                raise ApplicationError("broken", non_retryable=True)

    activities = [named(whole, "whole"), named(part, "part")]
    async with runner.worker(Calls, activities=activities):
        handle = await runner.start(Calls.run, ["whole", "part"], 1)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken = False
        response = await runner.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(
                    workflow_id=handle.id, run_id=handle.result_run_id
                ),
                workflow_task_finish_event_id=4,
                request_id=uuid.uuid4().hex,
                reason="test",
            )
        )
        await runner.client.get_workflow_handle(handle.id, run_id=response.run_id).result()
    assert seen == [0, 1, 2, *range(10, 16), 0, 1, 2, *range(15, 20)]


async def test_positions_are_deleted_with_the_run_and_its_document(runner):
    async def run() -> None:
        assert [item async for item in state.resumable(range(5))] == [0, 1, 2, 3, 4]

    await call(runner, run)
    (position,) = positions(runner.backend)
    assert (position["done"], position["complete"]) == (5, True)
    (listed,) = await runner.backend.runs.list()
    await runner.backend.runs.delete(listed.workflow_id)
    assert positions(runner.backend) == []


class Fails:
    """Two loops, of which the second fails as long as it is told to."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.at: int | None = 15

    @activity.defn(name="whole")
    async def whole(self) -> str:
        async for item in state.resumable(range(3)):
            self.seen.append(item)
        return "x" * 2000  # too large to be recorded, with the test's limit

    @activity.defn(name="part")
    async def part(self) -> int:
        async for item in (items := state.resumable(range(10, 20), initial=0)):
            self.seen.append(item)
            if item == self.at:
                raise ApplicationError("broken", non_retryable=True)
            items.value += item
        if self.at == 99:
            raise ApplicationError("broken", non_retryable=True)
        return items.value

    def taken(self) -> list[int]:
        seen, self.seen = self.seen, []
        return seen


async def failed(runner, handle):
    with pytest.raises(WorkflowFailureError):
        await handle.result()


@pytest.mark.parametrize("own_id", [True, False])
async def test_a_resumed_run_goes_on_where_the_old_ones_were(runner, own_id):
    fails = Fails()
    activities = [fails.whole, fails.part]
    plugin = StatePlugin(runner.backend, recording=Recording(capture_limit=1000))
    async with runner.worker(Calls, activities=activities, plugins=[plugin]):
        handle = await runner.start(Calls.run, ["part", "whole"], 1)
        options = {} if own_id else {"id": f"other-{handle.id}"}
        await failed(runner, handle)
        assert fails.taken() == list(range(10, 16))
        fails.at = 17
        handle = await resume(runner.client, runner.backend, handle.id, **options)
        await failed(runner, handle)
        assert fails.taken() == [15, 16, 17]
        fails.at = 99  # after the loop
        handle = await resume(runner.client, runner.backend, handle.id)
        await failed(runner, handle)
        assert fails.taken() == [17, 18, 19]
        fails.at = None
        handle = await resume(runner.client, runner.backend, handle.id)
        await handle.result()
        assert fails.taken() == [0, 1, 2]
    step = (await runner.backend.runs.steps(handle.id))[0]
    assert json.loads(step.result.data) == sum(range(10, 20))


async def test_a_step_that_had_completed_and_runs_again_runs_as_a_whole(runner):
    fails = Fails()
    activities = [fails.whole, fails.part]
    plugin = StatePlugin(runner.backend, recording=Recording(capture_limit=1000))
    async with runner.worker(Calls, activities=activities, plugins=[plugin]):
        handle = await runner.start(Calls.run, ["whole", "part"], 1)
        await failed(runner, handle)
        fails.taken()
        fails.at = 17
        handle = await resume(runner.client, runner.backend, handle.id)
        await failed(runner, handle)
        assert fails.taken() == [0, 1, 2, 15, 16, 17]
        fails.at = None
        handle = await resume(runner.client, runner.backend, handle.id, from_step=2)
        await handle.result()
        assert fails.taken() == [0, 1, 2, *range(10, 20)]


@KINDS
async def test_what_is_done_is_saved_before_a_cancellation_goes_on(runner, kind):
    reached = asyncio.Event()
    main = asyncio.get_running_loop()

    async def asynchronous() -> None:
        async for item in (items := state.resumable(range(1000), every=500)):
            items.value = item
            activity.heartbeat()
            if item == 33:
                reached.set()
                await asyncio.sleep(20)

    def threaded() -> None:
        for item in (items := state.sync.resumable(range(1000), every=500)):
            items.value = item
            if item == 33:
                main.call_soon_threadsafe(reached.set)
                for _ in range(2000):
                    time.sleep(0.01)
                    activity.heartbeat()

    activities = [named(asynchronous if kind == "async" else threaded, "loop")]
    options = {"activities": activities, "max_heartbeat_throttle_interval": PROMPTLY}
    async with runner.worker(Calls, **options):
        handle = await runner.start(Calls.run, ["loop"], 1, 2)
        await asyncio.wait_for(reached.wait(), 10)
        await handle.cancel()
        await failed(runner, handle)
    (position,) = positions(runner.backend)
    assert (position["done"], position["value"], position["complete"]) == (33, 32, False)


async def test_it_needs_no_record(runner):
    seen = []

    def body(item, _loop):
        seen.append(item)
        if attempt() == 1 and item == 5:
            raise again()

    plugin = StatePlugin(runner.backend, recording=None)
    await call(runner, loop("async", body, range(10)), plugins=[plugin])
    assert seen == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("recording", [None, Recording()])
async def test_standalone_activities_have_loops_too(runner, recording):
    seen = []

    @activity.defn
    async def alone() -> int:
        async for item in state.resumable(range(10)):
            seen.append(item)
            if attempt() == 1 and item == 5:
                raise again()
        return attempt()

    plugin = StatePlugin(runner.backend, recording=recording)
    async with runner.worker(Calls, activities=[alone], plugins=[plugin]):
        for _ in range(2):
            result = await runner.client.execute_activity(
                alone,
                id="alone",
                task_queue=runner.task_queue,
                start_to_close_timeout=SOON,
                retry_policy=RetryPolicy(initial_interval=QUICKLY),
            )
            assert result == 2
    assert seen == [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9] * 2


async def test_local_activities_have_loops_too_and_each_call_its_own(runner):
    seen = []

    @activity.defn
    async def local() -> None:
        async for item in state.resumable(range(4)):
            seen.append(item)
            if attempt() == 1 and item == 2:
                raise again()

    async with runner.worker(CallsLocally, activities=[local]):
        await runner.run(CallsLocally.run, ["local"], 5, 2)
    assert seen == [0, 1, 2, 2, 3] * 2


async def test_an_activity_of_a_workflow_without_the_plugin_has_loops(runner):
    """As of one in another language: there is no header."""
    seen = []

    @activity.defn
    async def foreign() -> None:
        async for item in state.resumable(range(4)):
            seen.append(item)
            if attempt() == 1 and item == 2:
                raise again()

    plain = dataclasses.replace(runner, task_queue=f"plain-{runner.task_queue}")
    async with (
        plain.worker(CallsElsewhere, plugins=[]),
        runner.worker(Calls, activities=[foreign]),
    ):
        await plain.run(CallsElsewhere.run, runner.task_queue)
    assert seen == [0, 1, 2, 2, 3]


@workflow.defn
class CallsElsewhere:
    @workflow.run
    async def run(self, task_queue: str) -> None:
        await workflow.execute_activity(
            "foreign",
            task_queue=task_queue,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=QUICKLY),
        )


@workflow.defn
class LoopsItself:
    @workflow.run
    async def run(self) -> str:
        for function in (state.resumable, state.sync.resumable):
            try:
                function([1])
            except ContextError:
                continue
            return f"{function} worked"
        return "refused"


async def test_workflow_code_and_scripts_have_no_such_loop(runner):
    async with runner.worker(LoopsItself):
        assert await runner.run(LoopsItself.run) == "refused"
    for function in (state.resumable, state.sync.resumable):
        with pytest.raises(ContextError):
            function([1])


async def test_each_kind_of_activity_is_told_which_one_is_its_own(runner):
    async def asynchronous() -> None:
        with pytest.raises(ContextError, match="await"):
            state.sync.resumable([1])

    def threaded() -> None:
        with pytest.raises(ContextError, match=r"state\.sync\.resumable"):
            state.resumable([1])

    await call(runner, asynchronous, threaded)


@KINDS
async def test_heartbeats_are_sent_with_the_position_and_progress_is_recorded(runner, kind):
    """Without heartbeats the first attempt would end at half of its time."""
    details, ended = [], []

    def body(item, _loop):
        time.sleep(0.01)
        if item == 100 and attempt() == 1:
            ended.append(item)
            raise again()

    run = loop(kind, body, range(110))

    async def asynchronous():
        details.append(activity.info().heartbeat_details)
        async for item in state.resumable(range(110)):
            await asyncio.sleep(0.01)
            body(item, None)

    def threaded():
        details.append(activity.info().heartbeat_details)
        run()

    run_it = asynchronous if kind == "async" else threaded
    await call(runner, run_it, beats=0.6, max_heartbeat_throttle_interval=PROMPTLY)
    assert ended == [100]
    assert not details[0]
    assert 0 < details[1][0] <= 100
    (listed,) = await runner.backend.runs.list()
    (step,) = await runner.backend.runs.steps(listed.workflow_id)
    assert (step.progress.done, step.progress.total) == (110, 110)


class Gated(FailingStore):
    """Holds saves of positions back until the gate is opened."""

    gate: asyncio.Event

    async def update(self, key, change):
        if "/loops/" in key:
            await self.gate.wait()
        await super().update(key, change)


async def test_the_loop_goes_on_while_it_is_saved_and_waits_before_one_item_too_many(runner):
    seen, waits = [], []
    store = Gated(runner.backend.store)
    store.gate = asyncio.Event()

    async def run() -> None:
        async for item in state.resumable(range(100), every=10):
            seen.append(item)
            await asyncio.sleep(0)

    async def watch():
        while len(seen) < 10:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        waits.append(len(seen))
        store.gate.set()

    async with StateBackend.open(store) as backend:
        runner.backend = backend
        watching = asyncio.create_task(watch())
        await call(runner, run)
        await watching
    assert waits == [10]
    assert seen == list(range(100))


@KINDS
async def test_a_store_that_fails_for_a_while_is_tried_again(runner, kind):
    seen, errors = [], []
    store = FailingStore(runner.backend.store)

    def body(item, _loop):
        seen.append(item)
        if item == 4:
            store.error = StoreError("the disk is gone")

    async def mend():
        while len(seen) < 10:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        errors.append(len(seen))
        store.error = None

    async with StateBackend.open(store) as backend:
        runner.backend = backend
        plugin = StatePlugin(backend, recording=None)
        mending = asyncio.create_task(mend())
        await call(runner, loop(kind, body, range(100), every=10), plugins=[plugin])
        await mending
    assert errors == [10]  # up to there, without waiting for the store
    assert seen == list(range(100))


@KINDS
async def test_a_store_that_stays_away_fails_the_attempt_and_repeats_no_more_than_promised(
    runner, kind
):
    seen = []
    store = FailingStore(runner.backend.store)
    limits = Limits(operation_timeout=timedelta(seconds=0.5))

    def body(item, _loop):
        seen.append(item)
        if attempt() == 1 and item == 20:
            store.error = StoreError("the disk is gone")

    async def asynchronous():
        try:
            await loop(kind, body, range(100), every=10)()
        except StoreError as error:
            assert str(error) == "the disk is gone"  # noqa: PT017 it goes on as it is
            store.error = None
            raise

    def threaded():
        try:
            loop(kind, body, range(100), every=10)()
        except StoreError:
            store.error = None
            raise

    async with StateBackend.open(store, limits=limits) as backend:
        runner.backend = backend
        plugin = StatePlugin(backend, recording=None)
        function = asynchronous if kind == "async" else threaded
        await call(runner, function, plugins=[plugin])
    assert set(seen) == set(range(100))
    assert len(seen) <= 110


async def test_a_position_that_cannot_be_read_is_never_the_first(runner):
    async def run() -> None:
        if attempt() == 2:
            (path,) = runner.backend.store.root.rglob("loops/*/*.json")
            path.write_bytes(b'{"done": ')
        async for item in state.resumable(range(10)):
            if item == 5:
                raise again()

    assert await failure_of(runner, run) == "DamagedObjectError"


async def test_the_position_is_saved_after_a_time_too(runner):
    saved = []

    async def run() -> None:
        options = {"every": 1000, "interval": timedelta(seconds=0.1)}
        async for item in state.resumable(range(30), **options):
            await asyncio.sleep(0.02)
            if item == 29:
                saved.extend(position["done"] for position in positions(runner.backend))

    await call(runner, run)
    assert saved
    assert 10 < saved[0] < 30


@pytest.fixture
async def memory():
    store = MemoryStore()
    await store.open()
    return Positions(Engine(store), Layout("app"))


REF = LoopRef(ChainRef("default", "wf", "run"), "call", "loop-1")


async def test_an_attempt_that_was_given_up_cannot_move_the_position_of_a_later_one(memory):
    first, second = (
        Position(run="r", attempt=1, writer="a"),
        Position(run="r", attempt=2, writer="b"),
    )
    await memory.save(REF, dataclasses.replace(first, done=9, number=1))
    await memory.save(REF, dataclasses.replace(second, done=5, number=1))
    with pytest.raises(ConflictError, match="attempt 2"):
        await memory.save(REF, dataclasses.replace(first, done=20, number=2))
    assert (await memory.read(REF)).done == 5


async def test_a_write_that_arrives_late_does_not_take_the_position_back(memory):
    for done, number in ((5, 1), (20, 3), (10, 2)):
        await memory.save(REF, Position(done, run="r", attempt=1, writer="a", number=number))
    assert (await memory.read(REF)).done == 20


@pytest.mark.parametrize("other", ["wf", "WF", "w/f", "x" * 300, "."])
async def test_loops_of_other_names_runs_and_calls_are_other_positions(memory, other):
    refs = [
        dataclasses.replace(REF, name=other),
        dataclasses.replace(REF, call=other),
        dataclasses.replace(REF, home=ChainRef("default", "wf", other)),
        dataclasses.replace(REF, home=ChainRef(other, "wf", "run")),
        REF,
    ]
    for n, ref in enumerate(refs):
        assert await memory.read(ref) is None
        await memory.save(ref, Position(n))
    assert [(await memory.read(ref)).done for ref in refs] == [0, 1, 2, 3, 4]


class Xor(PayloadCodec):
    async def encode(self, payloads):
        return [
            Payload(metadata={"encoding": b"x"}, data=bytes(b ^ 7 for b in p.SerializeToString()))
            for p in payloads
        ]

    async def decode(self, payloads):
        return [Payload.FromString(bytes(b ^ 7 for b in p.data)) for p in payloads]


async def test_an_encrypted_store_has_no_value_in_the_clear(runner):
    async def run() -> str:
        async for item in (items := state.resumable(range(10))):
            items.value = "secret"
            if attempt() == 1 and item == 5:
                raise again()
        return items.value

    inner = runner.backend.store
    async with StateBackend.open(inner, transform=CodecTransform(Xor())) as backend:
        runner.backend = backend
        plugin = StatePlugin(backend, recording=None)
        assert await call(runner, run, plugins=[plugin]) == "secret"
    stored = [path.read_bytes() for path in inner.root.rglob("loops/*/*.json")]
    assert len(stored) == 1
    assert b"secret" not in stored[0]
