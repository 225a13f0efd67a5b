"""Whatever is done to the bytes between a store and those who use it, such as encryption.

A transform may wait (for a key server), so it cannot run inside of a store's own `update`, whose
change must not. What is built here instead is optimistic: read, decode, change, encode, and write
if nobody else has written meanwhile, else again. That works around every store, since each honours
the conditions of a put.

Changes of one key that wait on one event loop are folded into one commit, as in `Combiner`. They
are not folded across loops: a line that threads share would have to survive the end of the loop
that serves it, and those who meet from two loops are kept apart by the conditions anyway.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from temporal_state.errors import ConfigurationError, ConflictError, DamagedObjectError
from temporal_state.storage._combine import Group, Waiter
from temporal_state.storage._compress import off_loop
from temporal_state.storage._protocol import (
    Change,
    ConditionalDelete,
    Object,
    ObjectInfo,
    ObjectStore,
)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5
_PROBE_KEY, _PROBE = "probe", b'{"probe": "what is stored can be read back"}'


@runtime_checkable
class Transform(Protocol):
    """Makes other bytes of an object's bytes, and the reverse.

    ``decode`` returns exactly what ``encode`` was given, for any bytes. It should return bytes that
    it has not made as they are, so that a transform can be switched on for a store that holds
    objects already. Both may be called from any event loop, many at a time, and again for the same
    object. They raise a `StateError`; the key is for its message, and to tie the bytes to their
    place.
    """

    async def encode(self, key: str, data: bytes) -> bytes:
        """Return what is stored for the bytes of an object."""
        ...

    async def decode(self, key: str, data: bytes) -> bytes:
        """Return the bytes of an object for what is stored."""
        ...


class TransformedStore:
    """Another store, with transforms between it and its users.

    ETags and conditions are the other store's, so they speak of the bytes as they are stored, and
    so do the sizes in `ObjectInfo`. Keys are not transformed.

    Args:
        inner: Where the transformed bytes go.
        transforms: The first is the first to encode and the last to decode.
    """

    def __init__(self, inner: ObjectStore, *transforms: Transform) -> None:
        self._inner = inner
        self._transforms = transforms
        self._is_proven = False
        self._lines: dict[_Place, _Line] = {}

    def __repr__(self) -> str:
        return f"TransformedStore({self._inner!r}, {', '.join(map(repr, self._transforms))})"

    @property
    def url(self) -> str:
        """Where the other store's objects lie."""
        return self._inner.url

    async def open(self) -> None:
        """Open the other store, and refuse transforms that do not give back what they got.

        Raises:
            ConfigurationError: One of them loses something, or is no transform.
            StoreError: One of them, or the other store, fails.
        """
        if not self._is_proven:
            await self._prove()
        await self._inner.open()

    async def close(self) -> None:
        """Close the other store; calls in flight finish or raise. Idempotent."""
        self._is_proven = False
        await self._inner.close()

    async def get(self, key: str) -> Object | None:
        """Return the object, or ``None`` if there is none."""
        found = await self._inner.get(key)
        return None if found is None else Object(await self._decode(key, found.data), found.etag)

    async def head(self, key: str) -> ObjectInfo | None:
        """Return the object's time and its size as it is stored, or ``None``."""
        return await self._inner.head(key)

    async def put(
        self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False
    ) -> str:
        """Write the whole object, perhaps on a condition, and return its new ETag."""
        encoded = await self._encode(key, bytes(data))
        return await self._inner.put(key, encoded, if_match=if_match, if_absent=if_absent)

    async def update(self, key: str, change: Change) -> None:
        """Read, change and write one object as one step.

        While others change the object, it goes on trying as long as its caller waits. When all who
        wait for a commit are cancelled, so is the commit, and only a reader can tell whether it was
        made.
        """
        place = asyncio.get_running_loop(), key
        line = self._lines.get(place) or self._form_line(place)
        waiter = line.join(change)
        try:
            await waiter.arrival.future
        finally:
            if line.leave() == 0:
                # Out of sight first, so that nobody joins a line whose server is being stopped.
                self._forget(place, line)
                line.stop()

    async def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one."""
        return await self._inner.delete(key)

    async def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag now; see `ConditionalDelete`."""
        inner = self._inner
        return isinstance(inner, ConditionalDelete) and await inner.delete_if_match(key, etag)

    async def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return keys that start with ``prefix`` and are greater than ``after``, in order."""
        return await self._inner.list(prefix, after=after, limit=limit)

    def _form_line(self, place: "_Place") -> "_Line":
        line = self._lines[place] = _Line()
        line.server = asyncio.create_task(self._serve(place, line))
        return line

    def _forget(self, place: "_Place", line: "_Line") -> None:
        if self._lines.get(place) is line:
            del self._lines[place]

    async def _serve(self, place: "_Place", line: "_Line") -> None:
        try:
            while group := line.next_group():
                await self._commit(place[1], group)
        finally:
            self._forget(place, line)
            line.dismiss()

    async def _commit(self, key: str, group: Group) -> None:
        try:
            await self._change(key, group.fold)
        except BaseException as error:
            group.settle(error)
            if not isinstance(error, Exception):
                raise
        else:
            group.settle(None)

    async def _change(self, key: str, change: Change) -> None:
        for attempt in itertools.count():
            found = await self._inner.get(key)
            present = None if found is None else await self._decode(key, found.data)
            data = await off_loop(change, present)
            if data is None:
                return
            encoded = await self._encode(key, data)
            try:
                if found is None:
                    await self._inner.put(key, encoded, if_absent=True)
                else:
                    await self._inner.put(key, encoded, if_match=found.etag)
            except ConflictError:
                await asyncio.sleep(_pause(attempt))
            else:
                return

    async def _encode(self, key: str, data: bytes) -> bytes:
        for transform in self._transforms:
            data = await transform.encode(key, data)
        return data

    async def _decode(self, key: str, data: bytes) -> bytes:
        for transform in reversed(self._transforms):
            data = await transform.decode(key, data)
        return data

    async def _prove(self) -> None:
        try:
            returned = await self._decode(_PROBE_KEY, await self._encode(_PROBE_KEY, _PROBE))
        except (AttributeError, TypeError) as error:
            raise ConfigurationError(
                f"a transform does not work ({type(error).__name__}); give objects with encode(key,"
                " data) and decode(key, data), and wrap a PayloadCodec in CodecTransform"
            ) from error
        except DamagedObjectError as error:
            raise _irreversible(str(error)) from error
        if returned != _PROBE:
            raise _irreversible(f"{_PROBE!r} became {returned[:80]!r}")
        self._is_proven = True


class _Line:
    """Who waits, on one event loop, to change one key."""

    def __init__(self) -> None:
        self.server: asyncio.Task[None] | None = None
        self._waiting: list[Waiter] = []
        self._present = 0

    def join(self, change: Change) -> Waiter:
        waiter = Waiter(change)
        self._waiting.append(waiter)
        self._present += 1
        return waiter

    def leave(self) -> int:
        """Return how many are still there."""
        self._present -= 1
        return self._present

    def next_group(self) -> Group | None:
        """Return those who wait, unless all have gone meanwhile."""
        waiters, self._waiting = self._waiting, []
        return Group(waiters) or None

    def dismiss(self) -> None:
        for waiter in self._waiting:
            waiter.arrival.future.cancel()

    def stop(self) -> None:
        if self.server is not None:
            self.server.cancel()


_Place: TypeAlias = tuple[asyncio.AbstractEventLoop, str]


def _irreversible(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the transforms do not give back what they got ({what}), so nothing written through them "
        "could be read; give decode the exact reverse of encode"
    )


def _pause(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - spreads writers, keeps no secret
