"""Transactions in workflow and activity code: the same block, applied once."""

import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, Interceptor, Replayer

import temporal_state
from temporal_state import (
    ContextError,
    StatePlugin,
    StateStore,
    StateType,
    TransactionConflictError,
    state,
)

SOON = timedelta(seconds=30)
W = StateType.WORKFLOWS
COMMIT = "temporal_state.transactions.commit"


@workflow.defn
class Pays:
    @workflow.run
    async def run(self, prefix: str) -> list:
        async with state.transaction() as tx:
            order = await tx.get(f"{prefix}-order")
            await tx.merge(f"{prefix}-order", {"paid": True})
            await tx.merge(f"{prefix}-account", {"balance": -order["sum"]})
            await tx.merge(None, {"last": order["sum"]})
            seen = [await tx.get(f"{prefix}-order"), await tx.get(None)]
        return [*seen, await state.get()]


async def prepared(backend):
    prefix = uuid.uuid4().hex
    await backend.documents.merge(f"{prefix}-order", {"sum": 30})
    return prefix


async def test_a_transaction_in_workflow_code_changes_shared_and_own_documents_together(runner):
    prefix = await prepared(runner.backend)
    async with runner.worker(Pays):
        found = await runner.run(Pays.run, prefix)
    assert found == [{"sum": 30, "paid": True}, {"last": 30}, {"last": 30}]
    documents = runner.backend.documents
    assert await documents.get_many([f"{prefix}-order", f"{prefix}-account"]) == [
        {"sum": 30, "paid": True},
        {"balance": -30},
    ]
    assert (await documents.read(f"{prefix}-account")).version == 1


async def test_a_transaction_replays_without_the_store(on_dev):
    prefix = await prepared(on_dev.backend)
    async with on_dev.worker(Pays):
        handle = await on_dev.start(Pays.run, prefix)
        await handle.result()
    replayer = Replayer(workflows=[Pays], plugins=[StatePlugin("/nonexistent/never-opened")])
    replayed = await replayer.replay_workflow(await handle.fetch_history())
    assert replayed.replay_failure is None


@workflow.defn
class Conflicts:
    @workflow.run
    async def run(self, id: str) -> str:
        try:
            async with state.transaction() as tx:
                await tx.get(id)
                await StateStore.save_state("theirs", 1, id, W)
                await tx.merge(id, {"mine": 1})
                await tx.merge(f"{id}-2", {"mine": 1})
        except TransactionConflictError as error:
            return str(error)
        return "no conflict"


async def test_a_conflict_arrives_as_its_class_and_is_not_retried(runner):
    id = uuid.uuid4().hex
    async with runner.worker(Conflicts):
        message = await runner.run(Conflicts.run, id)
    assert id in message
    assert "version 0" in message
    assert "version 1" in message
    assert await runner.backend.documents.get_many([id, f"{id}-2"]) == [{"theirs": 1}, {}]


@workflow.defn
class Raises:
    @workflow.run
    async def run(self, id: str) -> None:
        async with state.transaction() as tx:
            await tx.merge(id, {"n": 1})
            raise ApplicationError("no", non_retryable=True)


async def test_a_block_that_raises_in_workflow_code_changes_nothing(runner):
    id = uuid.uuid4().hex
    async with runner.worker(Raises):
        with pytest.raises(WorkflowFailureError):
            await runner.run(Raises.run, id)
    assert not await runner.backend.documents.exists(id)


@activity.defn
async def moves_then_fails(id: str, key: str | None) -> None:
    async with state.transaction(key=key) as tx:
        n = (await tx.get(f"{id}-a")).get("n", 0) if key else 0
        await tx.merge(f"{id}-a", {"n": n - 1})
        await tx.merge(f"{id}-b", {"n": n + 1})
    if activity.info().attempt < 4:
        raise ApplicationError("after", next_retry_delay=timedelta(milliseconds=10))


@workflow.defn
class Moves:
    @workflow.run
    async def run(self, id: str, key: str | None) -> None:
        await workflow.execute_activity(
            moves_then_fails, args=[id, key], start_to_close_timeout=SOON
        )


@pytest.mark.parametrize("key", [None, "transfer"])
async def test_a_retried_activity_makes_its_transaction_once(runner, key):
    id = uuid.uuid4().hex
    async with runner.worker(Moves, activities=[moves_then_fails]):
        await runner.run(Moves.run, id, key)
    found = [await runner.backend.documents.read(f"{id}-{name}") for name in "ab"]
    assert [document.value for document in found] == [{"n": -1}, {"n": 1}]
    assert [document.version for document in found] == [1, 1]


class LosesAnswers(Interceptor):
    """Fails the first attempts of the commit when they have done their work."""

    def __init__(self, failures):
        self.failures = failures

    def intercept_activity(self, next):
        losing = self

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                answer = await super().execute_activity(input)
                if losing.failures and activity.info().activity_type == COMMIT:
                    losing.failures -= 1
                    raise ApplicationError("lost", next_retry_delay=timedelta(milliseconds=10))
                return answer

        return Inbound(next)


async def test_the_commit_is_one_regular_activity_whose_retry_applies_once(on_dev):
    prefix = await prepared(on_dev.backend)
    losing = LosesAnswers(2)
    async with on_dev.worker(Pays, interceptors=[losing]):
        handle = await on_dev.start(Pays.run, prefix)
        await handle.result()
    events = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in (await handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert losing.failures == 0
    assert events == [COMMIT]
    assert (await on_dev.backend.documents.read(f"{prefix}-account")).version == 1


async def test_a_script_has_transactions_but_no_own_document(tmp_path, monkeypatch):
    monkeypatch.setattr(temporal_state._default, "_default", None)
    backend = temporal_state.configure(tmp_path)
    id = uuid.uuid4().hex
    async with state.transaction() as tx:
        await tx.merge(id, {"n": 1})
        await tx.merge(f"{id}-2", {"n": 2})
    assert await StateStore.get_state(f"{id}-2", W) == {"n": 2}
    with pytest.raises(ContextError):
        async with state.transaction() as tx:
            await tx.get(None)
    await backend.close()
