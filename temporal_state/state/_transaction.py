"""Transactions in all three contexts: reads as they come, changes by one operation at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporal_state.documents import Envelope, Name, Transaction, check_id
from temporal_state.state._context import now_here, perform_here
from temporal_state.temporal.requests import Commit, Look


@asynccontextmanager
async def transaction(*, key: str | None = None) -> AsyncIterator[Transaction]:
    """Change several documents together, or none of them.

    Example:
        async with state.transaction() as tx:
            order = await tx.get("order-1")
            await tx.merge("order-1", {"paid": True})
            await tx.merge(None, {"sum": order["sum"]})  # the run's own document

    Changes are made at the end of the block; if it raises, none is. Nothing is locked meanwhile: if
    another has changed what the block has read, nothing is written, and the block has to run again.

    Args:
        key: In an activity that Temporal may run again: names the change, so that it is made once
            although the block would then read, and so compute, other values. Workflow code needs
            none.

    Raises:
        TransactionConflictError: At the end, if something that was read has changed.
        TooLargeError: More than 16 documents, or one of them would be too large.
    """
    tx = Transaction(_look, now_here)
    try:
        yield tx
    finally:
        tx.close()
    if tx.edits or len(tx.reads) > 1:
        await perform_here(Commit.of(tx, None if key is None else check_id(key, "key")))


async def _look(name: Name) -> Envelope:
    request = Look(id=name[0], type=name[1])
    return request.envelope(await perform_here(request))
