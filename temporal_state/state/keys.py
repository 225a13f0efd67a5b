"""Small values under names, which may expire: in workflow, activity and other code alike.

    await state.keys.set(f"exec:{id}:var:cursor", 7, ttl=timedelta(hours=1))
    cursor = await state.keys.get(f"exec:{id}:var:cursor")

They are shared by all code that knows the name. Time is Temporal's in workflows and activities, so
a key expires by the same clock that timers run by.
"""

from datetime import timedelta
from typing import Any

from temporal_state.documents import Page, check_id, packed, unpacked
from temporal_state.state._context import perform_here
from temporal_state.state._store import seconds
from temporal_state.temporal.requests import (
    KeyDelete,
    KeyExists,
    KeyExpire,
    KeyGet,
    KeyList,
    KeySet,
)

__all__ = ["delete", "exists", "expire", "get", "list", "set"]


async def set(name: str, value: Any, *, ttl: timedelta | None = None) -> None:
    """Set a key to a JSON value or bytes; after ``ttl`` it is gone."""
    request = KeySet(check_id(name, "key"), packed=packed(value), ttl_seconds=seconds(ttl))
    await perform_here(request)


async def get(name: str) -> Any:
    """Return a key's value; ``None`` when there is none or it has expired."""
    return unpacked(await perform_here(KeyGet(check_id(name, "key"))))


async def exists(name: str) -> bool:
    """Return whether there is a key that has not expired."""
    return bool(await perform_here(KeyExists(check_id(name, "key"))))


async def delete(name: str) -> bool:
    """Delete a key; return whether there was one."""
    return bool(await perform_here(KeyDelete(check_id(name, "key"))))


async def list(prefix: str = "", *, limit: int = 100, cursor: str | None = None) -> Page:
    """Return the names that start with ``prefix``, a page at a time; see `Keys.list`."""
    page = await perform_here(KeyList(prefix, limit, cursor))
    return Page(page["ids"], page["cursor"])


async def expire(*, limit: int = 1000) -> int:
    """Take away the values of keys that have expired; return how many. See `Keys.expire`."""
    return int(await perform_here(KeyExpire(limit)))
