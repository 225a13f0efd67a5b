"""How a transaction becomes one change of all its documents: marks, one decision, then the rest.

    record pending → a mark in each document, in the order of their keys → record committed
    → each document as it will be, without its mark → no record

Marks keep others from changing what was read, so at the decision everything that the transaction
saw is still so: that is the moment at which it happens. All that can fail is done before. Who waits
for a mark holds only marks of smaller keys, so nobody waits in a circle.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b

from temporal_state.documents._edits import Edit, in_order
from temporal_state.documents._engine import Engine
from temporal_state.documents._envelope import Envelope, join
from temporal_state.documents._layout import Address, record_beside
from temporal_state.documents._ledger import Record, Status, name_of, new_record, refuse_marked
from temporal_state.documents._marks import hold, holder
from temporal_state.documents._tokens import Token
from temporal_state.documents._transaction import Seen
from temporal_state.errors import StateError, StoreTimeoutError, TransactionConflictError
from temporal_state.storage import Change

log = logging.getLogger("temporal_state")

_ROUNDS = 8
_COLLECTS = 4


class _AppliedError(Exception):
    """The caller's change was applied by an earlier attempt."""


async def commit(
    engine: Engine, reads: Mapping[Address, Seen], edits: Mapping[Address, Sequence[Edit]]
) -> None:
    """Apply all edits if all that was seen still holds, once for the caller's token.

    Raises:
        TransactionConflictError: Something that was seen has changed; nothing is written.
        StoreError: The store failed; unless the error says otherwise, nothing is written.
    """
    engine = engine.on_behalf_of(replace(engine.caller, max_result=None))
    places = sorted({*reads, *edits}, key=lambda place: place.key)
    if not edits:
        if len(reads) > 1:
            await _check_all(engine, reads)
    elif len(places) == 1:
        await _change_one(engine, places[0], reads.get(places[0]), edits[places[0]])
    else:
        await _change_all(engine, places, reads, edits)


async def snapshot(engine: Engine, places: Sequence[Address]) -> Sequence[Envelope]:
    """Return the documents as they all were at one moment.

    What was the same at the end of one reading of all and at the start of the next was so in
    between. Where changes come too fast for that, they are held up for a moment.
    """
    engine = engine.on_behalf_of(replace(engine.caller, now=engine.now(), token=None))
    before: Sequence[Seen] = ()
    for _ in range(_COLLECTS):
        found = await asyncio.gather(*(engine.look(place) for place in places))
        seen = [Seen.of(envelope) for envelope in found]
        if len(places) <= 1 or seen == before:
            return found
        before = seen
    in_order = sorted(places, key=lambda place: place.key)
    for number in range(_ROUNDS):
        attempt = _Attempt.of(engine, in_order, {}, {}, number)
        if await attempt.look():
            return [attempt.seen[place] for place in places]
        await _pause(number)
    raise _overtaken(in_order)


async def _check_all(engine: Engine, reads: Mapping[Address, Seen]) -> None:
    # Each was so when it was read, and is so now: so all were at once, in between.
    found = await asyncio.gather(*(engine.look(place) for place in reads))
    for envelope in found:
        reads[envelope.address].check(envelope)


async def _change_one(
    engine: Engine, place: Address, seen: Seen | None, edits: Sequence[Edit]
) -> None:
    def edit(envelope: Envelope, now: datetime) -> bool:
        if seen is not None:
            seen.check(envelope)
        return in_order(edits)(envelope, now)

    await engine.change(place, edit)


async def _change_all(
    engine: Engine,
    places: Sequence[Address],
    reads: Mapping[Address, Seen],
    edits: Mapping[Address, Sequence[Edit]],
) -> None:
    for number in range(_ROUNDS):
        attempt = _Attempt.of(engine, places, reads, edits, number)
        try:
            await _check_all(engine, reads)  # most conflicts cost no write then
            if await attempt.run():
                return
        except _AppliedError:
            return
        except TransactionConflictError:
            if await _is_applied(engine, edits):
                return
            raise
        await _pause(number)
    raise _overtaken(places)


async def _is_applied(engine: Engine, places: Mapping[Address, object]) -> bool:
    token = engine.caller.token
    if token is None:
        return False
    found = await asyncio.gather(*(engine.look(place) for place in places))
    return any(envelope.tokens.is_applied(token) for envelope in found)


async def _pause(number: int) -> None:
    await asyncio.sleep(random.uniform(0, min(0.005 * 2**number, 0.5)))  # noqa: S311 no secret


