"""What every store must do: bytes under names, each change atomic, durable and conditional.

The contract is small so that it can be kept to the letter by a directory, a dictionary, an object
store and a database table. The awkward truths are part of it: a call that raised may still have
made its change (only a reader can tell), and a listing is no snapshot.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

Change: TypeAlias = Callable[[bytes | None], bytes | None]
"""From the bytes of an object (``None``: absent) to its new bytes (``None``: leave it as it is).

Runs on any thread, perhaps more than once, with only the last run counting; so it must not wait
and must not have effects besides its result and what it leaves for its caller to read.
"""


@dataclass(frozen=True, slots=True)
class Object:
    """An object's bytes and the ETag that names this content of it."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it: size in bytes, time of the last change."""

    key: str
    size: int
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes under keys.

    A key is one or more segments joined by ``/``; see `check_key`. No key may be another key's
    folder; callers see to it by giving each object's name a suffix. A change that returned is
    durable. Readers see the old or the new bytes, never a part of either. Calls may come from any
    event loop and thread.

    Every method raises `StoreError` (or a subclass) when the store fails, and
    `InvalidNameError` for what is no key.
    """

    @property
    def url(self) -> str:
        """Where the objects lie, as a URL that `open_store` understands, without credentials."""
        ...

    async def open(self) -> None:
        """Make ready for use, and refuse a store that cannot keep the contract. Idempotent."""
        ...

    async def close(self) -> None:
        """Release threads and descriptors. Idempotent. A closed store may be opened again."""
        ...

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of the object without reading it, or ``None``."""
        ...

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object and return its new ETag.

        Args:
            key: The object's name.
            data: Its new bytes.
            if_match: Only if the object has this ETag now.
            if_absent: Only if there is no object now.

        Raises:
            ConflictError: The condition does not hold; nothing was written.
        """
        ...

    def update(self, key: str, change: Change) -> Awaitable[None]:
        """Read, change and write one object as one step that no other update falls into.

        A coroutine or, from a store that has a future anyway, that: it saves its caller a task.

        An exception that ``change`` raises is this caller's alone; the object stays as it was.
        Updates of one key that wait at the same time may be written together.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one."""
        ...

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix``, in ascending order of their characters.

        Args:
            prefix: Any characters; it need not end at a ``/``.
            after: Only keys greater than this one.
            limit: At most that many; fewer mean that there are no more.
        """
        ...


@runtime_checkable
class ConditionalDelete(Protocol):
    """What a store can do besides if it can look and remove in one step.

    It is a capability of its own because object storage does not have it everywhere; what is
    removed only to save room stays where it is there.
    """

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag now; return whether it was removed.

        A store that passes calls on to one without the capability removes nothing.
        """
        ...
