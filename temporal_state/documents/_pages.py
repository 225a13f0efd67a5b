"""Which documents there are, a page at a time.

A listing names keys, and a key is no document: it may be a tombstone, or have expired. So each
object is looked at before its id is told.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from temporal_state.documents._engine import Engine
from temporal_state.documents._envelope import Envelope, id_inside
from temporal_state.documents._ids import check_id
from temporal_state.documents._layout import Address, Folder, Layout
from temporal_state.documents._marks import holder
from temporal_state.documents._types import RESERVED_TYPES
from temporal_state.errors import DamagedObjectError, InvalidNameError, InvalidValueError
from temporal_state.storage import MAX_ENCODED, check_prefix

MAX_PAGE = 1000
_AT_ONCE = 64
_BEYOND = "~" * (MAX_ENCODED + 1)  # greater than every encoded name


@dataclass(frozen=True, slots=True)
class Page:
    """Some ids, in the order of their keys, and where to go on (``None``: that was all)."""

    ids: list[str]
    cursor: str | None


async def list_ids(
    engine: Engine, folder: Folder, prefix: str, limit: int, cursor: str | None
) -> Page:
    """Return the ids in a folder that start with ``prefix``, a page at a time."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidValueError(f"limit={limit} is not 1 to {MAX_PAGE}; choose one that is")
    if prefix:
        check_id(f"{prefix}x", "prefix")
    key_prefix = check_prefix(folder.prefix(prefix))
    after = check_cursor(cursor, folder.key_of(cursor)) if cursor else ""
    if cursor and folder.segment_of(after) != cursor:
        raise _no_cursor(cursor)
    ids: list[str] = []
    while True:
        listing = engine.store.list(key_prefix, after=after, limit=limit)
        keys = await engine.in_time(listing, f"listing {key_prefix}")
        for key, id in zip(keys, await _living(engine, folder, keys), strict=True):
            if id is not None and id.startswith(prefix):
                ids.append(id)
            if len(ids) == limit:
                return Page(ids, folder.segment_of(key))
        if len(keys) < limit:
            return Page(ids, None)
        after = keys[-1]


def check_cursor(cursor: str, place: str) -> str:
    """Return the ``place`` where a list goes on, if a ``cursor`` can name it.

    Raises:
        InvalidValueError: It cannot, so it is none.
    """
    try:
        return check_prefix(place)
    except InvalidNameError:
        raise _no_cursor(cursor) from None


def _no_cursor(cursor: str) -> InvalidValueError:
    return InvalidValueError(f"cursor={cursor[:80]!r} is none; give that of the page before")


async def pages(engine: Engine, folder: Folder, prefix: str) -> AsyncIterator[Page]:
    """Yield all ids in a folder that start with ``prefix``, in pages."""
    page = await list_ids(engine, folder, prefix, _AT_ONCE, None)
    yield page
    while page.cursor is not None:
        page = await list_ids(engine, folder, prefix, _AT_ONCE, page.cursor)
        yield page


async def types_of(engine: Engine, layout: Layout) -> Sequence[str]:
    """Return the types that have objects, with one short listing for each."""
    base, after = f"{layout.base}/", ""
    types: list[str] = []
    while True:
        found = await engine.in_time(
            engine.store.list(base, after=after, limit=1), f"listing {base}"
        )
        if not found:
            return types
        type = found[0].removeprefix(base).partition("/")[0]
        if type not in RESERVED_TYPES:
            types.append(type)
        after = f"{base}{type}/{_BEYOND}"


async def _living(engine: Engine, folder: Folder, keys: Sequence[str]) -> Sequence[str | None]:
    return await asyncio.gather(*(_living_id(engine, folder, key) for key in keys))


async def _living_id(engine: Engine, folder: Folder, key: str) -> str | None:
    segment = folder.segment_of(key)
    if segment is None:
        return None
    id = folder.id_of(segment)
    try:
        found = await engine.in_time(engine.store.get(key), f"reading {key}")
        if found is None:
            return None
        id = id or id_inside(key, found.data)
        envelope = Envelope.decode(Address(folder.type, id, key), found.data)
        if holder(envelope) is not None:
            envelope = await engine.look(envelope.address)
    except DamagedObjectError:
        if id is None:
            raise  # only the object has its id, and a page must not be short of it in silence
        return id  # it is there; whoever reads it will be told what is wrong
    envelope.expire(engine.now())
    return None if envelope.deleted else id
