"""Which inputs, results and errors are kept, and in what form.

Values are kept as the user's data converter encodes them, codec included: who encrypts payloads
never finds plaintext in the store. Workflow code's thread only copies payloads; redaction, limits
and the codec, which may be slow, come later, on the way to the store.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    DataConverter,
    PayloadCodec,
    PayloadConverter,
    WorkflowSerializationContext,
)

from temporal_state.runs import Json, Patch
from temporal_state.temporal._events import innermost

log = logging.getLogger("temporal_state")

Capture: TypeAlias = Literal["results", "none", "all"]
Redact: TypeAlias = Callable[[str, Payload], Payload | None]
"""From what is kept (``input``, ``result``, ``heartbeat``, ``error``) and its payload before the
codec, to what is kept instead; ``None`` keeps nothing."""

CODEC_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Captured:
    """A payload on its way to the store."""

    what: str
    payload: Payload

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.payload.data)


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What is kept.

    Attributes:
        capture: ``results`` keeps results, errors and the runs' inputs; ``all`` also the inputs of
            steps; ``none`` neither.
        limit: Most bytes of one value; larger ones are left out, and the record says so.
        redact: Looks at each value before it is kept.
    """

    capture: Capture = "results"
    limit: int = 128 * 1024
    redact: Redact | None = None

    def keeps(self, what: str) -> bool:
        """Return whether values of a kind (``input`` is a step's) are kept."""
        return self.capture == "all" or (self.capture == "results" and what != "input")


def captured(what: str, payload: Payload, limit: int) -> Captured:
    """Return a copy of a payload; of one over the limit only what it was."""
    copy = Payload(metadata=payload.metadata)
    if len(payload.data) <= limit:
        copy.data = payload.data
    else:
        copy.metadata["temporal-state-size"] = str(len(payload.data)).encode()
    return Captured(what, copy)


def captured_error(failure: Failure, settings: "CaptureSettings") -> Json:
    """Return the type of what really went wrong, with its message as a captured value."""
    cause = innermost(failure)
    error: Json = {"type": _type_of(cause)}
    if settings.keeps("error"):
        payload = Payload(metadata={"encoding": b"json/plain"})
        if cause.HasField("encoded_attributes"):
            payload = cause.encoded_attributes
        else:
            payload.data = PayloadConverter.default.to_payload({"message": cause.message}).data
        error["value"] = captured("error", payload, settings.limit)
    return error


def _type_of(failure: Failure) -> str:
    kind = failure.WhichOneof("failure_info") or ""
    if kind == "application_failure_info":
        return failure.application_failure_info.type or "ApplicationError"
    return {
        "timeout_failure_info": "TimeoutError",
        "canceled_failure_info": "CancelledError",
        "terminated_failure_info": "TerminatedError",
    }.get(kind, "Error")


@dataclass(frozen=True, slots=True)
class ValueEncoder:
    """Makes stored JSON of captured payloads, with the user's codec on the worker's own loop.

    A codec may hold connections of the loop that its client was made on, so it is not called from
    any other.
    """

    settings: CaptureSettings
    converter: DataConverter
    loop: asyncio.AbstractEventLoop

    async def encode(self, patch: Patch) -> None:
        """Replace every captured payload in a patch by its stored form."""
        context = WorkflowSerializationContext(patch.ref.namespace, patch.ref.workflow_id)
        codec = self.converter.with_context(context).payload_codec
        if patch.header is not None:
            patch.header = await self._fill_in(patch.header, codec)
        patch.steps = await self._fill_in(patch.steps, codec)
        patch.attempts = await self._fill_in(patch.attempts, codec)

    async def _fill_in(self, part: Any, codec: PayloadCodec | None) -> Any:
        if isinstance(part, Captured):
            return await self._stored(part, codec)
        if isinstance(part, dict):
            result = {key: await self._fill_in(value, codec) for key, value in part.items()}
            if isinstance(part.get("value"), Captured):
                result["message"] = _message_in(result["value"])
            return result
        if isinstance(part, list):
            return [await self._fill_in(item, codec) for item in part]
        return part

    async def _stored(self, value: Captured, codec: PayloadCodec | None) -> Json:
        encoding = value.payload.metadata.get("encoding", b"").decode(errors="replace")
        size = value.payload.metadata.get("temporal-state-size")
        if size is not None:
            return {"encoding": encoding, "dropped": f"too large ({size.decode()} bytes)"}
        try:
            kept = self._redacted(value)
            if kept is None:
                return {"encoding": encoding, "dropped": "redacted"}
            return _to_json(await self._encode(kept, codec))
        except Exception:  # noqa: BLE001 what cannot be protected is not kept, and nothing else suffers
            log.warning("a recorded %s could not be encoded, so it is not kept", value.what)
            return {"encoding": encoding, "dropped": "unencodable"}

    def _redacted(self, value: Captured) -> Payload | None:
        redact = self.settings.redact
        return value.payload if redact is None else redact(value.what, value.payload)

    async def _encode(self, payload: Payload, codec: PayloadCodec | None) -> Payload:
        if codec is None:
            return payload
        future = asyncio.run_coroutine_threadsafe(_encoded(codec, payload), self.loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), CODEC_TIMEOUT)


async def _encoded(codec: PayloadCodec, payload: Payload) -> Payload:
    return (await codec.encode([payload]))[0]


def _message_in(stored: Json) -> str | None:
    # An error's message is readable exactly if its stored value is.
    if stored["encoding"] != "json/plain" or "text" not in stored:
        return None
    try:
        message = json.loads(stored["text"])["message"]
    except (ValueError, TypeError, KeyError):
        return None  # a redaction has put something else in its place
    return None if message is None else str(message).encode(errors="replace").decode()


def _to_json(payload: Payload) -> Json:
    metadata = dict(payload.metadata)
    encoding = metadata.pop("encoding", b"").decode(errors="replace")
    result: Json = {"encoding": encoding}
    if metadata:
        result["metadata"] = {k: base64.b64encode(v).decode() for k, v in metadata.items()}
    try:
        if encoding.startswith("json/"):
            result["text"] = payload.data.decode()
            return result
    except UnicodeDecodeError:
        pass
    result["base64"] = base64.b64encode(payload.data).decode()
    return result
