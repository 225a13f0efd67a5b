"""All documents of one application: found by type and id, listed by prefix."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from temporal_state.documents._engine import Caller, Document, Engine
from temporal_state.documents._envelope import Envelope, id_inside
from temporal_state.documents._handle import DocumentHandle
from temporal_state.documents._ids import check_id
from temporal_state.documents._layout import Address, Layout
from temporal_state.documents._types import StateType, check_type
from temporal_state.errors import DamagedObjectError, InvalidNameError
from temporal_state.storage import check_prefix

M = TypeVar("M", bound=BaseModel)

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some ids, in the order of their keys, and where to go on (``None``: that was all)."""

    ids: list[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one application (and tenant) in one store.

    Every method that takes an id raises `PathTraversalError` for one that tries to escape,
    `InvalidNameError` for one that breaks another rule, and `StoreError` when the store fails.
    """

    engine: Engine
    layout: Layout

    def on_behalf_of(self, caller: Caller) -> "Documents":
        """Return the same documents for another caller."""
        return replace(self, engine=self.engine.on_behalf_of(caller))

    def one(self, id: str, type: str = StateType.WORKFLOWS) -> DocumentHandle:
        """Return the document with this type and id, to be read and changed."""
        return DocumentHandle(self.engine, self.layout.document(id, type))

    async def get(self, id: str, type: str = StateType.WORKFLOWS) -> dict[str, Any]:
        """Return a document's state; ``{}`` when there is none."""
        return await self.one(id, type).get()

    async def read(self, id: str, type: str = StateType.WORKFLOWS) -> Document | None:
        """Return a document with its version and times, or ``None``."""
        return await self.one(id, type).read()

    async def set(
        self,
        id: str,
        key: str,
        value: Any,
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Set one top-level key; after ``ttl`` the key is gone."""
        await self.one(id, type).set(key, value, ttl=ttl)

    async def merge(
        self,
        id: str,
        change: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> dict[str, Any]:
        """Set each top-level key of ``change``, keep the others; return the whole state."""
        return (await self.one(id, type).merge(change, ttl=ttl)).value

    async def replace(
        self,
        id: str,
        value: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> dict[str, Any]:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        return (await self.one(id, type).replace(value, ttl=ttl)).value

    async def delete(self, id: str, type: str = StateType.WORKFLOWS) -> bool:
        """Delete a document; return whether there was one."""
        return await self.one(id, type).delete()

    async def exists(self, id: str, type: str = StateType.WORKFLOWS) -> bool:
        """Return whether there is a document that has not expired."""
        return await self.one(id, type).exists()

    async def load(self, id: str, model: type[M], type: str = StateType.WORKFLOWS) -> M:
        """Return a document as a pydantic model; raises `InvalidDocumentError` if it is none."""
        return await self.one(id, type).load(model)

    async def save(self, id: str, value: M, type: str = StateType.WORKFLOWS) -> M:
        """Merge the fields of a model into a document; return the whole as that model."""
        return await self.one(id, type).save(value)

    async def list(
        self,
        type: str = StateType.WORKFLOWS,
        prefix: str = "",
        *,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return the ids of a type's documents that start with ``prefix``, a page at a time.

        Args:
            type: The type of the documents.
            prefix: What their ids start with; empty for all.
            limit: At most that many ids, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidNameError(f"limit={limit} is not 1 to {MAX_PAGE}; choose one that is")
        if prefix:
            check_id(f"{prefix}x", "prefix")
        if cursor and "/" in cursor:
            raise InvalidNameError(f"cursor={cursor[:80]!r} is none; give that of the page before")
        key_prefix = check_prefix(self.layout.prefix(type, prefix))
        after = self.layout.key_of(type, cursor) if cursor else ""
        ids: list[str] = []
        while True:
            listing = self.engine.store.list(key_prefix, after=after, limit=limit)
            keys = await self.engine.in_time(listing, f"listing {key_prefix}")
            for key, id in zip(keys, await self._living(type, keys), strict=True):
                if id is not None and id.startswith(prefix):
                    ids.append(id)
                if len(ids) == limit:
                    return Page(ids, self.layout.segment_of(key))
            if len(keys) < limit:
                return Page(ids, None)
            after = keys[-1]

    async def _living(self, type: str, keys: Sequence[str]) -> Sequence[str | None]:
        return await asyncio.gather(*(self._living_id(type, key) for key in keys))

    async def _living_id(self, type: str, key: str) -> str | None:
        segment = self.layout.segment_of(key)
        if segment is None:
            return None
        found = await self.engine.in_time(self.engine.store.get(key), f"reading {key}")
        if found is None:
            return None
        id = self.layout.id_of(segment) or id_inside(key, found.data)
        try:
            envelope = Envelope.decode(Address(check_type(type), id, key), found.data)
        except DamagedObjectError:
            return id  # it is there; whoever reads it will be told what is wrong
        envelope.expire(self.engine.now())
        return None if envelope.deleted else id