def _overtaken(places: Sequence[Address]) -> StoreTimeoutError:
    return StoreTimeoutError(
        f"a transaction of {', '.join(map(str, places))} was aborted by others {_ROUNDS} times, "
        "because it took longer than transaction_patience; nothing was written: try again, and "
        "look at how long the store takes"
    )


@dataclass(slots=True)
class _Attempt:
    """One attempt at holding all documents, under a name of its own.

    Attributes:
        seen: The documents as they were when they were marked.
        mine: What the names of the attempts for the same token start with, if this one may abort
            them without waiting: the first does. Two that do would abort each other for ever.
    """

    engine: Engine
    record: Record
    reads: Mapping[Address, Seen]
    edits: Mapping[Address, Sequence[Edit]]
    mine: str | None
    seen: dict[Address, Envelope] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        engine: Engine,
        places: Sequence[Address],
        reads: Mapping[Address, Seen],
        edits: Mapping[Address, Sequence[Edit]],
        number: int,
    ) -> "_Attempt":
        token = engine.caller.token
        family = "" if token is None else f"{_digest(token)}-"
        key = record_beside(places[0].key, f"{family}{secrets.token_hex(16)}")
        record = new_record(key, places, engine.clock())
        return cls(engine, record, reads, edits, family if family and number == 0 else None)

    async def run(self) -> bool:
        """Return whether all edits are made; not, if others have aborted this attempt."""
        try:
            record = await self._hold_all()
        except (Exception, asyncio.CancelledError) as error:
            await self._give_up(error)
            raise
        try:
            decided = await self.engine.ledger.decide(record, Status.COMMITTED)
        except (Exception, asyncio.CancelledError) as error:
            # What failed may have been the reply to the decision: only the record knows.
            status = await self._close(error)
            if status is Status.COMMITTED and isinstance(error, Exception):
                return True
            raise
        await self._finish(Status.COMMITTED if decided else Status.ABORTED)
        return decided

    async def look(self) -> bool:
        """Return whether `seen` is what all documents were at one moment; change nothing."""
        try:
            record = await self._hold_all()
            return await self.engine.ledger.decide(record, Status.ABORTED)
        finally:
            await self._finish(Status.ABORTED)

    async def _hold_all(self) -> Record:
        record = await self.engine.ledger.begin(self.record)
        for place in record.documents:
            what = f"holding {place} for a transaction"
            await self.engine.update(place, self._holding(place), what, mine=self.mine)
        return record

    def _holding(self, place: Address) -> Change:
        name, token = name_of(self.record.key), self.engine.caller.token

        def change(data: bytes | None) -> bytes | None:
            envelope = Envelope.decode(place, data)
            refuse_marked(envelope, but=name)
            if holder(envelope) == name:
                return None
            self._check(place, data)
            hold(envelope, name, self._after(place, data), token)
            return join(*envelope.encode())

        return change

    def _check(self, place: Address, data: bytes | None) -> None:
        token = self.engine.caller.token
        self.seen[place] = envelope = Envelope.decode(place, data)
        envelope.expire(self.engine.now())
        if token is not None and place in self.edits and envelope.tokens.is_applied(token):
            raise _AppliedError
        if place in self.reads:
            self.reads[place].check(envelope)

    def _after(self, place: Address, data: bytes | None) -> Envelope | None:
        if place not in self.edits:
            return None
        after = Envelope.decode(place, data)
        changed = self.engine.apply(after, in_order(self.edits[place]))
        return None if changed is None else after

    async def _give_up(self, error: BaseException) -> None:
        try:
            ending = self.engine.ledger.give_up(self.record)
            await self.engine.to_the_end(ending, f"ending {self.record.key}")
        except StateError as failure:
            error.add_note(f"what it left in the store is undone by whoever meets it ({failure})")

    async def _close(self, error: BaseException) -> Status:
        try:
            closing = self.engine.ledger.close(self.record)
            return await self.engine.to_the_end(closing, f"ending {self.record.key}")
        except StateError as failure:
            error.add_note(f"what it left in the store is undone by whoever meets it ({failure})")
            return Status.ABORTED

    async def _finish(self, status: Status) -> None:
        # The decision has been made and everybody sees it, so nothing here may fail the caller.
        try:
            ending = self.engine.ledger.end(replace(self.record, status=status))
            await self.engine.to_the_end(ending, f"ending {self.record.key}")
        except StateError as failure:
            log.warning("transaction %s is left to others to end: %s", self.record.key, failure)


def _digest(token: Token) -> str:
    return blake2b(f"{token.step} {token.change}".encode(), digest_size=8).hexdigest()
