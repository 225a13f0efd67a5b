"""Small values under names, which may expire: what a cache, a lock's note or a variable needs.

A key is a document of its own kind, so that expiry, tokens and limits hold for it as well; only
its value is any JSON value, or bytes, and it lies in a folder that no type of documents can name.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents._cleanup import Swept, clean_folder, expirer, purger
from temporal_state.documents._engine import Caller, Engine
from temporal_state.documents._envelope import Envelope
from temporal_state.documents._handle import DocumentHandle
from temporal_state.documents._ids import check_id
from temporal_state.documents._json import plain
from temporal_state.documents._layout import Layout
from temporal_state.documents._pages import Page, list_ids
from temporal_state.documents._times import aware
from temporal_state.errors import InvalidValueError

_VALUE, _BYTES = "value", "base64"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one application (and tenant) in one store.

    A name is any string that may be an id, such as ``exec:order-7:var:cursor``. Every method that
    takes one raises `PathTraversalError` for a name that tries to escape, `InvalidNameError` for
    one that breaks another rule, and `StoreError` when the store fails.
    """

    engine: Engine
    layout: Layout

    def on_behalf_of(self, caller: Caller) -> "Keys":
        """Return the same keys for another caller."""
        return replace(self, engine=self.engine.on_behalf_of(caller))

    async def set(self, name: str, value: Any, *, ttl: timedelta | None = None) -> None:
        """Set a key; after ``ttl`` it is gone.

        Args:
            name: The key's name.
            value: Any JSON value, or bytes.
            ttl: How long it lives; by default until it is deleted.

        Raises:
            InvalidValueError: ``value`` is nothing that JSON can hold exactly, and no bytes; or
                ``ttl`` is not positive.
            TooLargeError: It is over the limit for a document.
        """
        await self.put(name, packed(value), ttl=ttl)

    async def put(
        self, name: str, value: Mapping[str, Any], *, ttl: timedelta | None = None
    ) -> None:
        """Set a key to a value in the form that `packed` gives it."""
        unpacked(value)
        await self._one(name).replace(value, ttl=ttl)

    async def get(self, name: str) -> Any:
        """Return the value; ``None`` when there is none or it has expired."""
        return unpacked(await self.fetch(name))

    async def fetch(self, name: str) -> dict[str, Any]:
        """Return the value in the form that `packed` gives it; ``{}`` when there is none."""
        return await self._one(name).get()

    async def exists(self, name: str) -> bool:
        """Return whether there is a value that has not expired."""
        return await self._one(name).exists()

    async def delete(self, name: str) -> bool:
        """Delete a key; return whether there was one."""
        return await self._one(name).delete()

    async def list(self, prefix: str = "", *, limit: int = 100, cursor: str | None = None) -> Page:
        """Return the names that start with ``prefix`` and have not expired, a page at a time.

        Args:
            prefix: What they start with; empty for all.
            limit: At most that many, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        return await list_ids(self.engine, self.layout.keys, prefix, limit, cursor)

    async def expire(self, now: datetime | None = None, *, limit: int = 1000) -> int:
        """Take away the values of keys that have expired; return how many there were.

        Reading never needs this: an expired key is gone for every reader. It frees the room.

        Args:
            now: By which time; by default the present.
            limit: At most that many in one call.

        Raises:
            InvalidValueError: ``now`` has no time zone.
        """
        by = None if now is None else aware(now, "now")
        clean = expirer(self.engine, by)
        return (await clean_folder(self.engine, self.layout.keys, clean, limit=limit)).removed

    async def purge(self, *, older_than: timedelta | None = None, limit: int = 1000) -> int:
        """Remove what deleted and expired keys have left behind; see `Documents.purge`."""
        clean = purger(self.engine, older_than)
        return (await clean_folder(self.engine, self.layout.keys, clean, limit=limit)).removed

    async def clean(self, cursor: str | None = None, *, limit: int = 1000) -> Swept:
        """Do what `expire` and `purge` do, for some keys; return how many, and where to go on.

        Args:
            cursor: The ``cursor`` of the call before.
            limit: Look at no more than so many.
        """
        purge, expire = purger(self.engine), expirer(self.engine)

        async def clean(envelope: Envelope, etag: str) -> bool:
            return await purge(envelope, etag) or await expire(envelope, etag)

        folder = self.layout.keys
        return await clean_folder(
            self.engine, folder, clean, limit=limit, after=cursor or "", looks=limit
        )

    def _one(self, name: str) -> DocumentHandle:
        return DocumentHandle(self.engine, self.layout.keys.address(check_id(name, "key")))


def packed(value: Any) -> dict[str, Any]:
    """Return a key's value as a JSON object: ``{"value": ...}``, or ``{"base64": "..."}``."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(bytes(value)).decode()}
    return {_VALUE: plain(value, "the value")}


def unpacked(packed: Mapping[str, Any]) -> Any:
    """Return the value that `packed` was given; ``None`` for an empty object.

    Raises:
        InvalidValueError: It is nothing that `packed` returns.
    """
    try:
        if not packed or packed.keys() == {_VALUE}:
            return packed.get(_VALUE)
        if packed.keys() == {_BYTES}:
            return base64.b64decode(packed[_BYTES], validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidValueError(f"the value's base64 is none ({error}); encode it anew") from None
    raise InvalidValueError(
        f"a key's value has the fields {sorted(packed)}; give one of {_VALUE!r} and {_BYTES!r}"
    )
