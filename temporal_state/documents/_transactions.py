"""Transactions as they are used: a block, a function that is run again, a reading of one moment."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from temporal_state.documents._commit import commit, snapshot
from temporal_state.documents._edits import Edit
from temporal_state.documents._engine import Engine
from temporal_state.documents._envelope import Envelope
from temporal_state.documents._layout import Address
from temporal_state.documents._ledger import Status
from temporal_state.documents._transaction import (
    Name,
    Seen,
    Transaction,
    TransactionEdit,
    check_count,
)
from temporal_state.errors import DamagedObjectError, TransactionConflictError

log = logging.getLogger("temporal_state")

T = TypeVar("T")
Place: TypeAlias = Callable[[Name], Address]
"""Where a document lies; raises if there can be none of that name."""

_PAUSES = (0.005, 0.5)
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions on behalf of one caller.

    Attributes:
        engine: Reads and changes the documents.
        place: Where they lie.
    """

    engine: Engine
    place: Place

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """See `StateBackend.transaction`."""
        tx = Transaction(self._look, self.engine.now)
        try:
            yield tx
        finally:
            tx.close()
        await self.commit(tx.reads, tx.edits)

    async def transact(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        attempts: int,
        deadline: timedelta,
    ) -> T:
        """See `StateBackend.transact`."""
        clock = asyncio.get_running_loop().time
        end = clock() + deadline.total_seconds()
        pause, longest = _PAUSES
        while True:
            try:
                async with self.transaction() as tx:
                    result = await function(tx)
            except TransactionConflictError:
                attempts -= 1
                pause = min(2 * pause, longest)
                wait = random.uniform(0, pause)  # noqa: S311 no secret
                if attempts <= 0 or clock() + wait > end:
                    raise
                await asyncio.sleep(wait)
            else:
                return result

    async def commit(self, reads: Mapping[Name, Seen], edits: Sequence[TransactionEdit]) -> None:
        """Apply all edits, in their order, if all that was seen still holds.

        Once for the caller's token, however often it is repeated.

        Raises:
            TransactionConflictError: It does not hold; nothing is written.
            TooLargeError: These are too many documents, or one would be too large.
        """
        check_count({*reads, *(edit.name for edit in edits)})
        by_place: dict[Address, list[Edit]] = {}
        for edit in edits:
            by_place.setdefault(self.place(edit.name), []).append(edit.to_edit())
        await commit(
            self.engine, {self.place(name): seen for name, seen in reads.items()}, by_place
        )

    async def get_many(self, names: Sequence[Name]) -> Sequence[dict[str, Any]]:
        """See `Documents.get_many`."""
        check_count(set(names))
        places = [self.place(name) for name in names]
        distinct = [*dict.fromkeys(places)]
        found = dict(zip(distinct, await snapshot(self.engine, distinct), strict=True))
        return [found[place].state for place in places]

    async def _look(self, name: Name) -> Envelope:
        return await self.engine.look(self.place(name))


async def sweep(engine: Engine, prefix: str, older_than: timedelta) -> int:
    """End the transactions whose records start with ``prefix``; return how many there were.

    Args:
        engine: Reads and changes the documents.
        prefix: What the keys of their records start with.
        older_than: Younger pending ones are left alone.
    """
    after, ended = "", 0
    while True:
        listing = engine.store.list(prefix, after=after, limit=_PAGE)
        keys = await engine.in_time(listing, f"listing {prefix}")
        for key in keys:
            try:
                ended += await _sweep_one(engine, key, older_than)
            except DamagedObjectError as error:
                log.warning("transaction %s cannot be ended: %s", key, error)
        if len(keys) < _PAGE:
            return ended
        after = keys[-1]


async def _sweep_one(engine: Engine, key: str, older_than: timedelta) -> bool:
    record = await engine.ledger.read(key)
    if record is None:
        return False
    if record.status is Status.PENDING and engine.clock() - record.created < older_than:
        return False
    await engine.ledger.close(record)
    return True
