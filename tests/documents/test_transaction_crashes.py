"""All or nothing, whichever call of the store is the last of a process, or fails."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from temporal_state import Limits, StateBackend, StoreError, TransactionConflictError
from temporal_state.documents import Caller, Token, Transaction
from temporal_state.storage import Change, MemoryStore, Object, ObjectInfo, ObjectStore

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CALLS = range(1, 16)  # a transaction of three documents makes thirteen


class Mortal:
    """A store as one process has it: dead from its n-th call on, or failing just that once."""

    def __init__(self, inner: ObjectStore, last: int, *, done: bool, once: bool = False) -> None:
        self.inner, self.url = inner, inner.url
        self.last, self.done, self.once = last, done, once
        self.calls = 0

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        """The process does not close what others use."""

    async def get(self, key: str) -> Object | None:
        return await self._call(self.inner.get(key))

    async def head(self, key: str) -> ObjectInfo | None:
        return await self._call(self.inner.head(key))

    async def put(self, key: str, data: bytes, **conditions) -> str:
        return await self._call(self.inner.put(key, data, **conditions))

    async def update(self, key: str, change: Change) -> None:
        await self._call(self.inner.update(key, change))

    async def delete(self, key: str) -> bool:
        return await self._call(self.inner.delete(key))

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        return await self._call(self.inner.list(prefix, after=after, limit=limit))

    async def _call(self, operation):
        self.calls += 1
        fails = self.calls == self.last if self.once else self.calls >= self.last
        if not fails:
            return await operation
        if self.done and self.calls == self.last:
            await operation
        else:
            operation.close()
        raise StoreError("dead")


async def opened(store, **options):
    backend = StateBackend.open(store, app="tests", **options)
    await backend.start()
    return backend


async def transfer(documents):
    async with documents.transactions.transaction() as tx:
        limit = await tx.get("limit")
        source = await tx.get("b-source")
        await tx.merge("b-source", {"n": source["n"] - limit["n"]})
        await tx.merge("a-target", {"n": limit["n"]})  # absent before


async def value_of_transfer(backend):
    """Return the transaction as it travels to an activity."""
    tx = Transaction(lambda name: backend.engine.look(backend._place(name)), lambda: NOON)
    await tx.get("limit")
    await tx.get("b-source")
    await tx.merge("b-source", {"n": 90})
    await tx.merge("a-target", {"n": 10})
    return tx.reads, tx.edits


async def prepared(store):
    backend = await opened(store)
    await backend.documents.merge("limit", {"n": 10})
    await backend.documents.merge("b-source", {"n": 100})
    return backend


BEFORE = [{"n": 10}, {"n": 100}, {}]
AFTER = [{"n": 10}, {"n": 90}, {"n": 10}]
NAMES = ["limit", "b-source", "a-target"]


async def every_reader(backend):
    """Return what readers of single documents and of all see; they must agree."""
    single = [await backend.documents.get(name) for name in NAMES]
    assert await backend.documents.get_many(NAMES) == single
    listed = (await backend.documents.list()).ids
    assert ("a-target" in listed) == (single[2] != {})
    return single


async def assert_work_goes_on(backend, found):
    assert await every_reader(backend) == found
    for name in NAMES:
        await backend.documents.merge(name, {"more": 1})
    assert await every_reader(backend) == [{**state, "more": 1} for state in found]
    await backend.documents.sweep_transactions(timedelta())
    assert not await backend.store.list(backend.layout.transaction(""))
    for name in NAMES:
        stored = await backend.store.get(backend.layout.document(name, "workflows").key)
        assert b'"tx":null' in stored.data


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("last", CALLS)
def test_a_process_that_dies_at_any_call_leaves_all_or_nothing(virtually, last, done):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        victim = await opened(Mortal(store, last, done=done))
        outcome = None
        try:
            await transfer(victim.documents)
        except StoreError as error:
            outcome = error
        found = await every_reader(others)
        assert found in ([AFTER] if outcome is None else [BEFORE, AFTER])
        await assert_work_goes_on(others, found)

    virtually(main)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("last", CALLS)
def test_one_call_that_fails_leaves_nothing_behind(virtually, last, done):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        victim = await opened(Mortal(store, last, done=done, once=True))
        try:
            await transfer(victim.documents)
        except StoreError:
            assert await every_reader(others) == BEFORE
        else:
            assert await every_reader(others) == AFTER
        await assert_work_goes_on(others, await every_reader(others))

    virtually(main)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("last", CALLS)
def test_a_sweep_ends_what_a_dead_process_began(virtually, last, done):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        victim = await opened(Mortal(store, last, done=done))
        with suppress(StoreError):
            await transfer(victim.documents)
        found = await every_reader(others)
        records = await store.list(others.layout.transaction(""))
        assert await others.documents.sweep_transactions(timedelta()) == len(records) <= 1
        started = asyncio.get_running_loop().time()
        await assert_work_goes_on(others, found)
        assert asyncio.get_running_loop().time() - started < 1

    virtually(main)


def test_a_young_transaction_is_not_swept(virtually):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        victim = await opened(Mortal(store, 6, done=True))
        with pytest.raises(StoreError):
            await transfer(victim.documents)
        (record,) = await store.list(others.layout.transaction(""))
        assert await others.documents.sweep_transactions(timedelta(hours=1)) == 0
        assert await store.list(others.layout.transaction("")) == [record]

    virtually(main)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("last", CALLS)
def test_a_retry_under_the_same_token_applies_once(virtually, last, done):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        token = Token("step", NOON)
        victim = await opened(Mortal(store, last, done=done))
        retry = await opened(store)
        tx = victim.documents.on_behalf_of(Caller(NOON, token)).transactions
        reads, edits = await value_of_transfer(others.documents)
        with suppress(StoreError):
            await tx.commit(reads, edits)
        started = asyncio.get_running_loop().time()
        again = retry.documents.on_behalf_of(Caller(NOON, token)).transactions
        await again.commit(reads, edits)
        assert asyncio.get_running_loop().time() - started < 5, "it waited for itself"
        await again.commit(reads, edits)
        assert await every_reader(others) == AFTER
        versions = [(await others.documents.read(name)).version for name in NAMES]
        assert versions == [1, 2, 1]
        await others.documents.merge("limit", {"n": 11})  # what was read has changed since
        await again.commit(reads, edits)
        await assert_work_goes_on(others, [{"n": 11}, {"n": 90}, {"n": 10}])

    virtually(main)


@pytest.mark.parametrize("last", CALLS)
def test_a_cancelled_transaction_is_made_or_not_made_when_its_caller_goes_on(virtually, last):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        cancelling = Cancelling(store, last)
        victim = await opened(cancelling)
        cancelling.task = asyncio.ensure_future(transfer(victim.documents))
        await asyncio.wait({cancelling.task})
        found = await every_reader(others)
        assert found in ([BEFORE, AFTER] if cancelling.task.cancelled() else [AFTER])
        assert not await store.list(others.layout.transaction(""))
        started = asyncio.get_running_loop().time()
        await assert_work_goes_on(others, found)
        assert asyncio.get_running_loop().time() - started < 1

    virtually(main)


class Cancelling(Mortal):
    """Cancels the task at its n-th call."""

    task: "asyncio.Task[None]"

    def __init__(self, inner: ObjectStore, last: int) -> None:
        super().__init__(inner, last, done=False)

    async def _call(self, operation):
        self.calls += 1
        result = await operation
        if self.calls == self.last:
            self.task.cancel()
            await asyncio.sleep(0.01)
        return result


def test_a_slow_owner_that_was_aborted_starts_again(virtually):
    class Slow(Cancelling):
        async def _call(self, operation):
            self.calls += 1
            if self.calls == self.last:
                await asyncio.sleep(15)
            return await operation

    async def main():
        store = MemoryStore()
        others = await prepared(store)
        for last in range(3, 8):
            slow = await opened(Slow(store, last), limits=Limits(operation_timeout=timedelta(20)))
            task = asyncio.ensure_future(transfer(slow.documents))
            await asyncio.sleep(1)
            await others.documents.merge("a-target", {"n": 0})
            try:
                await task
            except TransactionConflictError:
                pytest.fail("nothing that it had read was changed")
            assert await others.documents.get("b-source") == {"n": 90}
            await others.documents.replace("b-source", {"n": 100})
            assert (await others.documents.get("a-target"))["n"] in {0, 10}

    virtually(main)


def test_a_reader_whom_the_end_of_a_transaction_overtakes_sees_its_changes(virtually):
    async def main():
        store = MemoryStore()
        others = await prepared(store)
        victim = await opened(Mortal(store, 10, done=False))  # just after the decision
        await transfer(victim.documents)
        assert len(await store.list(others.layout.transaction(""))) == 1

        class Overtaken(Mortal):
            async def get(self, key):
                if "/tx/" in key:
                    await others.documents.sweep_transactions(timedelta())
                return await self.inner.get(key)

        reader = await opened(Overtaken(store, 0, done=False))
        assert await reader.documents.get("b-source") == {"n": 90}

    virtually(main)
