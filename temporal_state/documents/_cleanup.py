"""Takes away what nobody can see any more: expired documents, and tombstones that have served.

An object is removed only as it was looked at: somebody may bring it to life in between. A store
that cannot promise that keeps its tombstones, which are small.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import TypeAlias

from temporal_state.documents._engine import Engine
from temporal_state.documents._envelope import Envelope, id_inside, join
from temporal_state.documents._layout import Address, Folder
from temporal_state.documents._marks import holder
from temporal_state.errors import ConflictError, DamagedObjectError, InvalidValueError
from temporal_state.storage import ConditionalDelete

_PAGE = 64


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep through a folder did.

    Attributes:
        removed: How many were taken away.
        looked: How many were looked at.
        cursor: Where the next one goes on; ``None``: this one came to the end.
    """

    removed: int
    looked: int
    cursor: str | None


Clean: TypeAlias = Callable[[Envelope, str], Awaitable[bool]]
"""Takes an object away if that is due, as it was looked at; returns whether it did."""


async def clean_folder(
    engine: Engine, folder: Folder, clean: Clean, *, limit: int, after: str = "", looks: float = inf
) -> Swept:
    """Look at the objects of a folder one after the other, and take away what is due.

    Args:
        engine: Reads and writes them.
        folder: Where they lie.
        clean: What is due.
        limit: At most so many are taken away.
        after: The ``cursor`` of the sweep before.
        looks: At most so many are looked at.
    """
    removed, looked = 0, 0
    while True:
        listing = engine.store.list(folder.prefix(), after=after, limit=_PAGE)
        keys = await engine.in_time(listing, f"listing {folder.prefix()}")
        read = await asyncio.gather(*(_look(engine, folder, key) for key in keys))
        for key, found in zip(keys, read, strict=True):
            if removed >= limit or looked >= looks:
                return Swept(removed, looked, after)
            removed += found is not None and await clean(*found)
            looked, after = looked + 1, key
        if len(keys) < _PAGE:
            return Swept(removed, looked, None)


def expirer(engine: Engine, now: datetime | None = None) -> Clean:
    """Return what takes away the values of what has expired by ``now``, by default the present.

    One that remembers changes stays as a tombstone, until it is purged.
    """
    by = now or engine.now()

    async def clean(envelope: Envelope, etag: str) -> bool:
        if envelope.expires_at is None or envelope.expires_at > by:
            return False
        forgettable = not len(envelope.tokens)
        if forgettable and await _remove(engine, envelope.address, etag):
            return True
        return await _bury(engine, envelope, etag, by)

    return clean


def purger(engine: Engine, older_than: timedelta | None = None) -> Clean:
    """Return what removes the objects of what was deleted or expired so long ago.

    Raises:
        InvalidValueError: ``older_than`` is shorter than the retry horizon.
    """
    age = engine.limits.retry_horizon if older_than is None else older_than
    if age < engine.limits.retry_horizon:
        raise InvalidValueError(
            f"older_than={age} is shorter than retry_horizon={engine.limits.retry_horizon}, so a "
            "change that comes again would be applied twice; give a longer one"
        )
    now = engine.now()

    async def clean(envelope: Envelope, etag: str) -> bool:
        died = _died(envelope, now)
        due = died is not None and now - died >= age
        return due and await _remove(engine, envelope.address, etag)

    return clean


def _died(envelope: Envelope, now: datetime) -> datetime | None:
    """Return since when nobody has needed the object; ``None`` if somebody may still."""
    touched = envelope.tokens.touched()
    if envelope.deleted:
        died = envelope.updated
    elif envelope.expires_at is not None and envelope.expires_at <= now:
        died = envelope.expires_at
    else:
        return None
    return max((time for time in (died, touched) if time is not None), default=None)


async def _look(engine: Engine, folder: Folder, key: str) -> tuple[Envelope, str] | None:
    segment = folder.segment_of(key)
    if segment is None:
        return None
    try:
        found = await engine.in_time(engine.store.get(key), f"reading {key}")
        if found is None:
            return None
        id = folder.id_of(segment) or id_inside(key, found.data)
        envelope = Envelope.decode(Address(folder.type, id, key), found.data)
    except DamagedObjectError:
        return None  # whoever reads it will be told; cleaning must not remove the evidence
    return (envelope, found.etag) if holder(envelope) is None else None  # else it is being changed


async def _remove(engine: Engine, address: Address, etag: str) -> bool:
    if not isinstance(engine.store, ConditionalDelete):
        return False
    removing = engine.store.delete_if_match(address.key, etag)
    return await engine.in_time(removing, f"removing {address}")


async def _bury(engine: Engine, envelope: Envelope, etag: str, now: datetime) -> bool:
    envelope.clear()
    envelope.version += 1
    envelope.updated = now
    address, data = envelope.address, join(*envelope.encode())
    try:
        await engine.in_time(
            engine.store.put(address.key, data, if_match=etag), f"clearing {address}"
        )
    except ConflictError:
        return False  # it has been changed just now, so it is not what had expired
    return True
