"""Which inputs, results and errors are kept, and in what form.

Values are kept as the user's data converter encodes them, codec included: who encrypts payloads
never finds plaintext in the store. Workflow code's thread only copies payloads; redaction, limits
and the codec, which may be slow, come later, on the way to the store.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, Literal, NamedTuple, TypeAlias

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload, RetryPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow
from temporalio.converter import (
    DataConverter,
    PayloadCodec,
    PayloadConverter,
    WorkflowSerializationContext,
)

from temporal_state.runs import Json, Patch, RunRef, is_large
from temporal_state.temporal._events import innermost

log = logging.getLogger("temporal_state")

Capture: TypeAlias = Literal["results", "none", "all"]
Kind: TypeAlias = Literal["input", "result", "heartbeat", "error", "memo"]

CODEC_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class RecordedValue:
    """Which value is about to be kept.

    Attributes:
        kind: What it is to its run or step.
        workflow_id: Whose; of a standalone activity, its activity id.
        run_id: Of which run.
        step: The name of the step (the activity's or child's type); ``None`` is the run itself.
    """

    kind: Kind
    workflow_id: str
    run_id: str
    step: str | None


Redact: TypeAlias = Callable[[RecordedValue, Payload], Payload | None]
"""From what is kept and its payload before the codec, to what is kept instead; ``None`` keeps
nothing."""


class Captured(NamedTuple):
    """A payload on its way to the store, and the name of its step.

    Many wait while the store is slow, and a small payload as a message takes 20 times its bytes.

    Attributes:
        kind: What it is to its run or step.
        step: The name of the step.
        encoding: Its encoding, if that is all that is said of its data.
        data: Its data, or the whole payload, serialized, if more is said of it.
        size: Bytes of its data; 0 of one over the limit.
    """

    kind: Kind
    step: str | None
    encoding: str | None
    data: bytes
    size: int

    @property
    def payload(self) -> Payload:
        """The payload, anew."""
        if self.encoding is None:
            return Payload.FromString(self.data)
        return Payload(metadata={"encoding": self.encoding.encode()}, data=self.data)


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


def captured(kind: Kind, payload: Payload, limit: int, step: str | None = None) -> Captured:
    """Return a copy of a payload; of one over the limit only what it was."""
    data, metadata = payload.data, payload.metadata
    size = len(data)
    if size <= limit:
        encoding = metadata.get("encoding", b"") if len(metadata) == 1 else b""
        if encoding and encoding.isascii() and not payload.external_payloads:
            return Captured(kind, step, intern(encoding.decode()), data, size)
        return Captured(kind, step, None, payload.SerializeToString(), size)
    rest = Payload(metadata=payload.metadata)
    rest.metadata["temporal-state-size"] = str(size).encode()
    return Captured(kind, step, None, rest.SerializeToString(), 0)


def started_with(start: InitializeWorkflow, limit: int) -> Json:
    """Return what a run was started with beside its input, so that it can be started so again."""
    policy = start.retry_policy if start.HasField("retry_policy") else None
    return {
        "execution_timeout": _seconds(start.workflow_execution_timeout),
        "run_timeout": _seconds(start.workflow_run_timeout),
        "task_timeout": _seconds(start.workflow_task_timeout),
        "retry": None if policy is None else _retry_policy(policy),
        "memo": {k: captured("memo", p, limit) for k, p in start.memo.fields.items()},
        # Temporal shows search attributes in the clear, and no codec ever sees them.
        "search_attributes": {
            k: _to_json(p) for k, p in start.search_attributes.indexed_fields.items()
        },
    }


def _seconds(duration: Duration) -> float | None:
    return duration.ToTimedelta().total_seconds() or None


def _retry_policy(policy: RetryPolicy) -> Json:
    return {
        "initial_interval": _seconds(policy.initial_interval),
        "backoff_coefficient": policy.backoff_coefficient,
        "maximum_interval": _seconds(policy.maximum_interval),
        "maximum_attempts": policy.maximum_attempts,
        "non_retryable_error_types": list(policy.non_retryable_error_types),
    }


def slots_of(patch: Patch) -> list[tuple[Any, Any, Captured]]:
    """Return where the captured payloads of a patch are: in what, under which key or index."""
    places: list[tuple[Any, Any]] = []
    if patch.header is not None:
        _add_places(places, patch.header)
        memo = (patch.header.get("start") or {}).get("memo", {})
        places += [(memo, name) for name in memo]
    for step in patch.steps.values():
        for part in step.values():
            if not _VALUES.isdisjoint(part):
                _add_places(places, part)
    for attempt in patch.attempts.values():
        if not _VALUES.isdisjoint(attempt):
            _add_places(places, attempt)
    found = ((holder, place, holder[place]) for holder, place in places)
    return [slot for slot in found if isinstance(slot[2], Captured)]


_VALUES = frozenset({"result", "heartbeat", "input", "error"})


def _add_places(places: list[tuple[Any, Any]], part: Json) -> None:
    if "result" in part:
        places.append((part, "result"))
    if "heartbeat" in part:
        places.append((part, "heartbeat"))
    if part.get("input"):
        places += [(part["input"], index) for index in range(len(part["input"]))]
    if part.get("error") is not None and "value" in part["error"]:
        places.append((part["error"], "value"))


def size_of_values(patch: Patch) -> int:
    """Return how many bytes the captured values in a patch hold."""
    return sum(value.size for *_, value in slots_of(patch))


def drop_values(patch: Patch) -> None:
    """Keep of the captured values in a patch only that they were there."""
    for holder, place, value in slots_of(patch):
        holder[place] = _dropped(value.payload, "no room in memory")


def captured_error(failure: Failure, settings: "CaptureSettings", step: str | None = None) -> Json:
    """Return the type of what really went wrong, with its message as a captured value."""
    cause = innermost(failure)
    error: Json = {"type": _type_of(cause)}
    if settings.keeps("error"):
        payload = Payload(metadata={"encoding": b"json/plain"})
        if cause.HasField("encoded_attributes"):
            payload = cause.encoded_attributes
        else:
            payload.data = PayloadConverter.default.to_payload({"message": cause.message}).data
        error["value"] = captured("error", payload, settings.limit, step)
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
    any other, as long as that one runs: a plugin's first worker may end before its others.
    """

    settings: CaptureSettings
    converter: DataConverter
    loop: asyncio.AbstractEventLoop

    async def encode(self, patch: Patch) -> None:
        """Replace every captured payload in a patch by its stored form."""
        slots = slots_of(patch)
        stored = await self._stored([value for *_, value in slots], patch.ref)
        for (holder, place, _), value in zip(slots, stored, strict=True):
            holder[place] = value
            if place == "value":
                holder["message"] = _message_in(value)
        patch.large = any(is_large(value) for value in stored)

    async def encode_value(self, value: Captured, ref: RunRef) -> Json:
        """Return the stored form of one payload of a run."""
        return (await self._stored([value], ref))[0]

    async def _stored(self, values: Sequence[Captured], ref: RunRef) -> list[Json]:
        context = WorkflowSerializationContext(ref.namespace, ref.workflow_id)
        codec = self.converter.with_context(context).payload_codec
        bare = codec is None and self.settings.redact is None  # no need to make payloads of them
        kept = [
            self._kept(value, ref)
            if value.encoding is None or not bare
            else _json_of(value.encoding, value.data)
            for value in values
        ]
        payloads = [payload for payload in kept if isinstance(payload, Payload)]
        encoded = iter(await self._encode(codec, payloads))
        return [_stored(next(encoded)) if isinstance(k, Payload) else k for k in kept]

    def _kept(self, value: Captured, ref: RunRef) -> Payload | Json:
        payload = value.payload
        if "temporal-state-size" in payload.metadata:
            size = payload.metadata["temporal-state-size"].decode()
            return _dropped(payload, f"too large ({size} bytes)")
        try:
            kept = self._redacted(value, payload, ref)
        except Exception:  # noqa: BLE001 what may be secret is not kept, and nothing else suffers
            log.warning("the redaction of a recorded %s failed, so it is not kept", value.kind)
            return _dropped(payload, "unencodable")
        return _dropped(value.payload, "redacted") if kept is None else kept

    def _redacted(self, value: Captured, payload: Payload, ref: RunRef) -> Payload | None:
        redact = self.settings.redact
        if redact is None:
            return payload
        about = RecordedValue(value.kind, ref.workflow_id, ref.run_id, value.step)
        return redact(about, payload)

    async def _encode(
        self, codec: PayloadCodec | None, payloads: list[Payload]
    ) -> list[Payload | Json]:
        if codec is None or not payloads:
            return [*payloads]
        try:
            encoded = await self._call(codec, payloads)
        except Exception:  # noqa: BLE001 it may be one of them that cannot be encoded
            encoded = []
        if len(encoded) == len(payloads):
            return [*encoded]
        return [await self._encode_one(codec, payload) for payload in payloads]

    async def _encode_one(self, codec: PayloadCodec, payload: Payload) -> Payload | Json:
        try:
            return (await self._call(codec, [payload]))[0]
        except Exception:  # noqa: BLE001 what cannot be protected is not kept, and nothing else suffers
            log.warning("a recorded value could not be encoded, so it is not kept")
            return _dropped(payload, "unencodable")

    async def _call(self, codec: PayloadCodec, payloads: list[Payload]) -> list[Payload]:
        home = self.loop if self.loop.is_running() else asyncio.get_running_loop()
        future = asyncio.run_coroutine_threadsafe(_encoded(codec, payloads), home)
        return await asyncio.wait_for(asyncio.wrap_future(future), CODEC_TIMEOUT)


async def _encoded(codec: PayloadCodec, payloads: list[Payload]) -> list[Payload]:
    return await codec.encode(payloads)


def _stored(encoded: Payload | Json) -> Json:
    return _to_json(encoded) if isinstance(encoded, Payload) else encoded


def _dropped(payload: Payload, why: str) -> Json:
    encoding = payload.metadata.get("encoding", b"").decode(errors="replace")
    return {"encoding": encoding, "dropped": why}


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
    metadata = payload.metadata
    encoding = metadata["encoding"].decode(errors="replace") if "encoding" in metadata else ""
    others = {k: base64.b64encode(metadata[k]).decode() for k in metadata if k != "encoding"}
    return _json_of(encoding, payload.data, others)


def _json_of(encoding: str, data: bytes, metadata: Json | None = None) -> Json:
    result: Json = {"encoding": encoding}
    if metadata:
        result["metadata"] = metadata
    try:
        if encoding.startswith("json/"):
            result["text"] = data.decode()
            return result
    except UnicodeDecodeError:
        pass
    result["base64"] = base64.b64encode(data).decode()
    return result
