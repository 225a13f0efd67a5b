"""All documents of one application: found by type and id, listed by prefix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporal_state.documents._batch import Batch
from temporal_state.documents._cleanup import Swept, clean_folder, purger
from temporal_state.documents._edits import check_items
from temporal_state.documents._engine import Caller, Document, Engine
from temporal_state.documents._handle import DocumentHandle
from temporal_state.documents._layout import Address, Layout
from temporal_state.documents._pages import Page, list_ids, types_of
from temporal_state.documents._transaction import Name
from temporal_state.documents._transactions import Transactions, sweep
from temporal_state.documents._types import StateType, check_type
from temporal_state.errors import ContextError

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one application (and tenant) in one store.

    Every method that takes an id raises `PathTraversalError` for one that tries to escape,
    `InvalidNameError` for one that breaks another rule, and `StoreError` when the store fails.

    Every change takes ``if_version=``, the version that `read` returned: it raises
    `VersionConflictError`, and changes nothing, if the document has another one by now. Version 0
    is a document that is absent, or a plain file of another tool.
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
        if_version: int | None = None,
    ) -> None:
        """Set one top-level key; after ``ttl`` the key is gone."""
        await self.one(id, type).set(key, value, ttl=ttl, if_version=if_version)

    async def merge(
        self,
        id: str,
        change: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Set each top-level key of ``change``, keep the others; return the whole state."""
        return (await self.one(id, type).merge(change, ttl=ttl, if_version=if_version)).value

    async def replace(
        self,
        id: str,
        value: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        return (await self.one(id, type).replace(value, ttl=ttl, if_version=if_version)).value

    async def patch(
        self,
        id: str,
        change: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Apply a JSON Merge Patch: ``None`` removes, objects merge; return the whole state."""
        return (await self.one(id, type).patch(change, if_version=if_version)).value

    async def increment(
        self,
        id: str,
        key: str,
        by: float = 1,
        type: str = StateType.WORKFLOWS,
        *,
        if_version: int | None = None,
    ) -> int | float:
        """Add to the number under a top-level key (missing: 0), and return the sum."""
        return await self.one(id, type).increment(key, by, if_version=if_version)

    async def append(
        self,
        id: str,
        key: str,
        *values: Any,
        items: Sequence[Any] = (),
        limit: int | None = None,
        type: str = StateType.WORKFLOWS,
        if_version: int | None = None,
    ) -> int:
        """Append to the array under a top-level key (missing: empty), and return its length.

        Args:
            id: The document's id.
            key: The key of the array.
            *values: What to append, one by one.
            items: What to append after those, as a list.
            limit: Keep only that many, the newest.
            type: The document's type.
            if_version: Only if the document has this version.
        """
        document, new = self.one(id, type), check_items(values, items)
        return await document.append(key, new, limit=limit, if_version=if_version)

    async def delete(
        self, id: str, type: str = StateType.WORKFLOWS, *, if_version: int | None = None
    ) -> bool:
        """Delete a document; return whether there was one."""
        return await self.one(id, type).delete(if_version=if_version)

    def batch(self, *, size: int = 100, interval: timedelta = timedelta(seconds=1)) -> Batch:
        """Return a block in which changes wait for each other: many changes, few writes.

        Changes are written when ``size`` of them wait, ``interval`` after the first of them came,
        by `Batch.flush`, and at the end of the block, also of one that raises.

        Args:
            size: At most that many changes wait; the next one waits until they are written.
            interval: So long at most a change waits.
        """
        # One token names one change; a second write under it would be taken for the first.
        engine = self.engine.on_behalf_of(replace(self.engine.caller, token=None))
        return Batch(engine, self.layout, size, interval)

    @property
    def transactions(self) -> Transactions:
        """Transactions over these documents."""
        return Transactions(self.engine, self._place)

    async def get_many(
        self, ids: Iterable[str | tuple[str, str]], type: str = StateType.WORKFLOWS
    ) -> Sequence[dict[str, Any]]:
        """Return the states of several documents as they all were at one moment.

        Args:
            ids: Their ids, or pairs of id and type; at most 16.
            type: The type of those without one.

        Returns:
            Their states in the same order; ``{}`` for one that is absent.
        """
        names = [(name, type) if isinstance(name, str) else name for name in ids]
        return await self.transactions.get_many(names)

    async def sweep_transactions(self, older_than: timedelta = timedelta(minutes=1)) -> int:
        """Bring transactions that dead processes left behind to their end; return how many.

        Nothing waits for this: whoever meets such a transaction ends it as well.

        Args:
            older_than: A pending transaction younger than this is left alone.
        """
        return await sweep(self.engine, self.layout.transaction(""), older_than)

    def _place(self, name: Name) -> Address:
        id, type = name
        if id is None:
            raise ContextError("no run is known here, so none has an own document; give an id")
        return self.layout.document(id, type)

    async def exists(self, id: str, type: str = StateType.WORKFLOWS) -> bool:
        """Return whether there is a document that has not expired."""
        return await self.one(id, type).exists()

    async def load(self, id: str, model: type[M], type: str = StateType.WORKFLOWS) -> M:
        """Return a document as a pydantic model; raises `InvalidDocumentError` if it is none."""
        return await self.one(id, type).load(model)

    async def save(
        self,
        id: str,
        value: M,
        type: str = StateType.WORKFLOWS,
        *,
        if_version: int | None = None,
    ) -> M:
        """Merge the fields of a model into a document; return the whole as that model."""
        return await self.one(id, type).save(value, if_version=if_version)

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
        return await list_ids(self.engine, self.layout.folder(type), prefix, limit, cursor)

    async def types(self) -> Sequence[str]:
        """Return the types that have documents, or had some that are not yet purged."""
        return await types_of(self.engine, self.layout)

    async def purge(
        self, type: str | None = None, *, older_than: timedelta | None = None, limit: int = 1000
    ) -> int:
        """Remove what deleted and expired documents have left behind; return how many there were.

        A deleted document remembers the changes that were made, so that a late repetition is not
        applied again; that memory is of no use any more once no repetition can come.

        Args:
            type: The type of the documents; by default all types.
            older_than: How long ago the document and its last change must be; by default, and at
                least, the retry horizon of the limits.
            limit: At most that many in one call.

        Raises:
            InvalidValueError: ``older_than`` is shorter than the retry horizon.
        """
        removed, clean = 0, purger(self.engine, older_than)
        for each in [check_type(type)] if type is not None else await self.types():
            folder = self.layout.folder(each)
            swept = await clean_folder(self.engine, folder, clean, limit=limit - removed)
            removed += swept.removed
        return removed

    async def clean(self, cursor: str | None = None, *, limit: int = 1000) -> Swept:
        """Do what `purge` does, for some documents; return how many, and where to go on.

        Args:
            cursor: The ``cursor`` of the call before.
            limit: Look at no more than so many.
        """
        begun, _, after = (cursor or "").partition("/")
        clean = purger(self.engine)
        removed = looked = 0
        for type in sorted(await self.types()):
            if type < begun:
                continue
            start, rest = after if type == begun else "", limit - looked
            folder = self.layout.folder(type)
            swept = await clean_folder(
                self.engine, folder, clean, limit=rest, after=start, looks=rest
            )
            removed, looked = removed + swept.removed, looked + swept.looked
            if swept.cursor is not None:
                return Swept(removed, looked, f"{type}/{swept.cursor}")
        return Swept(removed, looked, None)
