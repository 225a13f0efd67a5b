"""State from workflow code: awaited, deterministic, applied once, on both servers."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import InvalidValueError, PathTraversalError, StateStore, StateType, state

HOUR = timedelta(hours=1)


class Order(BaseModel):
    status: str = "new"
    total: int = 0


@workflow.defn
class OwnDocument:
    @workflow.run
    async def run(self) -> dict:
        empty = await state.get()
        doc = await state.update(status="loading", total=3)
        await state.set("cursor", 7)
        order = await state.load(Order)
        saved = await state.save(Order(status="done", total=order.total + 1))
        return {
            "empty": empty,
            "doc": doc,
            "cursor": await state.get("cursor", 0),
            "missing": await state.get("missing", "default"),
            "saved": saved.model_dump(),
            "all": await state.get(),
        }


async def test_the_own_document_is_read_and_changed_by_workflow_code(runner):
    async with runner.worker(OwnDocument):
        result = await runner.run(OwnDocument.run)
    assert result == {
        "empty": {},
        "doc": {"status": "loading", "total": 3},
        "cursor": 7,
        "missing": "default",
        "saved": {"status": "done", "total": 4},
        "all": {"status": "done", "total": 4, "cursor": 7},
    }


@workflow.defn
class Shared:
    @workflow.run
    async def run(self, id: str) -> list:
        await StateStore.save_state("a", 1, id, StateType.WORKFLOWS)
        merged = await StateStore.save_state_object(id, {"b": 2}, StateType.WORKFLOWS)
        replaced = await StateStore.replace_state(id, {"c": 3}, "mine")
        exists = await StateStore.state_exists(id, "mine")
        page = await StateStore.list_states("mine", prefix=id)
        deleted = await StateStore.delete_state(id, "mine")
        gone = await StateStore.get_state(id, "mine")
        order = await StateStore.save_model(id, Order(total=5), "orders")
        loaded = await StateStore.load_state(id, Order, "orders")
        return [merged, replaced, exists, page.ids, deleted, gone, order == loaded]


async def test_every_operation_of_the_state_store_works_in_workflow_code(runner):
    id = uuid.uuid4().hex
    async with runner.worker(Shared):
        result = await runner.run(Shared.run, id)
    assert result == [{"a": 1, "b": 2}, {"c": 3}, True, [id], True, {}, True]
    assert await runner.backend.documents.get(id) == {"a": 1, "b": 2}


async def test_a_run_of_state_calls_replays_without_the_store(on_dev):
    from temporalio.worker import Replayer

    from temporal_state import StatePlugin

    async with on_dev.worker(OwnDocument):
        handle = await on_dev.start(OwnDocument.run)
        await handle.result()
    plugin = StatePlugin("/nonexistent/never-opened")
    replayer = Replayer(workflows=[OwnDocument], plugins=[plugin])
    replayed = await replayer.replay_workflow(await handle.fetch_history())
    assert replayed.replay_failure is None


@workflow.defn
class Expiring:
    @workflow.run
    async def run(self, id: str) -> list:
        await StateStore.save_state("k", 1, id, StateType.WORKFLOWS, ttl=HOUR)
        await workflow.execute_activity(save_with_ttl, id, start_to_close_timeout=HOUR)
        before = await StateStore.get_state(id, StateType.WORKFLOWS)
        before_remote = await workflow.execute_activity(read, id, start_to_close_timeout=HOUR)
        await workflow.sleep(timedelta(hours=2))
        after = await StateStore.get_state(id, StateType.WORKFLOWS)
        after_remote = await workflow.execute_activity(read, id, start_to_close_timeout=HOUR)
        return [before, before_remote, after, after_remote]


@activity.defn
async def save_with_ttl(id: str) -> None:
    await StateStore.save_state("remote", 2, id, StateType.WORKFLOWS, ttl=HOUR)


@activity.defn
async def read(id: str) -> dict:
    return await StateStore.get_state(id, StateType.WORKFLOWS)


async def test_a_key_saved_for_an_hour_is_gone_after_two(on_skipping):
    id = uuid.uuid4().hex
    async with on_skipping.worker(Expiring, activities=[save_with_ttl, read]):
        result = await on_skipping.run(Expiring.run, id)
    full = {"k": 1, "remote": 2}
    assert result == [full, full, {}, {}]


@activity.defn
async def own_from_activity() -> dict:
    await state.update(from_activity=True)
    return await state.get()


@workflow.defn
class SharesWithActivity:
    @workflow.run
    async def run(self) -> dict:
        await state.update(from_workflow=True)
        return await workflow.execute_activity(own_from_activity, start_to_close_timeout=HOUR)


async def test_an_activity_sees_the_own_document_of_its_workflow(runner):
    async with runner.worker(SharesWithActivity, activities=[own_from_activity]):
        result = await runner.run(SharesWithActivity.run)
    assert result == {"from_workflow": True, "from_activity": True}


@workflow.defn
class Continued:
    @workflow.run
    async def run(self, round: int) -> list:
        doc = await state.update({f"round-{round}": True})
        if round < 2:
            workflow.continue_as_new(round + 1)
        return [doc, await state.previous()]


async def test_the_chain_shares_its_document_and_a_later_run_reads_it_as_previous(on_dev):
    id = uuid.uuid4().hex
    full = {"round-0": True, "round-1": True, "round-2": True}
    async with on_dev.worker(Continued):
        assert await on_dev.run(Continued.run, 0, id=id) == [full, {}]
        assert await on_dev.run(Continued.run, 2, id=id) == [{"round-2": True}, full]
        assert await on_dev.run(Continued.run, 1, id=id) == [
            {"round-1": True, "round-2": True},
            {"round-2": True},
        ]


@workflow.defn
class Refused:
    @workflow.run
    async def run(self, what: str) -> str:
        calls = {
            "id": lambda: StateStore.get_state("../../etc/passwd", StateType.WORKFLOWS),
            "nan": lambda: state.update(x=float("nan")),
            "big": lambda: state.update(x="x" * 3_000_000),
            "grown": self.grow,
        }
        try:
            await calls[what]()
        except PathTraversalError:
            if what == "id":
                return "caught"
            raise
        return "nothing raised"

    async def grow(self) -> None:
        for n in range(3):
            await state.update({f"part-{n}": "x" * 400_000})


async def test_workflow_code_catches_our_errors_as_any_other_code(runner):
    async with runner.worker(Refused):
        assert await runner.run(Refused.run, "id") == "caught"


@pytest.mark.parametrize(
    ("what", "type"),
    [("nan", "InvalidValueError"), ("big", "TooLargeError"), ("grown", "TooLargeError")],
)
async def test_our_errors_fail_the_workflow_and_not_its_task(on_dev, what, type):
    async with on_dev.worker(Refused):
        handle = await on_dev.start(Refused.run, what)
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(handle.result(), 20)
    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == (type, True)
    events = (await handle.fetch_history()).events
    assert not [e for e in events if e.HasField("workflow_task_failed_event_attributes")]


async def test_a_change_too_large_is_refused_before_it_is_made(on_dev):
    async with on_dev.worker(Refused):
        handle = await on_dev.start(Refused.run, "grown")
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    ref = await on_dev.backend.own_documents.newest("default", handle.id)
    document = await on_dev.backend.own_documents.one(ref).get()
    assert sorted(document) == ["part-0", "part-1"]


@workflow.defn(sandboxed=False)
class Unsandboxed:
    @workflow.run
    async def run(self) -> dict:
        return await state.update(x=1)


async def test_it_works_without_the_sandbox(on_dev):
    async with on_dev.worker(Unsandboxed):
        assert await on_dev.run(Unsandboxed.run) == {"x": 1}
    async with on_dev.worker(OwnDocument, workflow_runner=UnsandboxedWorkflowRunner()):
        assert (await on_dev.run(OwnDocument.run))["cursor"] == 7


@workflow.defn
class Handlers:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> dict:
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return await state.get()

    @workflow.signal
    async def poke(self, n: int) -> None:
        await state.update({f"signal-{n}": n})

    @workflow.update
    async def change(self, n: int) -> dict:
        return await state.update({f"update-{n}": n})

    @workflow.update
    async def refuse(self) -> None:
        await StateStore.get_state("..", StateType.WORKFLOWS)

    @workflow.signal
    def finish(self) -> None:
        self.done = True


async def test_signal_and_update_handlers_use_state_too(runner):
    from temporalio.client import WorkflowUpdateFailedError

    async with runner.worker(Handlers):
        handle = await runner.start(Handlers.run)
        await handle.signal(Handlers.poke, 1)
        assert "update-2" in await handle.execute_update(Handlers.change, 2)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Handlers.refuse)
        assert refused.value.cause.type == "PathTraversalError"
        await handle.signal(Handlers.finish)
        assert await handle.result() == {"signal-1": 1, "update-2": 2}


def test_the_errors_are_the_builtins_that_a_caller_would_catch():
    assert issubclass(PathTraversalError, ValueError)
    assert issubclass(InvalidValueError, ValueError)
