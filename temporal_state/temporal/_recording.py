"""The recording lane of one plugin: what is recorded, and the recorder its workers share."""

import asyncio
import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.worker import Worker, WorkflowInstanceDetails

from temporal_state.errors import ConfigurationError
from temporal_state.runs import LAST_ENDS, Json, Patch, RunRef, Runs, Value
from temporal_state.temporal._call_header import CallHeader
from temporal_state.temporal._capture import (
    Capture,
    CaptureSettings,
    Redact,
    ValueEncoder,
    captured,
)
from temporal_state.temporal._follower import Follower
from temporal_state.temporal._observer import Observer
from temporal_state.temporal._recorder import Recorder, RecorderSettings
from temporal_state.temporal._seen import ObserverSettings
from temporal_state.temporal._untold import Intake, Nowhere, Room, Source
from temporal_state.temporal._values import restored
from temporal_state.temporal._wire import UNRECORDED, is_plain

log = logging.getLogger("temporal_state")

ACK_LIMIT = 2 * 1024 * 1024
"""Most bytes of a result that is recorded before Temporal learns of it: what Temporal takes."""

LEAST: Mapping[str, int | timedelta] = {
    "capture_limit": 0,
    "ack_timeout": timedelta(),
    "checkpoint_every": 1,
    "checkpoint_interval": timedelta(),
    "flush_interval": timedelta(milliseconds=1),
    "max_pending": 1,
    "max_pending_bytes": 0,
    "shutdown_timeout": timedelta(),
}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a plugin records of its workers' runs, and how.

    Attributes:
        capture: ``results`` keeps results, errors and the runs' inputs; ``all`` also the inputs of
            steps; ``none`` neither.
        capture_limit: Most bytes of one value; of larger ones only the size is kept.
        redact: Looks at each value before it is kept, and before any codec.
        exclude: Workflow types that are not recorded.
        before_ack: Whether the result of an activity is recorded before Temporal learns of it, so
            that an attempt that is repeated after a crash returns it: of all, or of those named.
            It is kept up to `ACK_LIMIT` bytes, whatever ``capture_limit`` is.
        ack_timeout: How long an activity waits for that at most, before and after it runs.
        reuse_on_retry: Whether a workflow that is retried by its own retry policy takes over what
            its attempts before have completed, as a resumed one does.
        checkpoint_every: A checkpoint after so many closed steps, ...
        checkpoint_interval: ... and after this long, if any step was closed since.
        flush_interval: What was seen waits this long before it is written; while much happens up
            to six times as long, at most 3 s, so that writing leaves the processor to the runs.
        max_pending: Most changes that wait to be written; what does not fit is lost, and counted.
        max_pending_bytes: Most bytes of values that wait; what comes then is kept without values.
        shutdown_timeout: How long the last flush may take.
        delete_ended: Statuses, such as ``completed``: some seconds after a run has ended so, and
            Temporal has taken that, it is deleted with all that belongs to it, with its children,
            and with the runs that continued as it. What may be needed stays: see `EndedRuns`. What
            could not be done is left to maintenance.
    """

    capture: Capture = "results"
    capture_limit: int = 128 * 1024
    redact: Redact | None = None
    exclude: Collection[str] = ()
    before_ack: bool | Collection[str] = False
    ack_timeout: timedelta = timedelta(seconds=5)
    reuse_on_retry: bool = False
    checkpoint_every: int = 10
    checkpoint_interval: timedelta = timedelta(seconds=30)
    flush_interval: timedelta = timedelta(milliseconds=500)
    max_pending: int = 50_000
    max_pending_bytes: int = 64 * 1024 * 1024
    shutdown_timeout: timedelta = timedelta(seconds=10)
    delete_ended: Collection[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.delete_ended, str) or {*self.delete_ended} - LAST_ENDS:
            raise ConfigurationError(
                f"delete_ended={self.delete_ended!r} is no list of ends; give some of "
                f"{', '.join(sorted(LAST_ENDS))}"
            )
        if self.capture not in {"results", "none", "all"}:
            raise ConfigurationError(f"capture={self.capture!r} is not 'results', 'none' or 'all'")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)!r} is below the least possible, {least!r}"
                )
        if self.capture == "none" and self.before_ack:
            raise ConfigurationError(
                "before_ack keeps results, and capture='none' keeps no values; choose one of them"
            )


class RecordingLane(Intake):
    """Follows runs and takes in what is seen, while a worker of the plugin runs."""

    def __init__(self, runs: Runs, recording: Recording | None) -> None:
        self._runs = runs
        self.recording = recording
        self.capture = CaptureSettings("none")
        if recording is not None:
            self.capture = CaptureSettings(
                recording.capture, recording.capture_limit, recording.redact
            )
        self.recorder: Recorder | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._converter = DataConverter.default
        self._settings: ObserverSettings | None = None
        self.worker = ""

    def records(self, workflow_type: str, workflow_class: type | None = None) -> bool:
        """Return whether runs of a workflow type are recorded."""
        if self.recording is None or workflow_type in self.recording.exclude:
            return False
        return not getattr(workflow_class, UNRECORDED, False)

    def follow(self, det: WorkflowInstanceDetails) -> Follower | None:
        """Return a follower for a new run in the cache, unless it is not recorded."""
        if self.recording is None or not self.records(det.info.workflow_type, det.defn.cls):
            return None
        settings = self._settings
        if settings is None or settings.worker != self.worker:
            settings = self._settings = ObserverSettings(
                self.capture,
                self.recording.checkpoint_every,
                self.recording.checkpoint_interval,
                self.worker,
                self.recording.reuse_on_retry,
            )
        # Not this lane: what is taken last is taken when it has no recorder any longer.
        intake = self.recorder or Nowhere()
        return Follower(Observer(det.info, settings, intake), intake)

    @property
    def ack_timeout(self) -> timedelta:
        """How long an activity waits for the record of its result."""
        return self.recording.ack_timeout if self.recording is not None else timedelta()

    def acknowledges(self, activity_type: str) -> bool:
        """Return whether results of an activity are recorded before Temporal learns of them."""
        if self.recording is None:
            return False
        chosen = self.recording.before_ack
        return chosen if isinstance(chosen, bool) else activity_type in chosen

    async def stored(self, ref: RunRef, payload: Payload, step: str) -> Json:
        """Return a result as it is kept."""
        value = captured("result", payload, max(self.capture.limit, ACK_LIMIT), step)
        return await ValueEncoder(
            self.capture, self._converter, asyncio.get_running_loop()
        ).encode_value(value, ref)

    async def restored(self, namespace: str, workflow_id: str, value: Value) -> Payload:
        """Return the payload of a kept value, as it was before the codec.

        Args:
            namespace: Of the run whose value it is.
            workflow_id: Of that run.
            value: A value that was not dropped.
        """
        return await restored(self._converter, namespace, workflow_id, value)

    async def header_in(self, payload: Payload | None) -> CallHeader | None:
        """Return what a workflow wrote for its activity; ``None`` if nothing readable is there.

        A client may be set up so that headers arrive encoded.
        """
        if payload is None:
            return None
        try:
            codec = self._converter.payload_codec
            if codec is not None and not is_plain(payload):
                payload = (await codec.decode([payload]))[0]
            return CallHeader.from_payload(payload)
        except Exception:
            log.exception("the header of an activity cannot be read, so it is done without")
            return None

    def tell(self, patch: Patch, whole: bool) -> None:  # noqa: FBT001 called from hot code
        """Hand on what was seen; drop it if no worker is running."""
        recorder = self.recorder
        if recorder is not None:
            recorder.tell(patch, whole)

    def admit(self, ref: RunRef, changes: int, size: int, *, final: bool) -> Room:
        """See base class; there is no room if no worker is running."""
        recorder = self.recorder
        return recorder.admit(ref, changes, size, final=final) if recorder else Room.NONE

    def announce(self, source: Source) -> None:
        """See base class."""
        recorder = self.recorder
        if recorder is not None:
            recorder.announce(source)

    def join(self, worker: Worker) -> None:
        """Count a worker that is about to run; each must `leave`.

        Raises:
            ConfigurationError: Another worker of this plugin has another data converter, by which
                this one's values would be kept.
        """
        converter = worker.client.data_converter
        with self._lock:
            if self._users and self._converter != converter:
                raise ConfigurationError(
                    "a StatePlugin serves workers of one data converter, and this worker's client "
                    "has another than those that run already; give each client a StatePlugin of "
                    "its own, or all the same data_converter"
                )
            self._converter = converter
            self._users += 1

    async def leave(self) -> None:
        """Count a worker that has ended; the last one waits for what is unwritten."""
        with self._lock:
            self._users -= 1
            recorder = self.recorder if self._users == 0 else None
            if recorder is not None:
                self.recorder = None
        if recorder is not None:
            await asyncio.to_thread(recorder.stop)

    def start(self, worker: Worker) -> None:
        """Start to record, unless another worker has started it."""
        with self._lock:
            if self.recorder is None and self.recording is not None:
                self.recorder = self._start(worker, self.recording)

    def _start(self, worker: Worker, recording: Recording) -> Recorder:
        config = worker.config(active_config=True)
        client = worker.client
        self.worker = config.get("identity") or client.identity
        converter: DataConverter = client.data_converter
        encoder = ValueEncoder(self.capture, converter, asyncio.get_running_loop())
        settings = RecorderSettings(
            recording.flush_interval,
            recording.max_pending,
            recording.max_pending_bytes,
            recording.shutdown_timeout,
            recording.delete_ended,
        )
        recorder = Recorder(self._runs, encoder, settings)
        runtime = client.service_client.config.runtime or Runtime.default()
        recorder.start(runtime.metric_meter)
        return recorder
