"""P7: a resumed run executes nothing again whose completion had been recorded with its result."""

import asyncio
import dataclasses
import os
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from temporal_state import (
    ConflictError,
    NotRecordedError,
    Recording,
    StatePlugin,
    StateStore,
    plan_resume,
    resume,
    state,
)

SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)

ran: Counter[str] = Counter()
broken: set[str] = set()


@pytest.fixture(autouse=True)
def a_clean_slate():
    ran.clear()
    broken.clear()


@pytest.fixture
def runner(on_dev):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    return on_dev


@activity.defn
async def work(name: str) -> str:
    ran[name] += 1
    if name in broken:
        raise ApplicationError(f"{name} is broken", non_retryable=True)
    return f"{name} done"


@activity.defn
def work_in_thread(name: str) -> str:
    ran[name] += 1
    return f"{name} done"


@activity.defn
@state.never_reuse
async def always(name: str) -> str:
    ran[name] += 1
    return f"{name} done"


async def do(name, function=work, **options):
    return await workflow.execute_activity(
        function, name, start_to_close_timeout=SOON, retry_policy=ONCE, **options
    )


async def failed(runner, definition, *args, **options):
    """Run a workflow that fails; return its handle."""
    handle = await runner.start(definition.run, *args, **options)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    return handle


async def again(runner, handle, **options):
    return await resume(runner.client, runner.backend, handle.id, **options)


@workflow.defn
class Five:
    @workflow.run
    async def run(self, prefix: str) -> list[str]:
        return [await do(f"{prefix}{n}") for n in range(5)]


async def test_what_completed_is_not_run_again_and_what_failed_is(runner):
    broken.add("a3")
    async with runner.worker(Five, activities=[work]):
        handle = await failed(runner, Five, "a")
        assert ran == {"a0": 1, "a1": 1, "a2": 1, "a3": 1}
        broken.clear()
        new = await again(runner, handle)
        assert (new.id, await new.result()) == (handle.id, [f"a{n} done" for n in range(5)])
    assert ran == {"a0": 1, "a1": 1, "a2": 1, "a3": 2, "a4": 1}
    old, run = await both_records(runner, handle)
    assert (run.status, run.resumed_from.run_id) == ("completed", old.run_id)
    steps = await runner.backend.runs.steps(handle.id)
    assert [s.taken_over for s in steps] == [True, True, True, False, False]
    assert [s.status for s in steps] == ["completed"] * 5


async def both_records(runner, handle):
    runs = runner.backend.runs
    old = await runs.get(handle.id, run_id=handle.result_run_id or handle.first_execution_run_id)
    return old, await runs.get(handle.id)


