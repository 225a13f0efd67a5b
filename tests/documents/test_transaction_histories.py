"""Serialisable: every history of transactions and single operations is that of some serial order.

Participants share a store on which each call takes a drawn time, before and after its effect; some
are so slow that others abort them, some die at a drawn call. Time is virtual, so a history is the
same each time. Then an order is looked for that agrees with real time and explains every read and
what is there in the end; what a participant did that died, or was left without an answer, may have
happened or not.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporal_state import Limits, StateBackend, StoreError, TransactionConflictError
from temporal_state.documents import Caller, Token
from temporal_state.storage import MemoryStore

IDS = ["a", "b", "c"]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LIMITS = Limits(operation_timeout=timedelta(minutes=5), transaction_patience=timedelta(seconds=10))


@dataclass
class Event:
    """One operation as its caller saw it: when, what it read, what it wrote."""

    start: float
    end: float = float("inf")
    reads: dict[str, Any] = field(default_factory=dict)
    writes: dict[str, Any] = field(default_factory=dict)
    certain: bool = False


class SlowStore:
    """A store as one participant has it: each call takes a while, and one may be the last."""

    def __init__(self, inner, seed, last) -> None:
        self.inner, self.url = inner, inner.url
        self.random = random.Random(seed)
        self.left = last
        self.dead = asyncio.Event()

    async def open(self):
        await self.inner.open()

    async def close(self):
        pass

    def __getattr__(self, name):
        async def call(*args, **options):
            await self._wait()
            result = await getattr(self.inner, name)(*args, **options)
            await self._wait()
            return result

        return call

    async def _wait(self):
        self.left -= 1
        if self.left <= 0:
            self.dead.set()
            await asyncio.Event().wait()
        slow = self.random.random() < 0.02
        await asyncio.sleep(self.random.uniform(10, 25) if slow else self.random.uniform(0, 0.02))


async def perform(backend, operation, value, event):
    kind, ids, writes = operation
    documents = backend.documents
    if kind == "get":
        event.reads[ids[0]] = await documents.get(ids[0])
    elif kind == "get_many":
        found = await documents.get_many(ids)
        event.reads.update(zip(ids, found, strict=True))
    elif kind == "merge":
        event.writes[ids[0]] = {"v": value}
        await documents.merge(ids[0], {"v": value})
    elif kind == "delete":
        event.writes[ids[0]] = {}
        await documents.delete(ids[0])
    else:
        async with backend.transaction() as tx:
            for id in ids:
                event.reads[id] = await tx.get(id)
            for id in writes:
                event.writes[id] = {} if kind == "remove" else {"v": value}
                await (tx.delete(id) if kind == "remove" else tx.replace(id, {"v": value}))


async def participate(slow, operations, history, number):
    backend = StateBackend.open(slow, app="tests", limits=LIMITS)
    await backend.start()
    clock = asyncio.get_running_loop().time
    for n, operation in enumerate(operations):
        event = Event(clock())
        working = asyncio.ensure_future(perform(backend, operation, f"{number}.{n}", event))
        dying = asyncio.ensure_future(slow.dead.wait())
        await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not working.done():
            history.append(Event(event.start, writes=event.writes))
            return working
        event.end = clock()
        try:
            working.result()
        except TransactionConflictError:
            continue
        except StoreError:
            history.append(Event(event.start, writes=event.writes))
            continue
        event.certain = True
        history.append(event)
    return None


async def run(participants, seed):
    store, history = MemoryStore(), []
    others = StateBackend.open(store, app="tests", limits=LIMITS)
    await others.start()
    zombies = await asyncio.gather(
        *(
            participate(SlowStore(store, f"{seed}-{number}", last), operations, history, number)
            for number, (operations, last) in enumerate(participants)
        )
    )
    final = await others.documents.get_many(IDS)
    await others.documents.sweep_transactions(timedelta())
    assert not await store.list(others.layout.transaction(""))
    assert await others.documents.get_many(IDS) == final
    end = asyncio.get_running_loop().time()
    history.append(Event(end, reads=dict(zip(IDS, final, strict=True)), certain=True))
    await buried(zombies)
    return history


async def buried(zombies):
    """Cancel tasks that wait for ever, and let all that they wait for run out of time."""
    for zombie in zombies:
        if zombie is not None:
            zombie.cancel()
    await asyncio.sleep(timedelta(days=1).total_seconds())


def explained(history):
    """Return whether a serial order in agreement with real time explains all that was seen."""

    def search(left, state):
        if not any(history[n].certain for n in left):
            return True
        first_end = min(history[n].end for n in left)
        for n in left:
            event = history[n]
            if event.start > first_end:
                continue
            rest = left - {n}
            if not event.certain and search(rest, state):
                return True
            fits = all(state.get(id, {}) == seen for id, seen in event.reads.items())
            if fits and search(rest, {**state, **event.writes}):
                return True
        return False

    return search(frozenset(range(len(history))), {})


ids = st.lists(st.sampled_from(IDS), unique=True, max_size=3)
operations = st.tuples(
    st.sampled_from(["tx", "tx", "tx", "remove", "get_many", "get", "merge", "delete"]), ids, ids
).filter(lambda op: op[1] or (op[0] in {"tx", "remove"} and op[2]))
participants = st.lists(
    st.tuples(st.lists(operations, min_size=1, max_size=3), st.integers(1, 60) | st.just(10**9)),
    min_size=2,
    max_size=4,
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(participants=participants, seed=st.integers(0, 2**32))
def test_every_history_is_that_of_some_serial_order(virtually, participants, seed):
    random.seed(seed)
    history = virtually(lambda: run(participants, seed))
    assert explained(history), "\n".join(map(str, history))


async def commit_twice_at_once(seed, last):
    """Two attempts of one transaction, and others that change the same documents."""
    store = MemoryStore()
    others = StateBackend.open(store, app="tests", limits=LIMITS)
    await others.start()
    await others.documents.merge("a", {"n": 1})
    token = Token("step", NOON)

    async def attempt(number, last):
        slow = SlowStore(store, f"{seed}-{number}", last)
        backend = StateBackend.open(slow, app="tests", limits=LIMITS)
        await backend.start()
        documents = backend.documents_for(Caller(NOON, token))
        async with documents.transactions.transaction() as tx:
            await tx.merge("a", {"mine": True})
            await tx.merge("b", {"mine": True})

    first = asyncio.ensure_future(attempt(1, last))
    await asyncio.sleep(random.uniform(0, 0.1))
    await asyncio.gather(attempt(2, 10**9), others.documents.merge("b", {"n": 2}))
    if last > 1000:
        await first
    await buried([first])
    assert (await others.documents.read("a")).version == 2
    assert (await others.documents.read("b")).version == 2
    expected = [{"n": 1, "mine": True}, {"n": 2, "mine": True}]
    assert await others.documents.get_many(["a", "b"]) == expected


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), last=st.integers(1, 40) | st.just(10**9))
def test_two_attempts_at_once_of_one_transaction_apply_once(virtually, seed, last):
    random.seed(seed)
    virtually(lambda: commit_twice_at_once(seed, last))
