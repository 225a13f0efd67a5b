"""One document, and everything that can be done to it.

Each change is an edit: a small function on the envelope, applied by the engine. Values are checked
before the store is asked for anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from temporal_state.documents._engine import Document, Edit, Engine, too_large
from temporal_state.documents._envelope import RESERVED_KEY, Envelope
from temporal_state.documents._json import dumps, plain, plain_object
from temporal_state.documents._layout import Address
from temporal_state.errors import InvalidDocumentError, InvalidValueError

M = TypeVar("M", bound=BaseModel)

MAX_LIFETIME = timedelta(days=365_000)


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

    async def set(self, key: str, value: Any, *, ttl: timedelta | None = None) -> Document:
        """Set one top-level key; after ``ttl`` the key is gone."""
        return await self.merge({check_key_name(key): value}, ttl=ttl)

    async def merge(self, change: Mapping[str, Any], *, ttl: timedelta | None = None) -> Document:
        """Set each top-level key of ``change``, keep the others; return the whole document.

        Args:
            change: What to set.
            ttl: How long the keys of ``change`` live; without one they live until they are
                changed, whatever lifetime they had.

        Raises:
            InvalidValueError: ``change`` is nothing that JSON can hold exactly.
            ValueError: ``ttl`` is not positive.
        """
        state = check_state(change)
        lifetime = _lifetime(ttl)

        def edit(envelope: Envelope, now: datetime) -> bool:
            envelope.revive(now)
            envelope.state.update(state)
            for key in state:
                envelope.expires.pop(key, None)
                if lifetime is not None:
                    envelope.expires[key] = now + lifetime
            return True

        return (await self.change(edit))[0]

    async def replace(self, value: Mapping[str, Any], *, ttl: timedelta | None = None) -> Document:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        state = check_state(value)
        lifetime = _lifetime(ttl)

        def edit(envelope: Envelope, now: datetime) -> bool:
            envelope.revive(now)
            envelope.state = dict(state)
            envelope.expires = {}
            envelope.expires_at = None if lifetime is None else now + lifetime
            return True

        return (await self.change(edit))[0]

    async def delete(self) -> bool:
        """Delete the document; return whether there was one.

        What is left is a tombstone: the memory of applied changes must outlive the document.
        """

        def edit(envelope: Envelope, _now: datetime) -> bool:
            envelope.result = not envelope.deleted
            envelope.clear()
            return bool(envelope.result)

        return bool((await self.change(edit))[1])

    async def change(self, edit: Edit) -> tuple[Document, Any]:
        """Apply an edit, once for the caller's token; return the document and its result."""
        return await self.engine.change(self.address, edit)

    async def load(self, model: type[M]) -> M:
        """Return the state as a pydantic model; an absent document is an empty object.

        Raises:
            InvalidDocumentError: The state does not fit; names the fields, not their values.
        """
        return to_model(model, await self.get(), str(self.address))

    async def save(self, value: M) -> M:
        """Merge the fields of a model into the document; return the whole as that model."""
        document = await self.merge(plain_object(value))
        return to_model(type(value), document.value, str(self.address))


def check_state(value: Any) -> dict[str, Any]:
    """Return ``value`` as the plain state of a document; refuse what can be none."""
    state = plain_object(dict(value) if isinstance(value, Mapping) else value)
    for key in state:
        check_key_name(key)
    return state


def check_key_name(key: str) -> str:
    """Return ``key`` if a document's state may have it."""
    if not isinstance(key, str):
        raise InvalidValueError(f"key {key!r} is a {type(key).__name__}; give a string")
    if key == RESERVED_KEY:
        raise InvalidValueError(f"key {key!r} is reserved for the store; choose another name")
    return str(plain(key, "the key"))


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


def _lifetime(ttl: timedelta | None) -> timedelta | None:
    if ttl is not None and ttl <= timedelta():
        raise InvalidValueError(f"ttl={ttl} is not positive; give a timedelta above zero, or None")
    if ttl is not None and ttl > MAX_LIFETIME:
        raise InvalidValueError(f"ttl={ttl} is over {MAX_LIFETIME}; give None for ever")
    return ttl
