"""What is stored, encoded by the codec that the user's payloads pass already.

Who encrypts payloads has a codec, a key and a way to rotate it; a second scheme beside them would
be one more to get wrong. So an object's bytes become a payload, which says which object it is: one
that was put in another's place is found out.

What a codec raises may quote what it was given, and errors go to logs and to Temporal. So of its
error only the type and the line are told, and it is not kept as a cause.
"""

import asyncio
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from temporal_state.errors import DamagedObjectError, StateError, StoreError
from temporal_state.storage import ENCODED

T = TypeVar("T")
_Function: TypeAlias = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]

_ENCODING = b"binary/plain"
_KEY = "temporal-state-key"


class _Home:
    """The event loop that the codec is called on, since it may hold connections that belong to one.

    The first loop that needs it, as long as it runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        here = asyncio.get_running_loop()
        with self._lock:
            if self._loop is None or not self._loop.is_running():
                self._loop = here
            home = self._loop
        if home is here:
            return await function()
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(), home))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        raise StoreError("the event loop that the codec was called on has ended; try again")


@dataclass(frozen=True)
class CodecTransform:
    """Encodes objects with a `PayloadCodec`, such as the one of your data converter.

    A `Transform`, as in ``transform=CodecTransform(codec)``; after compression, if there is any:
    ``transform=[Compressed(), CodecTransform(codec)]``. It can be switched on for a store that
    holds objects: those that it has not encoded are read as they are, and encoded when they change.

    What the codec must bear: many calls at a time, and calls again for the same object; no
    serialization context; payloads of as many bytes as a document or record has. It is called on
    one event loop, the one that opened the store (a worker's own), also for what other threads
    store, as long as that loop runs; after that, on the next that needs it. It must return each
    payload as it was, metadata included, and raise for one that it cannot decode. Payloads are not
    encoded that the codec chooses not to encode.

    Attributes:
        codec: The codec.
        require: Refuse objects that it has not encoded. Once all are, this keeps somebody who can
            write to the store, but has no key, from slipping in a plain object.
    """

    codec: PayloadCodec = field(repr=False)
    require: bool = field(default=False, kw_only=True)
    _home: _Home = field(default_factory=_Home, init=False, repr=False, compare=False)

    async def encode(self, key: str, data: bytes) -> bytes:
        """Return the bytes as an encoded payload.

        Raises:
            StoreError: The codec failed.
        """
        payload = Payload(metadata={"encoding": _ENCODING, _KEY: key.encode()}, data=data)
        encoded = await self._call(self.codec.encode, payload, f"encode the object {key!r}")
        if isinstance(encoded, _Failure):
            raise StoreError(f"{encoded}; nothing was written")
        return ENCODED + encoded.SerializeToString()

    async def decode(self, key: str, data: bytes) -> bytes:
        """Return the bytes of an encoded payload.

        Raises:
            DamagedObjectError: They were changed, belong to another key, or the codec lacks the
                right secret; or they were never encoded, and ``require`` is set.
            StoreError: The codec failed with an `OSError`, such as for want of its key server.
        """
        if not data.startswith(ENCODED):
            if self.require:
                raise _damaged(key, "it was not encoded by a codec, and require=True is set")
            return data
        encoded = _parsed(data)
        if encoded is None:
            raise _damaged(key, f"it is no payload ({len(data)} bytes)")
        payload = await self._call(self.codec.decode, encoded, f"decode the object {key!r}")
        if isinstance(payload, _Failure):
            if payload.is_outage:
                raise StoreError(f"{payload}; try again")
            raise _damaged(key, f"{payload}: it was changed, or written with another secret")
        if payload.metadata.get("encoding") != _ENCODING:
            raise _damaged(key, "the codec returned another payload than was encoded")
        if payload.metadata.get(_KEY) != key.encode():
            raise _damaged(key, "it was written under another key")
        return payload.data

    async def _call(self, function: _Function, payload: Payload, what: str) -> "Payload | _Failure":
        try:
            result = await self._home.call(lambda: _one(function, payload))
        except StateError:
            raise
        except Exception as error:  # noqa: BLE001 - told without what it may quote
            return _Failure(error, what)
        return result


class _Failure:
    """What may be told of an error that a codec raised."""

    def __init__(self, error: Exception, what: str) -> None:
        self.is_outage = isinstance(error, OSError)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        self._text = (
            f"the codec cannot {what} ({type(error).__name__} at {frame.filename}:{frame.lineno})"
        )

    def __str__(self) -> str:
        return self._text


async def _one(function: _Function, payload: Payload) -> Payload:
    (result,) = await function([payload])
    return result


def _parsed(data: bytes) -> Payload | None:
    try:
        return Payload.FromString(data[len(ENCODED) :])
    except DecodeError:
        return None


def _damaged(key: str, what: str) -> DamagedObjectError:
    return DamagedObjectError(
        f"the object {key!r} is damaged or not ours: {what}; check the codec's secret, and restore "
        "the object or remove it"
    )
