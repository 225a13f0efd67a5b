"""Objects of JSON that are no documents: records, snapshots, evaluations, lines of the audit.

They are merged as a whole by whoever knows how, so they need no envelope; only a schema number,
by which an older process leaves a newer one's objects alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from temporal_state.documents import Engine, dumps, loads
from temporal_state.errors import ConfigurationError, ConflictError, DamagedObjectError
from temporal_state.runs._merge import Json
from temporal_state.storage import missing_transform

SCHEMA = 1
PAGE = 1000
AT_ONCE = 16
BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What is raised where an object lacks what all of its kind have."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The JSON objects of one store."""

    engine: Engine

    async def find(self, key: str) -> Json | None:
        """Return an object, or ``None`` if there is none."""
        found = await self.engine.in_time(self.engine.store.get(key), f"reading {key}")
        return None if found is None else load(key, found.data)

    async def read(self, key: str) -> Json:
        """Return an object, or an empty one if there is none."""
        return await self.find(key) or {}

    async def exists(self, key: str) -> bool:
        """Return whether there is an object, without reading it."""
        found = await self.engine.in_time(self.engine.store.head(key), f"looking for {key}")
        return found is not None

    async def update(self, key: str, merge: Callable[[Json], Json]) -> None:
        """Change an object as one step; nothing is written if nothing changed.

        The caller minds the time: what is written together ends together.
        """

        def change(data: bytes | None) -> bytes | None:
            stored = load(key, data) if data is not None else {}
            merged = merge(stored)
            return None if merged == stored else dumps({"schema": SCHEMA, **merged})

        await self.engine.store.update(key, change)

    async def create(self, key: str, value: Json) -> bool:
        """Write an object unless there is one; return whether it was written."""
        try:
            await self.engine.store.put(key, dumps({"schema": SCHEMA, **value}), if_absent=True)
        except ConflictError:
            return False
        return True

    async def page(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return some keys with a prefix, in order."""
        listing = self.engine.store.list(prefix, after=after, limit=limit)
        return await self.engine.in_time(listing, f"listing {prefix}")

    async def keys(self, prefix: str, after: str = "") -> list[str]:
        """Return all keys with a prefix, in order."""
        keys: list[str] = []
        while page := await self.page(prefix, keys[-1] if keys else after, PAGE):
            keys += page
            if len(page) < PAGE:
                break
        return keys

    async def delete(self, keys: Sequence[str]) -> int:
        """Remove objects; return how many there were."""
        count = 0
        for start in range(0, len(keys), AT_ONCE):
            count += sum(await asyncio.gather(*map(self._delete, keys[start : start + AT_ONCE])))
        return count

    async def _delete(self, key: str) -> bool:
        return await self.engine.in_time(self.engine.store.delete(key), f"deleting {key}")


def decoding(what: str) -> AbstractContextManager[None]:
    """Say of an object that lacks what all of its kind have that it is damaged.

    Args:
        what: Its name.

    Raises:
        DamagedObjectError: The block could not make out what it needs.
    """
    return _Decoding(what)


@dataclass(frozen=True, slots=True)
class _Decoding(AbstractContextManager[None]):
    what: str

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if isinstance(error, BROKEN):
            raise damaged(self.what, error) from error


def damaged(what: str, error: Exception) -> DamagedObjectError:
    """Return what is said of an object in which something has not been found as it must be."""
    return DamagedObjectError(
        f"{what} is damaged ({type(error).__name__}: {error}); move it away, or restore it from a "
        "backup"
    )


def load(key: str, data: bytes) -> Json:
    """Return the JSON of an object; refuse what is none, or of a newer version."""
    try:
        record = loads(data)
    except ValueError as error:
        if missing := missing_transform(data):
            raise ConfigurationError(f"the record {key} is {missing}") from error
        raise DamagedObjectError(f"the record {key} is damaged ({error}); move it away") from error
    if not isinstance(record, dict) or record.get("schema", SCHEMA) > SCHEMA:
        raise DamagedObjectError(f"the record {key} is of a newer version; upgrade")
    return record
