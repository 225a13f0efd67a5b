"""Spans, notes and progress that code says of its run: recorded, and never in its way."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError, WorkflowQueryFailedError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

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
async def parses(n: int) -> str:
    with state.span("parse", attributes={"file": "a.csv"}) as span:
        async with state.span("rows"):
            state.annotate(rows=n)
        span.set(rows=n)
    with pytest.raises(KeyError), state.span("lookup"):
        raise KeyError("secret")
    await asyncio.gather(*(one_of_many(i) for i in range(3)))
    return "parsed"


async def one_of_many(i: int):
    with state.span("many", attributes={"i": i}):
        await asyncio.sleep(0)
        with state.span("inner", attributes={"i": i}):
            await asyncio.sleep(0)


@activity.defn
def threaded(n: int) -> str:
    with state.span("outer"):
        for i in range(n):
            with state.span("inner"):
                state.progress(i + 1, n, "rows")
    state.annotate({"thread": threading.current_thread() is not threading.main_thread()})
    with state.sync.span("sync"):
        state.sync.annotate(sync=True)
    return "done"


@workflow.defn
class Says:
    def __init__(self):
        state.annotate(born=True)
        self.go = False

    @workflow.run
    async def run(self, silent: bool) -> list[str]:
        if not silent:
            state.annotate({"customer": {"id": 7}}, stage="begun")
            state.progress(0, 2)
        result = [
            await workflow.execute_activity(parses, 3, start_to_close_timeout=SOON),
            await workflow.execute_local_activity(threaded, 3, start_to_close_timeout=SOON),
        ]
        if not silent:
            state.annotate(stage="done")
        return result


def by_name(spans):
    found: dict[str, list[Any]] = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found


@pytest.mark.parametrize("sandboxed", [True, False])
async def test_spans_notes_and_progress_are_recorded_and_add_no_event(runner, sandboxed):
    options = {} if sandboxed else {"workflow_runner": UnsandboxedWorkflowRunner()}
    with ThreadPoolExecutor(2) as pool:
        async with runner.worker(
            Says, activities=[parses, threaded], activity_executor=pool, **options
        ):
            handle = await runner.start(Says.run, False)
            silent = await runner.start(Says.run, True)
            assert await handle.result() == ["parsed", "done"] == await silent.result()
    histories = [await one.fetch_history() for one in (handle, silent)]
    kinds = [[e.WhichOneof("attributes") for e in h.events] for h in histories]
    assert kinds[0] == kinds[1]

    run = await runner.backend.runs.get(handle.id)
    assert run.metadata == {
        "born": True,
        "customer": {"id": 7},
        "stage": "done",
        "rows": 3,
        "thread": True,
        "sync": True,
    }
    steps = await runner.backend.runs.steps(handle.id)
    assert [s.progress and (s.progress.done, s.progress.total) for s in steps] == [None, (3, 3)]

    spans = await runner.backend.runs.spans(handle.id)
    names = by_name(spans)
    ids = {span.span_id: span for span in spans}
    assert len(ids) == len(spans) == 1 + 2 + 3 + 6 + 5
    root = names["Says"][0]
    assert root.parent_span_id is None
    assert root.attributes["trace_id"] == run.trace_id
    assert (len(run.trace_id), len(root.span_id)) == (32, 16)
    above = {s.name: ids[s.parent_span_id].name for s in spans if s is not root}
    assert above == {
        "parses": "Says",
        "threaded": "Says",
        "parse": "parses",
        "rows": "parse",
        "lookup": "parses",
        "many": "parses",
        "inner": "outer",
        "outer": "threaded",
        "sync": "threaded",
    } | {"inner": above["inner"]}
    for span in names["inner"]:
        parent = ids[span.parent_span_id]
        assert parent.name in {"many", "outer"}
        assert parent.name == "outer" or parent.attributes == span.attributes
        assert parent.start <= span.start <= span.end <= parent.end
    assert names["parse"][0].attributes == {"file": "a.csv", "rows": 3}
    assert (names["lookup"][0].status, names["lookup"][0].attributes) == (
        "failed",
        {"error": "KeyError"},
    )

    replayer = Replayer(workflows=[Says], plugins=[StatePlugin("/nonexistent/never")], **options)
    for history in histories:
        assert (await replayer.replay_workflow(history)).replay_failure is None


async def test_a_query_says_nothing_of_the_run_that_it_looks_at(on_dev):
    async with on_dev.worker(Asked):
        handle = await on_dev.start(Asked.run)
        assert await handle.result() == "asked"
        for what in ("annotate", "progress"):
            with pytest.raises(WorkflowQueryFailedError, match="only look"):
                await handle.query(Asked.look, what)
    run = await on_dev.backend.runs.get(handle.id)
    assert (run.metadata, run.progress) == ({}, None)


@workflow.defn
class Asked:
    @workflow.run
    async def run(self) -> str:
        return "asked"

    @workflow.query
    def look(self, what: str) -> None:
        if what == "annotate":
            state.annotate(looked=True)
        else:
            state.progress(1, 2)


@activity.defn
async def refuses() -> list[Any]:
    refused = []
    hostile = [
        lambda: state.span(""),
        lambda: state.span("x" * 201),
        lambda: state.span("\ud800"),
        lambda: state.span(7),
        lambda: state.span("s", attributes={"n": float("nan")}),
        lambda: state.span("s", attributes={1: 2}),
        lambda: state.span("s", attributes={"big": "x" * 5000}),
        lambda: state.span("s").set(big="x" * 5000),
        lambda: state.annotate(n=2**64),
        lambda: state.annotate({1: 2}),
        lambda: state.annotate(big="x" * 20_000),
        lambda: [state.annotate({f"k{i}": "x" * 5000}) for i in range(4)],
        lambda: state.progress(float("inf")),
        lambda: state.annotate({"$temporal_state": object()}),
    ]
    for call in hostile:
        try:
            call()
        except (InvalidValueError, TooLargeError) as error:
            refused.append(type(error).__name__)
    return [len(hostile) - len(refused), *sorted(set(refused))]


@workflow.defn
class Refuses:
    @workflow.run
    async def run(self) -> list[Any]:
        refused = []
        for call in (
            lambda: state.span("s"),
            lambda: state.annotate(n=float("nan")),
            lambda: [state.annotate({f"k{i}": "x" * 5000}) for i in range(4)],
        ):
            try:
                call()
            except (ContextError, InvalidValueError, TooLargeError) as error:
                refused.append(type(error).__name__)
        return [
            refused,
            await workflow.execute_activity(
                refuses, start_to_close_timeout=SOON, retry_policy=QUICKLY
            ),
        ]


@pytest.mark.parametrize("recording", [Recording(), None])
async def test_hostile_values_are_refused_where_they_are_said_recorded_or_not(on_dev, recording):
    plugins = [StatePlugin(on_dev.backend, recording=recording)]
    async with on_dev.worker(Refuses, activities=[refuses], plugins=plugins):
        in_workflow, in_activity = await on_dev.run(Refuses.run)
    assert in_workflow == ["ContextError", "InvalidValueError", "TooLargeError"]
    assert in_activity == [0, "InvalidValueError", "TooLargeError"]


async def test_nothing_can_be_said_where_there_is_no_run():
    for call in (lambda: state.span("s"), lambda: state.annotate(a=1), lambda: state.progress(1)):
        with pytest.raises(ContextError, match=r"StateBackend\.runs"):
            call()


@activity.defn
async def has_many(wide: int, deep: int) -> int:
    for _ in range(wide):
        with state.span("wide"):
            pass

    def dig(left):
        with state.span("deep"):
            if left:
                dig(left - 1)

    dig(deep)
    return activity.info().attempt


@activity.defn
async def fails_first() -> int:
    with state.span("try", attributes={"attempt": activity.info().attempt}):
        if activity.info().attempt < 3:
            raise ApplicationError("not yet", type="NotYet")
    return activity.info().attempt


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, name: str, arguments: list) -> Any:
        return await workflow.execute_activity(
            name, args=arguments, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )


async def test_spans_are_bounded_in_number_and_depth_and_the_log_says_so_once(on_dev, caplog):
    async with on_dev.worker(Calls, activities=[has_many]):
        handle = await on_dev.start(Calls.run, "has_many", [10, 40])
        many = await on_dev.start(Calls.run, "has_many", [1100, 0])
        assert await handle.result() == await many.result() == 1
    assert len([r for r in caplog.records if "left out" in r.getMessage()]) == 2
    spans = await on_dev.backend.runs.spans(handle.id)
    assert {n: len(s) for n, s in by_name(spans).items()}["deep"] == 32
    assert len(await on_dev.backend.runs.spans(many.id)) == 2 + 1000


async def test_each_attempt_keeps_its_own_spans(on_dev):
    async with on_dev.worker(Calls, activities=[fails_first]):
        handle = await on_dev.start(Calls.run, "fails_first", [])
        assert await handle.result() == 3
    tries = await on_dev.backend.runs.spans(handle.id, name="try")
    assert [(s.attributes["attempt"], s.attributes.get("error"), s.status) for s in tries] == [
        (1, "NotYet", "failed"),
        (2, "NotYet", "failed"),
        (3, None, "completed"),
    ]


@activity.defn
async def stays_open(door: str) -> None:
    with state.span("waits"):
        DOORS[door][0].set()
        await DOORS[door][1].wait()


DOORS: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}


async def test_a_span_is_seen_while_it_is_open(on_dev):
    reached, opened = DOORS.setdefault("open", (asyncio.Event(), asyncio.Event()))
    recording = Recording(flush_interval=timedelta(milliseconds=20))
    async with on_dev.worker(
        Calls,
        activities=[stays_open],
        plugins=[StatePlugin(on_dev.backend, recording=recording)],
    ):
        handle = await on_dev.start(Calls.run, "stays_open", ["open"])
        await reached.wait()
        async with asyncio.timeout(20):
            while not (found := await on_dev.backend.runs.spans(handle.id, name="waits")):
                await asyncio.sleep(0.02)
        assert (found[0].status, found[0].end) == ("started", None)
        opened.set()
        await handle.result()
    (found,) = await on_dev.backend.runs.spans(handle.id, name="waits")
    assert found.status == "completed"


@workflow.defn
class FailsTask:
    """Notes something in a workflow task that fails, and another thing when it is tried again."""

    @workflow.run
    async def run(self, id: str) -> str:
        await workflow.sleep(0.01)
        if id not in FAILED:
            with workflow.unsafe.sandbox_unrestricted():
                FAILED.add(id)
            state.annotate(tried="first")
            raise RuntimeError("fails the task")
        state.annotate(tried="again")
        return "done"


FAILED: set[str] = set()


async def test_what_a_failed_task_noted_is_replaced(on_dev):
    async with on_dev.worker(FailsTask, workflow_runner=UnsandboxedWorkflowRunner()):
        handle = await on_dev.start(FailsTask.run, uuid.uuid4().hex)
        assert await handle.result() == "done"
    run = await on_dev.backend.runs.get(handle.id)
    assert run.metadata == {"tried": "again"}


@activity.defn
def reports(n: int) -> int:
    for i in range(n):
        state.progress(i + 1, n)
    return n


async def test_what_many_threads_report_at_once_all_arrives(on_dev):
    with ThreadPoolExecutor(8) as pool:
        async with on_dev.worker(
            Calls, activities=[reports], activity_executor=pool, max_concurrent_activities=8
        ):
            handles = [await on_dev.start(Calls.run, "reports", [200]) for _ in range(16)]
            assert [await handle.result() for handle in handles] == [200] * 16
    for handle in handles:
        (step,) = await on_dev.backend.runs.steps(handle.id)
        assert (step.progress.done, step.status, step.ended is not None) == (200, "completed", True)


async def test_a_failure_says_nothing_but_its_type(on_dev):
    @activity.defn
    async def leaks() -> None:
        with state.span("part"):
            raise ValueError("hunter2")

    async with on_dev.worker(Calls, activities=[leaks]):
        with pytest.raises(WorkflowFailureError):
            await on_dev.run(Calls.run, "leaks", [], id=(id := uuid.uuid4().hex))
    spans = await on_dev.backend.runs.spans(id, name="part")
    assert len(spans) == 3
    assert "hunter2" not in repr(spans)
