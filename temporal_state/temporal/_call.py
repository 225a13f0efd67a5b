"""What we know of one activity attempt: which store, which run, which step, what time it is.

Time is Temporal's, so that a test that skips a day sees keys expire. For a remote activity that is
its start, by the server's clock, and what has passed since. All times of a local activity are the
worker's wall clock, so the workflow's time comes along in the header.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from temporalio import activity

from temporal_state.documents import Caller, Token, dumps, utc_now
from temporal_state.runs import ChainRef, Json, LoopRef, RunRef, digest, step_key
from temporal_state.temporal._call_header import CallHeader, moment_of
from temporal_state.temporal._loops import Loops
from temporal_state.temporal._names import Occurrences
from temporal_state.temporal._wire import ACTIVITY_PREFIX, pause_after
from temporal_state.temporal.requests import Calling, CallingRun, Request, Scope

if TYPE_CHECKING:
    from temporal_state.backend import StateBackend
    from temporal_state.temporal._recording import Recording


class AttemptRecord(Protocol):
    """What code of an attempt can have recorded, from any thread, without waiting."""

    @property
    def span_id(self) -> str:
        """The id of the span of the step."""
        ...

    def own_span_id(self, number: int) -> str:
        """Return the id of a span that the code begins, numbered from 1."""
        ...

    def report(self, progress: Json) -> None:
        """Tell how far the activity is."""
        ...

    def note(self, metadata: Json) -> None:
        """Tell what is to be known of the run."""
        ...

    def span(self, span_id: str, span: Json) -> None:
        """Tell of a span that has begun or ended."""
        ...


_MAKING = threading.Lock()


@dataclass(slots=True)
class _Used:
    """What nearly no activity uses."""

    changes: Occurrences = field(default_factory=Occurrences)
    spans: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    loops: Loops = field(default_factory=Loops)


@dataclass(slots=True)
class ActivityCall:
    """One attempt of one activity.

    Attributes:
        recording: What the worker's plugin keeps of values.
        told: What the run knew of itself when it called for a checkpoint.
        record: Where it is recorded; ``None`` if it is not.
        noted: What its code noted of the run.
        home: Whose own document it is, if its run goes on with another's.
        lineage: By what changes are named, if its run goes on with another's.
        former: By what loops of the same call are found in the runs that this one resumes.
    """

    backend: "StateBackend"
    info: activity.Info
    header: CallHeader | None
    max_result: int
    recording: "Recording | None" = None
    told: Json | None = None
    started: float = field(default_factory=time.monotonic)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    record: AttemptRecord | None = None
    spans_left_out: bool = False
    noted: Json | None = None
    home: ChainRef | None = None
    lineage: str | None = None
    former: Sequence[str] = ()
    _used: _Used | None = None

    @property
    def spans(self) -> Iterator[int]:
        """Numbers the spans that its code begins."""
        return self._using().spans

    @property
    def loops(self) -> Loops:
        """The loops over items that its code runs."""
        return self._using().loops

    def _using(self) -> _Used:
        with _MAKING:  # its code may have several threads
            if self._used is None:
                self._used = _Used()
        return self._used

    @property
    def has_loops(self) -> bool:
        """Whether there are any."""
        return self._used is not None and len(self._used.loops) > 0

    def begun(self) -> datetime:
        """Return when the attempt began, by Temporal's clock."""
        if self.info.is_local and self.header is not None:
            return self.header.now
        return self.info.started_time

    def now(self) -> datetime:
        """Return the present time by Temporal's clock."""
        return self.begun() + timedelta(seconds=time.monotonic() - self.started)

    def is_out_of_time(self) -> bool:
        """Return whether another attempt would start after the time for all attempts.

        The SDK does not end the retries of a local activity at its schedule-to-close timeout
        (seen in 1.35), so whoever runs as one must. Its times are the worker's wall clock.
        """
        timeout = self.info.schedule_to_close_timeout
        if not self.info.is_local or timeout is None:
            return False
        end: datetime = self.info.scheduled_time + timeout
        return utc_now() + pause_after(self.info.attempt) >= end

    def ref(self) -> RunRef | None:
        """Return where the workflow run of this activity is recorded, if it was told."""
        info, header = self.info, self.header
        if header is None or not header.started or info.workflow_id is None:
            return None
        namespace = info.workflow_namespace or info.namespace
        return _ref(namespace, info.workflow_id, info.workflow_run_id or "", header.started)

    def own(self) -> ChainRef | None:
        """Return the chain of the run that this activity belongs to, if it is known."""
        if self.home is not None:
            return self.home
        info = self.info
        namespace = info.workflow_namespace or info.namespace
        if self.header is not None and info.workflow_id is not None:
            return ChainRef(namespace, info.workflow_id, self.header.chain)
        if info.workflow_id is None and info.activity_run_id is not None:
            return ChainRef(namespace, info.activity_id, info.activity_run_id)
        return None

    def run(self) -> CallingRun | None:
        """Return the workflow run that this activity belongs to, if it is known."""
        info, header = self.info, self.header
        if header is None or info.workflow_id is None:
            return None
        return CallingRun(
            info.workflow_namespace or info.namespace,
            info.workflow_id,
            info.workflow_run_id or "",
            header.chain,
            header.lineage.source,
        )

    def scope(self, request: Request) -> Scope:
        """Return on what, on whose behalf and in which run ``request`` is performed."""
        ref, calling = self.ref(), None
        if ref is not None:
            kind = self.info.workflow_type or ""
            calling = Calling(ref, kind, self.info.task_queue, self.told)
        caller = self.caller(request)
        namespace = self.info.workflow_namespace or self.info.namespace
        return Scope(
            self.backend, caller, self.own(), self.run(), calling, self.recording, namespace
        )

    def caller(self, request: Request) -> Caller:
        """Return on whose behalf ``request`` is made: with this time, and its token."""
        token = None
        if request.changes:
            token = Token(
                self._step(),
                self._scheduled(),
                "" if self._is_ours() else self._change(request),
                first=self._is_first(),
            )
        limited = self._is_ours() and not request.returns_little
        return Caller(self.now(), token, self.max_result if limited else None)

    def _change(self, request: Request) -> str:
        if request.own_name is not None:
            return f"named-{digest(request.operation, request.own_name)[:16]}"
        content = digest(request.operation, dumps(vars(request)))
        return f"{content[:16]}-{self._using().changes.next(content)}"

    def _is_ours(self) -> bool:
        return self.info.activity_type.startswith(ACTIVITY_PREFIX)

    def run_id(self) -> str:
        """Return the run that this is an attempt of."""
        return self.info.workflow_run_id or self.info.activity_run_id or ""

    def loop_refs(self, name: str) -> Sequence[LoopRef]:
        """Return where the position of a loop lies: of this run, then of those it resumes."""
        info = self.info
        namespace = info.workflow_namespace or info.namespace
        home = self.own() or ChainRef(namespace, info.workflow_id or "", self.run_id())
        return [LoopRef(home, call, name) for call in (self._own_step(), *self.former)]

    def _step(self) -> str:
        if self.header is not None and self.lineage is not None:
            return step_key(self.lineage, self.header.content)
        return self._own_step()

    def _own_step(self) -> str:
        if self.header is not None:
            return self.header.step
        run = self.run_id()
        # An activity id can be used again by a later call, but not at the same time.
        return digest(run, self.info.activity_id, self.info.scheduled_time.isoformat())

    def _is_first(self) -> bool:
        was_reset = self.header is not None and self.header.since is not None
        return self.info.attempt == 1 and not self.info.is_local and not was_reset

    def _scheduled(self) -> datetime:
        if self.header is None:
            return self.info.scheduled_time
        return self.header.since or self.header.now


@lru_cache(maxsize=1024)
def _ref(namespace: str, workflow_id: str, run_id: str, started: int) -> RunRef:
    return RunRef(namespace, workflow_id, run_id, moment_of(started))  # many activities of one run


CURRENT_CALL: ContextVar[ActivityCall] = ContextVar("temporal_state_activity_call")
"""The attempt that the present code runs for; set in activities of workers with our plugin."""
