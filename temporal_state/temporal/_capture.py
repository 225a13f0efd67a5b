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

from temporal_state.runs import Json, Patch, RunRef
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


@dataclass(frozen=True, slots=True)
class Captured:
    """A payload on its way to the store, and the name of its step."""

    kind: Kind
    step: str | None
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


def captured(kind: Kind, payload: Payload, limit: int, step: str | None = None) -> Captured:
    """Return a copy of a payload; of one over the limit only what it was."""
    copy = Payload(metadata=payload.metadata)
    if len(payload.data) <= limit:
        copy.data = payload.data
    else:
        copy.metadata["temporal-state-size"] = str(len(payload.data)).encode()
    return Captured(kind, step, copy)


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


def bytes_of(patch: Patch, like: Patch | None = None) -> int:
    """Return how many bytes the values in a patch hold: captured, or in their stored form.

    Args:
        patch: What is measured.
        like: Only the parts that this patch has, too.
    """
    like = like or patch
    parts: list[Any] = [patch.steps.get(number) for number in like.steps]
    parts += [patch.attempts.get(key) for key in like.attempts]
    if like.header is not None and patch.header is not None:
        parts += [patch.header.get(field) for field in ("input", "result", "error")]
    return sum(map(_bytes_in, parts))


def _bytes_in(part: Any) -> int:
    if isinstance(part, Captured):
        return part.size
    if isinstance(part, dict):
        if "encoding" in part:
            return len(part.get("text", "")) + len(part.get("base64", ""))
        return sum(map(_bytes_in, part.values()))
    return sum(map(_bytes_in, part)) if isinstance(part, list) else 0


def drop_values(patch: Patch) -> None:
    """Keep of the captured values in a patch only that they were there."""
    if patch.header is not None:
        patch.header = _without_values(patch.header)
    patch.steps = _without_values(patch.steps)
    patch.attempts = _without_values(patch.attempts)


def _without_values(part: Any) -> Any:
    if isinstance(part, Captured):
        return _dropped(part.payload, "no room in memory")
    if isinstance(part, dict):
        return {key: _without_values(value) for key, value in part.items()}
    return [_without_values(item) for item in part] if isinstance(part, list) else part


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
    any other.
    """

    settings: CaptureSettings
    converter: DataConverter
    loop: asyncio.AbstractEventLoop

    async def encode(self, patch: Patch) -> None:
        """Replace every captured payload in a patch by its stored form."""
        ref = patch.ref
        context = WorkflowSerializationContext(ref.namespace, ref.workflow_id)
        codec = self.converter.with_context(context).payload_codec
        if patch.header is not None:
            patch.header = await self._fill_in(patch.header, ref, codec)
        patch.steps = await self._fill_in(patch.steps, ref, codec)
        patch.attempts = await self._fill_in(patch.attempts, ref, codec)

    async def encode_value(self, value: Captured, ref: RunRef) -> Json:
        """Return the stored form of one payload of a run."""
        context = WorkflowSerializationContext(ref.namespace, ref.workflow_id)
        return await self._stored(value, ref, self.converter.with_context(context).payload_codec)

    async def _fill_in(self, part: Any, ref: RunRef, codec: PayloadCodec | None) -> Any:
        if isinstance(part, Captured):
            return await self._stored(part, ref, codec)
        if isinstance(part, dict):
            result = {key: await self._fill_in(value, ref, codec) for key, value in part.items()}
            if isinstance(part.get("value"), Captured):
                result["message"] = _message_in(result["value"])
            return result
        if isinstance(part, list):
            return [await self._fill_in(item, ref, codec) for item in part]
        return part

    async def _stored(self, value: Captured, ref: RunRef, codec: PayloadCodec | None) -> Json:
        size = value.payload.metadata.get("temporal-state-size")
        if size is not None:
            return _dropped(value.payload, f"too large ({size.decode()} bytes)")
        try:
            kept = self._redacted(value, ref)
            if kept is None:
                return _dropped(value.payload, "redacted")
            return _to_json(await self._encode(kept, codec))
        except Exception:  # noqa: BLE001 what cannot be protected is not kept, and nothing else suffers
            log.warning("a recorded %s could not be encoded, so it is not kept", value.kind)
            return _dropped(value.payload, "unencodable")

    def _redacted(self, value: Captured, ref: RunRef) -> Payload | None:
        redact = self.settings.redact
        if redact is None:
            return value.payload
        about = RecordedValue(value.kind, ref.workflow_id, ref.run_id, value.step)
        return redact(about, value.payload)

    async def _encode(self, payload: Payload, codec: PayloadCodec | None) -> Payload:
        if codec is None:
            return payload
        future = asyncio.run_coroutine_threadsafe(_encoded(codec, payload), self.loop)
        return await asyncio.wait_for(asyncio.wrap_future(future), CODEC_TIMEOUT)


async def _encoded(codec: PayloadCodec, payload: Payload) -> Payload:
    return (await codec.encode([payload]))[0]


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
