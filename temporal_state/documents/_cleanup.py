"""Takes away what nobody can see any more: expired documents, and tombstones that have served.

An object is removed only as it was looked at: somebody may bring it to life in between. A store
that cannot promise that keeps its tombstones, which are small.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from temporal_state.documents._engine import Engine
from temporal_state.documents._envelope import Envelope, id_inside, join
from temporal_state.documents._layout import Address, Folder
from temporal_state.documents._marks import holder
from temporal_state.errors import ConflictError, DamagedObjectError, InvalidValueError
from temporal_state.storage import ConditionalDelete

_PAGE = 64


async def expire(engine: Engine, folder: Folder, now: datetime, limit: int) -> int:
    """Take away the values of what has expired by ``now``; return how many there were.

    One that remembers changes stays as a tombstone, until `purge`.
    """
    removed = 0
    async for envelope, etag in _objects(engine, folder):
        if removed >= limit:
            break
        if envelope.expires_at is None or envelope.expires_at > now:
            continue
        forgettable = not len(envelope.tokens)
        if forgettable and await _remove(engine, envelope.address, etag):
            removed += 1
        else:
            removed += await _bury(engine, envelope, etag, now)
    return removed


async def purge(engine: Engine, folder: Folder, older_than: timedelta | None, limit: int) -> int:
    """Remove the objects of what was deleted or expired that long ago; return how many."""
    age = engine.limits.retry_horizon if older_than is None else older_than
    if age < engine.limits.retry_horizon:
        raise InvalidValueError(
            f"older_than={age} is shorter than retry_horizon={engine.limits.retry_horizon}, so a "
            "change that comes again would be applied twice; give a longer one"
        )
    now, removed = engine.now(), 0
    async for envelope, etag in _objects(engine, folder):
        if removed >= limit:
            break
        died = _died(envelope, now)
        if died is not None and now - died >= age:
            removed += await _remove(engine, envelope.address, etag)
    return removed


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


async def _objects(engine: Engine, folder: Folder) -> AsyncIterator[tuple[Envelope, str]]:
    after = ""
    while True:
        listing = engine.store.list(folder.prefix(), after=after, limit=_PAGE)
        keys = await engine.in_time(listing, f"listing {folder.prefix()}")
        for found in await asyncio.gather(*(_look(engine, folder, key) for key in keys)):
            if found is not None:
                yield found
        if len(keys) < _PAGE:
            return
        after = keys[-1]


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