async def test_the_history_of_a_resumed_run_is_an_ordinary_one(runner):
    broken.add("a3")
    async with runner.worker(Five, activities=[work]):
        handle = await failed(runner, Five, "a")
        broken.clear()
        new = await again(runner, handle)
        await new.result()
    history = await new.fetch_history()
    replayer = Replayer(workflows=[Five], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(history)
    scheduled = [
        e for e in history.events if e.HasField("activity_task_scheduled_event_attributes")
    ]
    assert len(scheduled) == 5


async def test_a_resumed_run_that_fails_can_be_resumed(runner):
    async with runner.worker(Five, activities=[work]):
        broken.add("a2")
        handle = await failed(runner, Five, "a")
        broken.symmetric_difference_update({"a2", "a4"})
        with pytest.raises(WorkflowFailureError):
            await (await again(runner, handle)).result()
        broken.clear()
        await (await again(runner, handle)).result()
    assert ran == {"a0": 1, "a1": 1, "a2": 2, "a3": 1, "a4": 2}


async def test_resume_on_another_cluster(runner, skipping):
    broken.add("a3")
    async with runner.worker(Five, activities=[work]):
        handle = await failed(runner, Five, "a")
    broken.clear()
    elsewhere = dataclasses.replace(runner, client=skipping.client)
    async with elsewhere.worker(Five, activities=[work]):
        new = await again(elsewhere, handle)
        assert len(await new.result()) == 5
    assert ran == {"a0": 1, "a1": 1, "a2": 1, "a3": 2, "a4": 1}


@workflow.defn(name="Changes")
class Before:
    @workflow.run
    async def run(self) -> str:
        await do("first")
        await workflow.sleep(timedelta(milliseconds=1))
        await do("second")
        return await do("broken")


@workflow.defn(name="Changes")
class After:
    @workflow.run
    async def run(self) -> str:
        await do("new")
        await asyncio.gather(do("second"), do("first"))
        return await do("mended")


async def test_resume_after_the_code_changed_beyond_what_a_replay_allows(runner):
    broken.add("broken")
    async with runner.worker(Before, activities=[work]):
        handle = await failed(runner, Before)
    history = await handle.fetch_history()
    replayer = Replayer(workflows=[After], workflow_runner=UnsandboxedWorkflowRunner())
    with pytest.raises(workflow.NondeterminismError):
        await replayer.replay_workflow(history)
    async with runner.worker(After, activities=[work]):
        new = await again(runner, handle)
        assert await new.result() == "mended done"
    assert ran == {"first": 1, "second": 1, "broken": 1, "new": 1, "mended": 1}


@workflow.defn
class Mixed:
    @workflow.run
    async def run(self) -> list[str]:
        same = await asyncio.gather(*(do("same") for _ in range(3)))
        local = await workflow.execute_local_activity(work, "local", start_to_close_timeout=SOON)
        threaded = await do("threaded", work_in_thread)
        named = await do(f"named {workflow.info().run_id}", activity_id=state.step_name("n"))
        repeated = await do("always", always)
        await workflow.sleep(timedelta(milliseconds=1))
        return [*same, local, threaded, named.split()[0], repeated, await do("last")]


async def test_equal_calls_local_threaded_named_and_never_reused_ones(runner):
    from concurrent.futures import ThreadPoolExecutor

    broken.add("last")
    with ThreadPoolExecutor(2) as pool:
        activities = [work, work_in_thread, always]
        async with runner.worker(Mixed, activities=activities, activity_executor=pool):
            handle = await failed(runner, Mixed)
            broken.clear()
            result = await (await again(runner, handle)).result()
    assert result == [
        *["same done"] * 3,
        "local done",
        "threaded done",
        "named",
        "always done",
        "last done",
    ]
    named = [name for name in ran if name.startswith("named")]
    assert len(named) == 1
    assert {k: v for k, v in ran.items() if k not in named} == {
        "same": 3,
        "local": 1,
        "threaded": 1,
        "always": 2,
        "last": 2,
    }


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> list[str]:
        async def child(name: str) -> str:
            return await workflow.execute_child_workflow(Child.run, name)

        done = await asyncio.gather(child("x"), child("x"))
        return [*done, await child("y"), await do("parent")]


@workflow.defn
class Child:
    @workflow.run
    async def run(self, name: str) -> str:
        document = await state.update({name: 1})
        await do(f"{name} 1")
        if "again" in document:
            return await do(f"{name} 3")
        await do(f"{name} 2")
        await state.update(again=True)
        return workflow.continue_as_new(name)


async def test_children_and_what_they_continued_as_are_resumed_by_the_same_rule(runner):
    broken.add("y 3")
    async with runner.worker(Parent, Child, activities=[work]):
        handle = await failed(runner, Parent)
        broken.clear()
        before = Counter(ran)
        result = await (await again(runner, handle)).result()
    assert result == ["x 3 done", "x 3 done", "y 3 done", "parent done"]
    assert ran - before == {"y 3": 1, "parent": 1}


@workflow.defn
class Remembers:
    @workflow.run
    async def run(self, shared: str) -> dict:
        await state.update(first=1)
        seen = await StateStore.get_state(shared, "workflows")
        await do("counts", counts)
        await do("last")
        return {**(await state.get()), "seen": seen}


@activity.defn
async def counts(name: str) -> None:
    ran[name] += 1
    await state.update(counted=ran[name])
    if ran[name] == 1 and "counts" in broken:
        raise ApplicationError("after the change", non_retryable=True)


@pytest.mark.parametrize("culprit", ["last", "counts"])
async def test_a_resumed_run_goes_on_with_its_document_and_reads_what_it_read(runner, culprit):
    broken.add(culprit)
    shared = uuid.uuid4().hex
    await runner.backend.documents.merge(shared, {"as": "it was"})
    async with runner.worker(Remembers, activities=[work, counts]):
        handle = await failed(runner, Remembers, shared)
        await runner.backend.documents.merge(shared, {"as": "it is"})
        broken.clear()
        new = await again(runner, handle)
        result = await new.result()
    assert result == {"first": 1, "counted": ran["counts"], "seen": {"as": "it was"}}
    assert await runner.backend.runs.document(handle.id) == {"first": 1, "counted": ran["counts"]}
    assert ran["counts"] == (2 if culprit == "counts" else 1)


@dataclass
class Point:
    x: int
    y: float


class Model(BaseModel):
    name: str
    at: timedelta


KINDS = {
    "none": None,
    "bytes": b"\x00\xff",
    "list": [1, "two", None],
    "dataclass": Point(1, 2.5),
    "model": Model(name="m", at=timedelta(seconds=3)),
    "large": "x" * 50_000,
}


@activity.defn
async def none() -> None:
    ran["none"] += 1


@activity.defn
async def some_bytes() -> bytes:
    ran["bytes"] += 1
    return b"\x00\xff"


@activity.defn
async def a_list() -> list[int | str | None]:
    ran["list"] += 1
    return [1, "two", None]


@activity.defn
async def a_dataclass() -> Point:
    ran["dataclass"] += 1
    return Point(1, 2.5)


@activity.defn
async def a_model() -> Model:
    ran["model"] += 1
    return Model(name="m", at=timedelta(seconds=3))


@activity.defn
async def large() -> str:
    ran["large"] += 1
    return "x" * 50_000


MAKERS = [none, some_bytes, a_list, a_dataclass, a_model, large]


@workflow.defn
class AllKinds:
    @workflow.run
    async def run(self, point: Point) -> int:
        for maker, expected in zip(MAKERS, KINDS.values(), strict=True):
            value = await workflow.execute_activity(maker, start_to_close_timeout=SOON)
            assert (value, type(value)) == (expected, type(expected))
        await do("last")
        return point.x


class Nonces(PayloadCodec):
    """Encrypts as if: every time with another nonce."""

    async def encode(self, payloads):
        return [await self._one(p, True) for p in payloads]

    async def decode(self, payloads):
        return [await self._one(p, False) for p in payloads]

    async def _one(self, payload, encoding):
        from temporalio.api.common.v1 import Payload

        if encoding:
            nonce = os.urandom(16)
            data = bytes(b ^ nonce[i % 16] for i, b in enumerate(payload.SerializeToString()))
            return Payload(metadata={"encoding": b"binary/x"}, data=nonce + data)
        assert payload.metadata["encoding"] == b"binary/x"
        nonce, data = payload.data[:16], payload.data[16:]
        return Payload.FromString(bytes(b ^ nonce[i % 16] for i, b in enumerate(data)))


@pytest.mark.parametrize("encrypted", [False, True])
async def test_results_come_back_with_their_types(runner, encrypted):
    converter = pydantic_data_converter
    if encrypted:
        converter = dataclasses.replace(converter, payload_codec=Nonces())
    config = runner.client.config()
    config["data_converter"] = converter
    runner.client = Client(**config)
    broken.add("last")
    async with runner.worker(AllKinds, activities=[work, *MAKERS]):
        handle = await failed(runner, AllKinds, Point(7, 0.5))
        broken.clear()
        assert await (await again(runner, handle)).result() == 7
    assert ran == {**dict.fromkeys(KINDS, 1), "last": 2}
    stored = b"".join(p.read_bytes() for p in runner.backend.store.root.rglob("*.json"))
    assert (b"xxxx" in stored) is not encrypted


async def test_what_was_recorded_without_a_result_runs_again_and_is_listed_before(runner):
    broken.add("a3")
    hides = Recording(
        redact=lambda value, payload: None if b"a1" in payload.data and value.step else payload
    )
    async with runner.worker(
        Five, activities=[work], plugins=[StatePlugin(runner.backend, recording=hides)]
    ):
        handle = await failed(runner, Five, "a")
        broken.clear()
        plan = await plan_resume(runner.client, runner.backend, handle.id)
        named = lambda steps: [step.number for step in steps]  # noqa: E731
        assert (named(plan.taken_over), named(plan.repeated), named(plan.executed)) == (
            [1, 3],
            [2],
            [4],
        )
        assert ran == {"a0": 1, "a1": 1, "a2": 1, "a3": 1}
        await (await again(runner, handle)).result()
    assert ran == {"a0": 1, "a1": 2, "a2": 1, "a3": 2, "a4": 1}


async def test_from_a_step_on_all_is_done_again_also_of_a_run_that_completed(runner):
    async with runner.worker(Five, activities=[work]):
        handle = await runner.start(Five.run, "a")
        await handle.result()
        with pytest.raises(ConflictError, match="completed"):
            await again(runner, handle)
        await (await again(runner, handle, from_step=3)).result()
    assert ran == {"a0": 1, "a1": 1, "a2": 2, "a3": 2, "a4": 2}


async def test_type_input_queue_and_id_can_be_replaced(runner):
    broken.add("a3")
    async with runner.worker(Five, activities=[work]):
        handle = await failed(runner, Five, "a")
    broken.clear()
    other = dataclasses.replace(runner, task_queue=f"other-{runner.task_queue}")
    async with other.worker(Five, activities=[work]):
        new = await again(
            runner,
            handle,
            id=f"new-{handle.id}",
            args=["b"],
            task_queue=other.task_queue,
            workflow=Five.run,
        )
        assert await new.result() == [f"b{n} done" for n in range(5)]
    assert new.id == f"new-{handle.id}"


async def test_memo_attributes_timeouts_and_retries_are_those_of_the_old_run(runner):
    key = SearchAttributeKey.for_keyword("Who")
    kinds = {key.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
    await runner.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace="default", search_attributes=kinds)
    )
    broken.add("a0")
    policy = RetryPolicy(maximum_attempts=1, initial_interval=timedelta(seconds=7))
    async with runner.worker(Five, activities=[work]):
        handle = await failed(
            runner,
            Five,
            "a",
            memo={"who": ["me"]},
            run_timeout=timedelta(minutes=7),
            execution_timeout=timedelta(hours=7),
            task_timeout=timedelta(seconds=7),
            retry_policy=policy,
            search_attributes=TypedSearchAttributes([SearchAttributePair(key, "k")]),
        )
        broken.clear()
        new = await again(runner, handle)
        await new.result()
    described = await new.describe()
    assert await described.memo() == {"who": ["me"]}
    assert described.typed_search_attributes[key] == "k"
    started = (await new.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert started.workflow_run_timeout.ToTimedelta() == timedelta(minutes=7)
    assert started.workflow_execution_timeout.ToTimedelta() == timedelta(hours=7)
    assert started.workflow_task_timeout.ToTimedelta() == timedelta(seconds=7)
    assert started.retry_policy.initial_interval.ToTimedelta() == timedelta(seconds=7)


async def test_an_open_run_and_an_unknown_one_are_refused(runner):
    with pytest.raises(NotRecordedError):
        await resume(runner.client, runner.backend, "nobody")
    handle = await runner.start(Five.run, "a")  # no worker: it stays open
    with pytest.raises(ConflictError, match="open"):
        await again(runner, handle)
    await handle.terminate()


async def test_a_run_without_its_input_asks_for_one(runner):
    broken.add("a3")
    plugin = StatePlugin(runner.backend, recording=Recording(capture="none"))
    async with runner.worker(Five, activities=[work], plugins=[plugin]):
        handle = await failed(runner, Five, "a")
        with pytest.raises(NotRecordedError, match="args="):
            await again(runner, handle)
        broken.clear()
        await (await again(runner, handle, args=["a"])).result()
    assert ran == {"a0": 2, "a1": 2, "a2": 2, "a3": 2, "a4": 1}


@workflow.defn
class Tells:
    @workflow.run
    async def run(self) -> str | None:
        source = state.resumed_from()
        await do("last")
        return source.run_id if source is not None else None


async def test_a_run_knows_which_one_it_resumes(runner):
    broken.add("last")
    async with runner.worker(Tells, activities=[work]):
        handle = await failed(runner, Tells)
        broken.clear()
        new = await again(runner, handle)
        assert await new.result() == handle.result_run_id
        assert await runner.run(Tells.run) is None


@workflow.defn
class Scheduled:
    @workflow.run
    async def run(self) -> str:
        await do("daily")
        return await do("last")


async def test_later_runs_of_a_schedule_do_their_own_work(skipping, backend, on_skipping):
    runner = on_skipping
    runner.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    broken.add("last")
    async with runner.worker(Scheduled, activities=[work]):
        handle = await failed(runner, Scheduled)
        broken.clear()
        new = await again(runner, handle, cron_schedule="* * * * *")
        await skipping.sleep(timedelta(minutes=3))
        while ran["last"] < 3:
            await skipping.sleep(timedelta(minutes=1))
        await new.terminate()
    assert ran["daily"] >= 2  # all but the first
    assert ran["daily"] == ran["last"] - 1


@workflow.defn
class RetriesItself:
    @workflow.run
    async def run(self) -> str:
        await do("once")
        return await do("last")


async def test_a_retry_of_a_resumed_run_takes_over_too(runner):
    broken.add("last")
    async with runner.worker(RetriesItself, activities=[work]):
        handle = await failed(runner, RetriesItself)
        policy = RetryPolicy(
            maximum_attempts=3,
            initial_interval=timedelta(milliseconds=10),
            non_retryable_error_types=[],
        )
        with pytest.raises(WorkflowFailureError):
            await (await again(runner, handle, retry_policy=policy)).result()
        assert ran["last"] == 1 + 3
        broken.clear()
        await (await again(runner, handle)).result()
    assert ran["once"] == 1
