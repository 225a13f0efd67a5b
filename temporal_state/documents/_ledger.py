"""The records of transactions, and what to do about a mark of one.

A record is pending until one conditional write turns it to committed or aborted; that write is the
decision, and only one can succeed. Marks are removed only after it, and the record only after the
last mark. So a mark whose record is gone belongs to a transaction that changed nothing: were it
committed, the mark would have gone first. No name of a record is ever used again.

Nobody can tell a dead owner from a slow one. Whoever has to wait watches a pending record by its
own monotonic clock, and aborts it when its time is over; a slow owner finds out by its failed
decision, and starts again.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from temporal_state.documents._envelope import Envelope, join
from temporal_state.documents._json import dumps, loads
from temporal_state.documents._layout import Address, record_beside
from temporal_state.documents._marks import MarkedError, holder, lifted
from temporal_state.documents._times import from_text, to_text
from temporal_state.errors import ConflictError, DamagedObjectError
from temporal_state.storage import Object, check_key

if TYPE_CHECKING:
    from temporal_state.documents._engine import Engine

SCHEMA = 1
_MOST_WATCHED = 1000
_PAUSES = (0.001, 0.1)


class Status(StrEnum):
    """How far a transaction has come."""

    PENDING = "pending"
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Record:
    """One transaction: its documents, in the order of their keys, and its status."""

    key: str
    status: Status
    created: datetime
    documents: tuple[Address, ...]
    etag: str = ""

    def encode(self) -> bytes:
        """Return the bytes of the record's object."""
        documents = [[place.type, place.id, place.key] for place in self.documents]
        created = to_text(self.created)
        meta = {"schema": SCHEMA, "status": self.status, "created": created}
        # The key makes the bytes, and so the ETag, differ from those of all other records.
        return dumps({**meta, "key": self.key, "documents": documents})

    @classmethod
    def decode(cls, key: str, found: Object) -> "Record":
        """Return the record that `encode` wrote; raises `DamagedObjectError` if it is none."""
        try:
            value = _checked(loads(found.data), key)
            return cls(
                key,
                Status(value["status"]),
                from_text(value["created"]),
                tuple(_place(*place) for place in value["documents"]),
                found.etag,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedObjectError(
                f"the record of a transaction {key} is damaged ({error!r}); restore it, or remove "
                f"it with backend.store.delete({key!r}), which undoes the changes that are still "
                "marked with it"
            ) from error


def _checked(value: dict[str, Any], key: str) -> dict[str, Any]:
    if value["schema"] > SCHEMA:
        raise ValueError(f"its schema {value['schema']} is newer than {SCHEMA}: upgrade")
    if value["key"] != key:
        raise ValueError(f"it is the record {value['key']}")
    return value


def _place(type: str, id: str, key: str) -> Address:
    check_key(key)
    return Address(type, id, key)


class Watch:
    """Since when each pending record has been waited for, by this process's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def age(self, key: str) -> timedelta:
        """Return how long ``key`` has been watched; the first look begins it."""
        if len(self._since) > _MOST_WATCHED:
            self._since.clear()
        now = asyncio.get_running_loop().time()
        return timedelta(seconds=now - self._since.setdefault(key, now))

    def end(self, key: str) -> None:
        """Forget a record."""
        self._since.pop(key, None)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Reads and decides the records in an engine's store."""

    engine: "Engine"

    async def begin(self, record: Record) -> Record:
        """Write a new record, and return it as it is stored."""
        writing = self.engine.store.put(record.key, record.encode(), if_absent=True)
        etag = await self.engine.to_the_end(writing, f"beginning transaction {record.key}")
        return replace(record, etag=etag)

    async def read(self, key: str) -> Record | None:
        """Return a record, or ``None`` if it is gone."""
        found = await self.engine.in_time(self.engine.store.get(key), f"reading {key}")
        return None if found is None else Record.decode(key, found)

    async def decide(self, record: Record, status: Status) -> bool:
        """Decide a pending record; return whether nobody else has."""
        decided = replace(record, status=status)
        writing = self.engine.store.put(record.key, decided.encode(), if_match=record.etag)
        try:
            await self.engine.to_the_end(writing, f"deciding transaction {record.key}")
        except ConflictError:
            return False
        return True

    async def close(self, record: Record) -> Status:
        """Abort a transaction unless it is decided, bring it to its end, and return what it was."""
        while True:
            found = await self.read(record.key) or replace(record, status=Status.ABORTED)
            if found.status is Status.PENDING:
                if not await self.decide(found, Status.ABORTED):
                    continue
                found = replace(found, status=Status.ABORTED)
            await self.end(found)
            return found.status

    async def end(self, record: Record) -> None:
        """Lift all marks of a decided transaction, then drop its record."""
        await self._lift_all(record)
        await self._drop(record)

    async def give_up(self, record: Record) -> None:
        """Abort one's own transaction that one has not tried to commit.

        Only its owner commits it, so here dropping the record is the decision.
        """
        await self._drop(record)
        await self._lift_all(record)

    async def _drop(self, record: Record) -> None:
        dropping = self.engine.store.delete(record.key)
        await self.engine.to_the_end(dropping, f"ending transaction {record.key}")

    async def _lift_all(self, record: Record) -> None:
        name, committed = name_of(record.key), record.status is Status.COMMITTED
        lifts = (self._lift(place, name, committed=committed) for place in record.documents)
        # One that cannot be lifted must not keep the others from it, nor let the record go.
        for outcome in await asyncio.gather(*lifts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def settle(self, address: Address, transaction: str, *, at_once: bool = False) -> None:
        """Return when a document is no longer held by a transaction.

        Args:
            address: The document.
            transaction: Whose mark it has.
            at_once: Abort a pending transaction without waiting for its owner.
        """
        key = record_beside(address.key, transaction)
        pause, longest = _PAUSES
        while True:
            record = await self.read(key)
            if record is None:
                self.engine.watch.end(key)
                return await self._lift(address, transaction, committed=False)
            patience = self.engine.limits.transaction_patience
            if (
                record.status is not Status.PENDING
                or at_once
                or self.engine.watch.age(key) >= patience
            ):
                self.engine.watch.end(key)
                await self.close(record)
                return None
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 no secret
            pause = min(2 * pause, longest)

    async def look(self, address: Address) -> Envelope:
        """Return a document as it is, without waiting; what is not committed does not count."""
        gone = None
        while True:
            getting = self.engine.store.get(address.key)
            found = await self.engine.in_time(getting, f"reading {address}")
            envelope = Envelope.decode(address, None if found is None else found.data)
            held_by = holder(envelope)
            if held_by is None:
                return envelope
            record = await self.read(record_beside(address.key, held_by))
            # Gone between the two reads, it may have been committed; gone before, it was not.
            if record is not None or held_by == gone:
                committed = record is not None and record.status is Status.COMMITTED
                return lifted(envelope, committed=committed, horizon=self._horizon)
            gone = held_by

    @property
    def _horizon(self) -> timedelta:
        return self.engine.limits.retry_horizon

    async def _lift(self, address: Address, transaction: str, *, committed: bool) -> None:
        def change(data: bytes | None) -> bytes | None:
            envelope = Envelope.decode(address, data)
            if holder(envelope) != transaction:
                return None
            return join(*lifted(envelope, committed=committed, horizon=self._horizon).encode())

        lifting = self.engine.store.update(address.key, change)
        await self.engine.to_the_end(lifting, f"ending a transaction of {address}")


def name_of(key: str) -> str:
    """Return the name of a transaction from the key of its record."""
    return key.rpartition("/")[2].removesuffix(".json")


def refuse_marked(envelope: Envelope, *, but: str | None = None) -> None:
    """Raise `MarkedError` if a transaction, other than ``but``, holds the document."""
    held_by = holder(envelope)
    if held_by is not None and held_by != but:
        raise MarkedError(held_by)


def new_record(key: str, documents: Sequence[Address], now: datetime) -> Record:
    """Return a pending record that is yet to be written."""
    return Record(key, Status.PENDING, now, tuple(documents))
