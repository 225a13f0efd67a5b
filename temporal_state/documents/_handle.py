"""One document, and everything that can be done to it.

Each change is an edit (see `_edits`), applied by the engine. Values are checked before the store is
asked for anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import ValidationError

from temporal_state.documents import _edits as edits
from temporal_state.documents._edits import Edit, check_key_name
from temporal_state.documents._engine import Document, Engine, too_large
from temporal_state.documents._json import dumps, plain_object
from temporal_state.documents._layout import Address
from temporal_state.errors import InvalidDocumentError

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


@dataclass(frozen=True, slots=True)
class DocumentHandle:
    """One document in a store; it need not exist."""

    engine: Engine
    address: Address

    async def read(self) -> Document | None:
        """Return the document with its version and times, or ``None``."""
        return await self.engine.read(self.address)

    async def get(self, keys: list[str] | None = None) -> dict[str, Any]:
        """Return the state, or of it what lies under ``keys``; ``{}`` when there is none."""
        document = await self.read()
        value = document.value if document is not None else {}
        if keys is not None:
            value = {key: value[key] for key in keys if key in value}
        limit = self.engine.caller.max_result
        if limit is not None and len(encoded := dumps(value)) > limit:
            raise too_large(f"the result of reading {self.address}", len(encoded), limit)
        return value

    async def exists(self) -> bool:
        """Return whether there is a document that has not expired."""
        return await self.read() is not None

    async def set(
        self, key: str, value: Any, *, ttl: timedelta | None = None, if_version: int | None = None
    ) -> Document:
        """Set one top-level key; after ``ttl`` the key is gone."""
        return await self.merge({check_key_name(key): value}, ttl=ttl, if_version=if_version)

    async def merge(
        self,
        change: Mapping[str, Any],
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> Document:
        """Set each top-level key of ``change``, keep the others; return the whole document.

        Args:
            change: What to set.
            ttl: How long the keys of ``change`` live; without one they live until they are
                changed, whatever lifetime they had.
            if_version: Only if the document has this version; 0 if it is absent, or a plain file
                of another tool. All changes take this condition. Expiry is no change, so what
                has expired since does not raise the version.

        Raises:
            InvalidValueError: ``change`` is nothing that JSON can hold exactly.
            VersionConflictError: The document has another version.
            ValueError: ``ttl`` is not positive.
        """
        return (await self._change(edits.merge(change, ttl), if_version))[0]

    async def replace(
        self,
        value: Mapping[str, Any],
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> Document:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        return (await self._change(edits.replace(value, ttl), if_version))[0]

    async def patch(self, change: Mapping[str, Any], *, if_version: int | None = None) -> Document:
        """Apply a JSON Merge Patch (RFC 7386); return the whole document.

        Args:
            change: The patch: a key with ``None`` is removed, an object is merged into the object
                that is there by the same rule, any other value replaces what is there. A top-level
                key keeps its lifetime only if an object is merged into an object.
            if_version: As for `merge`.
        """
        return (await self._change(edits.patch(change), if_version))[0]

    async def increment(
        self, key: str, by: float = 1, *, if_version: int | None = None
    ) -> int | float:
        """Add to the number under a top-level key, and return the sum.

        Args:
            key: The key, which keeps its lifetime; a missing one counts as 0.
            by: What to add, an integer or a finite float; negative to subtract.
            if_version: As for `merge`.

        Raises:
            InvalidValueError: What is there is no number; or the sum is beyond 64 bits, infinite,
                or a float too coarse to tell the difference.
        """
        result: int | float = (await self._change(edits.increment(key, by), if_version))[1]
        return result

    async def append(
        self,
        key: str,
        items: Sequence[Any],
        *,
        limit: int | None = None,
        if_version: int | None = None,
    ) -> int:
        """Append to the array under a top-level key, and return its new length.

        Args:
            key: The key, which keeps its lifetime; a missing one counts as an empty array.
            items: What to append, in this order.
            limit: Keep only that many, the newest.
            if_version: As for `merge`.

        Raises:
            InvalidValueError: What is there is no array, or an item is no JSON value.
        """
        return int((await self._change(edits.append(key, items, limit), if_version))[1])

    async def delete(self, *, if_version: int | None = None) -> bool:
        """Delete the document; return whether there was one.

        What is left is a tombstone: the memory of applied changes must outlive the document.
        """
        return bool((await self._change(edits.delete(), if_version))[1])

    async def change(self, edit: Edit) -> tuple[Document, Any]:
        """Apply an edit, once for the caller's token; return the document and its result."""
        return await self.engine.change(self.address, edit)

    async def _change(self, edit: Edit, if_version: int | None) -> tuple[Document, Any]:
        return await self.change(edits.at_version(edit, if_version))

    async def load(self, model: type[M]) -> M:
        """Return the state as a pydantic model; an absent document is an empty object.

        Raises:
            InvalidDocumentError: The state does not fit; names the fields, not their values.
        """
        return to_model(model, await self.get(), str(self.address))

    async def save(self, value: M, *, if_version: int | None = None) -> M:
        """Merge the fields of a model into the document; return the whole as that model."""
        document = await self.merge(plain_object(value), if_version=if_version)
        return to_model(type(value), document.value, str(self.address))


def to_model(model: type[M], value: Mapping[str, Any], what: str) -> M:
    """Return a JSON object as a pydantic model; the error names fields, never their values."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'document'}: {item['msg']}"
            for item in error.errors(include_input=False, include_context=False, include_url=False)
        )
        raise InvalidDocumentError(
            f"document {what} is no {model.__name__}: {problems}; mend the document or the model"
        ) from None
