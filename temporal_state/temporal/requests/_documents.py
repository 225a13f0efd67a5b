"""Operations on documents: by type and id, or the own document of the calling run."""

from dataclasses import KW_ONLY
from datetime import timedelta
from typing import Any

from temporal_state.documents import (
    Document,
    DocumentHandle,
    StateType,
    check_no_secrets,
    from_text,
    to_text,
)
from temporal_state.temporal.requests._base import Request, Scope, request


@request
class DocumentRequest(Request):
    """An operation on one document.

    Attributes:
        id: The document's id; ``None`` is the own document of the calling run.
        type: The document's type.
    """

    _: KW_ONLY
    id: str | None = None
    type: str = "workflows"

    def written(self) -> Any:
        """Return the JSON values that the document would hold by this operation."""
        return None

    def check(self) -> None:
        """See base class."""
        if self.id is not None and self.type == StateType.CREDENTIALS:
            check_no_secrets(self.written())

    def document(self, scope: Scope) -> DocumentHandle:
        """Return the document that is meant."""
        if self.id is None:
            return scope.backend.own_documents_for(scope.caller).one(scope.own())
        return scope.backend.documents_for(scope.caller).one(self.id, self.type)


@request
class Get(DocumentRequest):
    """Read a document, or of it what lies under ``keys``. Returns a JSON object."""

    operation = "documents.get"
    _: KW_ONLY
    keys: list[str] | None = None

    def reading(self) -> "Get":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).get(self.keys)


@request
class Read(DocumentRequest):
    """Read a document with its version.

    Returns ``{"type": ..., "id": ..., "value": {...}, "version": 1, "created": "...",
    "updated": "..."}``, or nothing when there is none.
    """

    operation = "documents.read"

    def reading(self) -> "Read":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        document = await self.document(scope).read()
        if document is None:
            return None
        result = {
            "type": document.type,
            "id": document.id,
            "value": document.value,
            "version": document.version,
            "created": to_text(document.created) if document.created else None,
            "updated": to_text(document.updated) if document.updated else None,
        }
        return scope.fitting(result, f"document {document.type}/{document.id} is too large")

    @staticmethod
    def document_in(result: Any) -> Document | None:
        """Return the document that a result is about."""
        if result is None:
            return None
        times = {
            name: from_text(result[name]) if result[name] else None
            for name in ("created", "updated")
        }
        return Document(**(result | times))


@request
class Exists(DocumentRequest):
    """Return whether there is a document."""

    operation = "documents.exists"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).exists()


@request
class Change(DocumentRequest):
    """A change of one document.

    Attributes:
        if_version: Only if the document has this version; ``None`` is any.
    """

    changes = True
    _: KW_ONLY
    if_version: int | None = None


@request
class Delete(Change):
    """Delete a document. Returns whether there was one."""

    operation = "documents.delete"
    returns_little = True

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).delete(if_version=self.if_version)


@request
class Set(Change):
    """Set one key. Returns nothing."""

    operation = "documents.set"
    returns_little = True
    _: KW_ONLY
    key: str
    value: Any
    ttl_seconds: float | None = None

    def written(self) -> Any:
        """See base class."""
        return {self.key: self.value}

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        ttl, document = to_ttl(self.ttl_seconds), self.document(scope)
        await document.set(self.key, self.value, ttl=ttl, if_version=self.if_version)


@request
class WholeWrite(Change):
    """A change that returns the whole document, which can be large."""

    _: KW_ONLY
    value: dict[str, Any]

    def written(self) -> Any:
        """See base class."""
        return self.value

    def reading(self) -> Get:
        """See base class."""
        return Get(id=self.id, type=self.type)


@request
class Merge(WholeWrite):
    """Merge into a document. Returns the whole document."""

    operation = "documents.merge"
    _: KW_ONLY
    ttl_seconds: float | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        ttl, document = to_ttl(self.ttl_seconds), self.document(scope)
        return (await document.merge(self.value, ttl=ttl, if_version=self.if_version)).value


@request
class Replace(WholeWrite):
    """Replace a document. Returns the whole document."""

    operation = "documents.replace"
    _: KW_ONLY
    ttl_seconds: float | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        ttl, document = to_ttl(self.ttl_seconds), self.document(scope)
        return (await document.replace(self.value, ttl=ttl, if_version=self.if_version)).value


@request
class Patch(WholeWrite):
    """Apply a JSON Merge Patch to a document. Returns the whole document."""

    operation = "documents.patch"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return (await self.document(scope).patch(self.value, if_version=self.if_version)).value


@request
class Increment(Change):
    """Add to the number under a key. Returns the sum.

    Regular, as `Append` is: workflow code that runs again may compute another amount, which as a
    local activity would be applied beside the first; here the amount is in the history first.
    """

    operation = "documents.increment"
    returns_little = True
    regular = True
    _: KW_ONLY
    key: str
    by: float = 1

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        document = self.document(scope)
        return await document.increment(self.key, self.by, if_version=self.if_version)


@request
class Append(Change):
    """Append to the array under a key. Returns its new length."""

    operation = "documents.append"
    returns_little = True
    regular = True
    _: KW_ONLY
    key: str
    items: list[Any]
    limit: int | None = None

    def written(self) -> Any:
        """See base class."""
        return {self.key: self.items}

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        document, version = self.document(scope), self.if_version
        return await document.append(self.key, self.items, limit=self.limit, if_version=version)


@request
class List(Request):
    """List ids by prefix. Returns ``{"ids": [...], "cursor": ...}``."""

    operation = "documents.list"
    type: str = "workflows"
    prefix: str = ""
    limit: int = 100
    cursor: str | None = None

    def reading(self) -> "List":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        documents = scope.backend.documents_for(scope.caller)
        page = await documents.list(self.type, self.prefix, limit=self.limit, cursor=self.cursor)
        result = {"ids": page.ids, "cursor": page.cursor}
        return scope.fitting(result, f"a page of {self.limit} ids is too large, ask for fewer")


@request
class Previous(Request):
    """Read the own document of the chain of runs before this one. Returns a JSON object."""

    operation = "own.previous"

    def reading(self) -> "Previous":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.own_documents_for(scope.caller).previous(scope.own())
        return scope.fitting(found, "the document of the chain before is too large")


def to_ttl(seconds: float | None) -> timedelta | None:
    """Return a lifetime that a request carries."""
    return None if seconds is None else timedelta(seconds=seconds)
