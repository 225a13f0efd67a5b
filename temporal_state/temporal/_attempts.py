"""What the activity side sees of a step: attempts, times, worker, progress, and how they went."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

from temporal_state.documents import plain, to_text, utc_now
from temporal_state.errors import InvalidValueError
from temporal_state.runs import Json, Patch, RunRef, SpanIds
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._capture import Captured, Kind, captured, drop_values
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._untold import Room, merge

log = logging.getLogger("temporal_state")

HEARTBEAT_INTERVAL = 0.5
STANDALONE = "standalone"


@dataclass(slots=True)
class Attempt:
    """One attempt of one activity, which the recorder asks how it goes.

    The code runs on one thread and the recorder on another. Whoever changes something says so
    after that, and the recorder looks after it has noted that it was told; so it misses nothing.
    """

    call: ActivityCall
    lane: RecordingLane
    ref: RunRef
    trace: Json | None = None
    """The span of OpenTelemetry that the call was made in, if it was made in one."""
    never_reused: bool = False
    _status: str = "started"
    _ended: float | None = None
    _said: Json = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _admitted: int = 0
    _result: Captured | None = None
    _announced: bool = False
    _without_values: bool = False
    _beaten: float = 0.0

    @property
    def key(self) -> str:
        """By what its step is found in the record of its run."""
        header = self.call.header
        return STANDALONE if header is None else header.step

    def begin(self) -> None:
        """Take in that the attempt has started; never raise."""
        _quietly(self._announce)

    def complete(self, result: Any) -> None:
        """Take in that it has returned something; never raise."""
        _quietly(self._end, "completed", None, result)

    def fail(self, error: BaseException) -> None:
        """Take in what it has raised; never raise."""
        if isinstance(error, Exception):
            _quietly(self._end, "cancelled" if activity.is_cancelled() else "failed", error)
            return
        # Asynchronous completion is announced by an exception of its own.
        pending = type(error).__name__ == "_CompleteAsyncError"
        _quietly(self._end, "pending" if pending else "cancelled")

    def take_over(self) -> None:
        """Take in that it has its result without having run; never raise."""
        self._said["taken_over"] = True
        _quietly(self._end, "completed")

    def _end(self, status: str, error: BaseException | None = None, result: Any = None) -> None:
        if error is not None:
            self._said["error"] = self._error(error)
        if self._is_standalone():
            self._result = self._captured_result(result)
        if status != "pending":  # who completes it later knows when it ended
            self._ended = time.monotonic()
        self._status = status
        self._announce()

    def add_to(self, patch: Patch) -> tuple[int, bool]:
        """See `Source`."""
        self._announced = False
        known = self._known()
        if not (self._without_values or self._is_standalone()):
            patch.bytes += self._admitted
            return int(not patch.see_attempt(self.key, known)), False
        own = Patch(self.ref, attempts={self.key: known}, bytes=self._admitted)
        if self._is_standalone():
            self._describe_standalone(own, known)
        if self._without_values:
            drop_values(own)
        return merge(patch, own), False

    def _announce(self) -> None:
        recorder = self.lane.recorder
        if self._announced or recorder is None:
            return
        changes = 3 if self._is_standalone() else 1
        final = changes > 1 and self._ended is not None
        size = sum(self._sizes.values())
        room = recorder.admit(self.ref, changes, size, final=final)
        if room is Room.NONE:
            return
        self._without_values = room is Room.WITHOUT_VALUES
        self._admitted = 0 if self._without_values else size
        self._announced = True
        recorder.announce(self)

    def _known(self) -> Json:
        call, status, ended = self.call, self._status, self._ended
        header, begun = call.header, call.begun()
        known = {
            "attempt": call.info.attempt,
            "started": to_text(begun),
            "worker": self.lane.worker,
            "status": status,
            **self._said,
        }
        if header is not None and header.part:
            known["part"] = header.part
        if self.never_reused:
            known["never_reused"] = True
        if self.trace is not None:
            known["trace"] = self.trace
        if ended is not None and status != "started":
            known["ended"] = to_text(begun + timedelta(seconds=ended - call.started))
        return known

    def _is_standalone(self) -> bool:
        return self.call.info.workflow_id is None

    def report(self, progress: Json) -> None:
        """Tell how far the activity is."""
        self._said["progress"] = progress
        self._announce()

    def note(self, metadata: Json) -> None:
        """Tell what is to be known of the run."""
        at = to_text(self.call.now())
        notes = {key: {"at": at, "value": value} for key, value in metadata.items()}
        self.lane.tell(Patch(self.ref, notes=notes), False)  # noqa: FBT003 it is only what is new

    def span(self, span_id: str, span: Json) -> None:
        """Tell of a span that has begun or ended."""
        patch = Patch(self.ref, spans={span_id: span})
        self.lane.tell(patch, False)  # noqa: FBT003 it is only what is new

    @property
    def span_id(self) -> str:
        """The id of the span of the step."""
        return SpanIds(self.ref.run_id).step(self.key)

    def own_span_id(self, number: int) -> str:
        """Return the id of a span that the code begins, numbered from 1."""
        # A local activity that is run again begins with attempt 1, at another time.
        attempt = self.call.info.attempt
        return SpanIds(self.ref.run_id).own(self.key, attempt, to_text(self.call.begun()), number)

    def beat(self, details: tuple[Any, ...]) -> None:
        """Tell what the activity reported to Temporal, at most twice a second; never raise."""
        _quietly(self._beat, details)

    def _beat(self, details: tuple[Any, ...]) -> None:
        if not details or not self.lane.capture.keeps("heartbeat") or not _is_inert(details[0]):
            return
        now = time.monotonic()
        if now - self._beaten > HEARTBEAT_INTERVAL:
            self._beaten = now
            payload = activity.payload_converter().to_payloads(details[:1])[0]
            self._said["heartbeat"] = self._captured("heartbeat", payload)
            self._announce()

    def _error(self, error: BaseException) -> Json:
        kind = error.type if isinstance(error, ApplicationError) else type(error).__name__
        result: Json = {"type": kind or "ApplicationError"}
        if self.lane.capture.keeps("error"):
            # The text of one of Temporal's own errors begins with its type.
            message = error.message if isinstance(error, FailureError) else str(error)
            payload = PayloadConverter.default.to_payload({"message": message})
            result["value"] = self._captured("error", payload)
        return result

    def _captured(self, kind: Kind, payload: Payload) -> Captured:
        value = captured(kind, payload, self.lane.capture.limit, self.call.info.activity_type)
        self._sizes[kind] = value.size
        return value

    def _describe_standalone(self, patch: Patch, known: Json) -> None:
        info = self.call.info
        ended = known["status"] in {"completed", "failed", "cancelled"}
        clock = 2 * info.attempt + ended
        call = {
            "kind": "activity",
            "name": info.activity_type,
            "id": info.activity_id,
            "key": self.key,
            "time": to_text(info.scheduled_time),
            "clock": 0,
        }
        step: Json = {"call": call}
        if ended:
            step["end"] = {"status": known["status"], "time": known["ended"], "clock": clock}
        patch.steps = {1: step}
        patch.final = ended
        patch.header = self._header(known, clock, ended=ended)

    def _header(self, known: Json, clock: int, *, ended: bool) -> Json:
        info = self.call.info
        return {
            "kind": "activity",
            "namespace": self.ref.namespace,
            "workflow_id": self.ref.workflow_id,
            "run_id": self.ref.run_id,
            "workflow_type": info.activity_type,
            "task_queue": info.task_queue,
            "attempt": info.attempt,
            "chain": self.ref.run_id,
            "original": self.ref.run_id,
            "started": to_text(self.ref.started),
            "trace": self.trace,
            "updated": known.get("ended") or to_text(self.call.now()),
            "seen": to_text(utc_now()),
            "clock": clock,
            "synced": 0,
            "lost": 0,
            "worker": self.lane.worker,
            "step_count": 1,
            "input": [],
            "status": known["status"] if ended else "running",
            "ended": known.get("ended"),
            "confirmed": False,
            "result": self._result,
            "error": known.get("error"),
            "progress": known.get("progress"),
            "counts": {known["status"]: 1} if ended else {},
            "open": [] if ended else [info.activity_type],
            "checkpoints": [],
        }

    def _captured_result(self, result: Any) -> Captured | None:
        if not _is_inert(result) or not self.lane.capture.keeps("result"):
            return None
        payload: Payload = activity.payload_converter().to_payloads([result])[0]
        return self._captured("result", payload)


def attempt_of(
    call: ActivityCall, lane: RecordingLane, trace: Json | None = None
) -> Attempt | None:
    """Return the attempt to be recorded, if the call belongs to a recorded run."""
    info, header = call.info, call.header
    if lane.recording is None:
        return None
    if header is not None and header.recorded and (ref := call.ref()) is not None:
        return Attempt(call, lane, ref, trace)
    if info.workflow_id is None and info.activity_run_id is not None:
        if info.activity_type in lane.recording.exclude:
            return None
        namespace = info.workflow_namespace or info.namespace
        ref = RunRef(namespace, info.activity_id, info.activity_run_id, info.scheduled_time)
        return Attempt(call, lane, ref, trace)
    return None


def _is_inert(value: Any) -> bool:
    """Return whether converting a value once more cannot consume or change anything."""
    try:
        return value is not None and plain(value) is not None
    except InvalidValueError:
        return False


def _quietly(tell: Callable[..., None], *arguments: Any) -> None:
    try:
        tell(*arguments)
    except Exception:
        log.exception("an attempt of an activity could not be recorded")
