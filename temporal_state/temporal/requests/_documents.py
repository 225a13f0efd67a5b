"""Operations on documents: by type and id, or the own document of the calling run."""

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any

from temporal_state.documents import DocumentHandle
from temporal_state.temporal.requests._base import Request, Scope


@dataclass(frozen=True)
class DocumentRequest(Request):
    """An operation on one document.

    Attributes:
        id: The document's id; ``None`` is the own document of the calling run.
        type: The document's type.
    """

    _: KW_ONLY
    id: str | None = None
    type: str = "workflows"

    def document(self, scope: Scope) -> DocumentHandle:
        """Return the document that is meant."""
        if self.id is None:
            return scope.backend.own_documents_for(scope.caller).one(scope.own())
        return scope.backend.documents_for(scope.caller).one(self.id, self.type)


@dataclass(frozen=True)
class Get(DocumentRequest):
    """Read a document, or of it what lies under ``keys``. Returns a JSON object."""

    operation = "get"
    _: KW_ONLY
    keys: list[str] | None = None

    def reading(self) -> "Get":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).get(self.keys)


@dataclass(frozen=True)
class Exists(DocumentRequest):
    """Return whether there is a document."""

    operation = "exists"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).exists()


@dataclass(frozen=True)
class Delete(DocumentRequest):
    """Delete a document. Returns whether there was one."""

    operation = "delete"
    changes = True

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await self.document(scope).delete()


@dataclass(frozen=True)
class Set(DocumentRequest):
    """Set one key. Returns nothing."""

    operation = "set"
    changes = True
    _: KW_ONLY
    key: str
    value: Any
    ttl_seconds: float | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        await self.document(scope).set(self.key, self.value, ttl=to_ttl(self.ttl_seconds))


@dataclass(frozen=True)
class WholeWrite(DocumentRequest):
    """A change that returns the whole document, which can be large."""

    changes = True
    _: KW_ONLY
    value: dict[str, Any]
    ttl_seconds: float | None = None

    def reading(self) -> Get:
        """See base class."""
        return Get(id=self.id, type=self.type)


@dataclass(frozen=True)
class Merge(WholeWrite):
    """Merge into a document. Returns the whole document."""

    operation = "merge"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        ttl = to_ttl(self.ttl_seconds)
        return (await self.document(scope).merge(self.value, ttl=ttl)).value


@dataclass(frozen=True)
class Replace(WholeWrite):
    """Replace a document. Returns the whole document."""

    operation = "replace"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        ttl = to_ttl(self.ttl_seconds)
        return (await self.document(scope).replace(self.value, ttl=ttl)).value


@dataclass(frozen=True)
class List(Request):
    """List ids by prefix. Returns ``{"ids": [...], "cursor": ...}``."""

    operation = "list"
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


@dataclass(frozen=True)
class Previous(Request):
    """Read the own document of the chain of runs before this one. Returns a JSON object."""

    operation = "previous"

    def reading(self) -> "Previous":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.own_documents_for(scope.caller).previous(scope.own())


def to_ttl(seconds: float | None) -> timedelta | None:
    """Return a lifetime that a request carries."""
    return None if seconds is None else timedelta(seconds=seconds)
