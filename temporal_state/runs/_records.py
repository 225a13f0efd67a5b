"""What is known of a run, as readers get it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents import from_text, loads
from temporal_state.errors import InvalidValueError
from temporal_state.runs._digest import digest
from temporal_state.runs._refs import RunRef
from temporal_state.runs._source import Home, Source

CLOSED = frozenset(
    {"completed", "failed", "cancelled", "terminated", "timed_out", "continued_as_new"}
)
LAST_ENDS = CLOSED - {"continued_as_new"}
"""Ends after which there need not be another run."""
STEP_STATUSES = frozenset(
    {"scheduled", "started", "completed", "failed", "cancelled", "terminated", "timed_out"}
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is: ``done`` of ``total`` (if that is known)."""

    done: float
    total: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed: the error's stable type, and its message if it was kept readable."""

    type: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Value:
    """A recorded input or result, as the user's data converter encodes it.

    Attributes:
        encoding: The payload's encoding, such as ``json/plain`` or ``binary/encrypted``.
        data: The payload's data; ``None`` if it was not kept, or is large and was not read.
        metadata: The payload's further metadata, base64.
        dropped: Why it was not kept: ``too large (... bytes)``, ``redacted`` or ``unencodable``.
        size: Bytes of a large value, which is kept beside the record; lists do not read it.
    """

    encoding: str
    data: bytes | None
    metadata: dict[str, str] = field(default_factory=dict)
    dropped: str | None = None
    size: int | None = None

    def json(self) -> Any:
        """Return the value that JSON text says.

        Raises:
            InvalidValueError: It was not kept, not read, or is encoded as something else.
        """
        if self.dropped is not None:
            raise InvalidValueError(f"this value was not kept: {self.dropped}")
        if self.data is None:
            raise InvalidValueError(
                f"this value of {self.size} bytes is kept beside the record, which a list does not "
                "read; take the run from runs.get"
            )
        if not self.encoding.startswith("json/"):
            raise InvalidValueError(
                f"this value is encoded as {self.encoding!r}, not as JSON; decode its data with "
                "the data converter (and codec) of the client that wrote it"
            )
        try:
            return loads(self.data)
        except ValueError as error:
            raise InvalidValueError(
                f"this value says that it is {self.encoding!r}, but is no JSON ({error})"
            ) from error


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of OpenTelemetry: the ids of its trace and its own, 32 and 16 hexadecimal digits."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Start:
    """What a run was started with beside its input.

    Attributes:
        retry: The fields of its retry policy, times in seconds; ``None`` if it has none.
    """

    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry: dict[str, Any] | None
    memo: dict[str, Value]
    search_attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as far as its record knows.

    Attributes:
        kind: ``workflow``, ``activity`` for a standalone one, or what was said by hand, by default
            ``manual``.
        status: ``running``, ``completed``, ``failed``, ``cancelled``, ``terminated``,
            ``timed_out`` or ``continued_as_new``.
        confirmed: Whether Temporal has accepted this end. One that is not may be taken back.
        clock: The length of Temporal's history that the record has seen.
        steps: How many steps were scheduled.
        counts: How many steps have which status.
        open: The steps that the run waits for, by name; the first 20.
        chain: The run id that all runs of the chain share.
        lost: How many changes could not be recorded for lack of a working store.
        start: What it was started with; ``None`` if that was not kept.
        resumed_from: The run whose results this one takes over.
        home: Whose own document it goes on with; ``None`` is its own chain's.
        metadata: What was noted of it, by the workflow or by hand.
        trace: The span of OpenTelemetry that it was started in, if it was in one.
        trace_root: Of a run that resumes another: the trace of the first one.
        paused: Whether someone has paused it, as far as Temporal was asked.
        known_to_temporal: ``False`` if Temporal was asked and has no such run any more: its status
            is then the last that was known.
    """

    kind: str
    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: str
    confirmed: bool
    attempt: int
    started: datetime
    ended: datetime | None
    updated: datetime
    clock: int
    progress: Progress | None
    steps: int
    counts: dict[str, int]
    open: list[str]
    input: list[Value]
    result: Value | None
    error: Failure | None
    parent: dict[str, str] | None
    chain: str
    original: str
    continued_from: str | None
    cron: str | None
    worker: str
    lost: int
    start: Start | None = None
    resumed_from: Source | None = None
    home: Home | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    trace: TraceContext | None = None
    trace_root: str | None = None
    paused: bool = False
    known_to_temporal: bool = True

    @property
    def trace_id(self) -> str:
        """The trace of the run, its resets and those that resume it, or OpenTelemetry's."""
        if self.trace is not None:
            return self.trace.trace_id
        return self.trace_root or digest(self.original, "trace")

    @property
    def unsettled(self) -> bool:
        """Whether Temporal may say something else of it: it runs, or its end is not confirmed."""
        of_temporal = self.kind == "workflow" and self.known_to_temporal
        return of_temporal and not (self.ended is not None and self.confirmed)

    @property
    def ref(self) -> RunRef:
        """Which run it is, for calls that need to know."""
        return RunRef(self.namespace, self.workflow_id, self.run_id, self.started)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a run waits or waited for.

    Attributes:
        number: In the order in which the workflow scheduled them, from 1.
        kind: ``activity``, ``local_activity``, ``child``, ``timer`` or ``nexus``.
        name: The type of the activity or workflow, the operation, or the timer's summary.
        id: The activity id or child workflow id.
        key: The name of the call by its content; the same when the call is repeated.
        status: ``scheduled``, ``started``, or how it ended.
        scheduled: When the workflow scheduled it.
        closed: When the workflow learned of its end.
        started: When its newest known attempt started, and ...
        ended: ... ended, on its worker.
        attempt: The number of that attempt, if one is known.
        worker: Who made it.
        progress: What it reported.
        error: Why it failed, or why its newest attempt did.
        taken_over: Whether its result was taken over from the run that this one resumes, or from an
            attempt before, instead of running it.
        never_reused: Whether its activity says that it is run again in a resumed run.
        trace: The span of OpenTelemetry that called it, if it was called in one.
    """

    number: int
    kind: str
    name: str
    id: str
    key: str | None
    status: str
    scheduled: datetime
    closed: datetime | None
    started: datetime | None
    ended: datetime | None
    attempt: int | None
    worker: str | None
    progress: Progress | None
    heartbeat: Value | None
    input: list[Value]
    result: Value | None
    error: Failure | None
    taken_over: bool = False
    never_reused: bool = False
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was known of a run at one moment; immutable.

    Attributes:
        number: From 1; a run that was continued as new goes on from the one before.
        step: How many steps had been closed.
        state: The run's own document as it was when the checkpoint was written, at most one flush
            later, or the state that was given by hand; ``None`` if there was none.
        name: One with a name is never dropped by retention.
        took: How long it took to write it with all that it needs. It is written down before that
            has ended, so the last part of it, putting the run's own object in its place, counts as
            it took the process the time before.
    """

    number: int
    step: int
    time: datetime
    clock: int
    progress: Progress | None
    counts: dict[str, int]
    open: list[str]
    version: int
    state: dict[str, Any] | None
    name: str | None = None
    took: timedelta | None = None


def time_of(text: str | None) -> datetime | None:
    """Return a recorded time, if there is one."""
    return None if text is None else from_text(text)
