"""A run's history, counted as a worker's follower counts what it sees.

A call has the clock of the workflow task that made it, an end that of the task that delivered it,
so both sides' records merge. Only of local activities the history does not say where they were
called: all it has is a marker of their end. Of those and what came after them, the place among the
steps is a guess, which a worker that knows better may correct.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from temporalio.api.history.v1 import HistoryEvent

from temporal_state.documents import to_text
from temporal_state.runs import Json
from temporal_state.temporal._events import Ended
from temporal_state.temporal._history_events import (
    Call,
    End,
    Subject,
    attributes_of,
    call_of,
    end_of,
    marker_of,
    run_end_of,
)

EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was seen: Temporal's time, and the clock of records."""

    clock: int = 0
    time: datetime = EARLIEST


@dataclass(slots=True)
class Told:
    """One step, as the history tells of it.

    Attributes:
        attempt: What it says of the newest attempt, as the activity side would.
    """

    call: Call
    called: Moment
    end: End | None = None
    ended: Moment = field(default_factory=Moment)
    attempt: Json | None = None


@dataclass(slots=True)
class History:
    """What is known of a run after some events.

    Attributes:
        subject: Whose history it is.
        now: The last event: its number is the history's length.
        started: When the run started.
        steps: In the order of their calls.
        end: How the run ended, if it has.
        in_task: Whether a worker has a workflow task of which nothing is known yet.
        paused: Whether someone has paused the run.
    """

    subject: Subject
    now: Moment = field(default_factory=Moment)
    started: datetime = EARLIEST
    steps: list[Told] = field(default_factory=list)
    end: Ended | None = None
    in_task: bool = False
    paused: bool = False
    _task: Moment = field(default_factory=Moment)
    _begun: Moment = field(default_factory=Moment)
    _called: dict[int, Told] = field(default_factory=dict)
    _undelivered: list[Told] = field(default_factory=list)
    _pausing: dict[tuple[str, str], Told] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Whether the steps' places are known."""
        return not any(step.call.kind == "local_activity" for step in self.steps)

    def see(self, event: HistoryEvent) -> None:
        """Take in the next event."""
        self.now = Moment(event.event_id, event.event_time.ToDatetime(UTC))
        name, attributes = attributes_of(event)
        if name in _SEE:
            _SEE[name](self, attributes)
        elif (call := call_of(event, self.subject)) is not None:
            self.steps.append(Told(call, self._task))
            self._called[event.event_id] = self.steps[-1]
        elif (end := end_of(event)) is not None:
            self._see_end(end)
        else:
            self.end = run_end_of(event) or self.end

    def _see_end(self, end: End) -> None:
        step = self._called.get(end.call)
        if step is None or step.end is not None:
            return
        step.end, step.ended = end, self._task if end.by_workflow else self.now
        if not end.by_workflow:
            self._undelivered.append(step)
        if step.attempt is not None:
            step.attempt |= {"status": end.status, "ended": to_text(self.now.time)}

    def see_start(self, attributes: Any) -> None:
        """Take in with what the run was started."""
        self.subject.start, self.started = attributes, self.now.time

    def see_task_started(self, _: Any) -> None:
        """Take in that a worker was given a task."""
        self.in_task, self._begun = True, self.now

    def see_task_completed(self, _: Any) -> None:
        """Take in that the worker's answer was accepted."""
        self.in_task, self._task = False, self._begun
        later = [step for step in self._undelivered if step.ended.clock > self._task.clock]
        for step in self._undelivered:
            if step.ended.clock < self._task.clock:
                step.ended = self._task
        self._undelivered = later

    def see_task_lost(self, _: Any) -> None:
        """Take in that a task has come to nothing."""
        self.in_task = False

    def see_paused(self, _: Any) -> None:
        """Take in that someone has paused the run."""
        self.paused = True

    def see_unpaused(self, _: Any) -> None:
        """Take in that the run goes on."""
        self.paused = False

    def see_attempt(self, attributes: Any) -> None:
        """Take in that an activity was begun, which the history has once it has ended."""
        step = self._called.get(attributes.scheduled_event_id)
        if step is not None:
            step.attempt = {
                "attempt": attributes.attempt,
                "started": to_text(self.now.time),
                "worker": attributes.identity,
                "status": "started",
            }

    def see_marker(self, attributes: Any) -> None:
        """Take in that a local activity has ended, or pauses before it is called anew."""
        marker = marker_of(attributes, self.subject)
        if marker is None:
            return
        step = self._pausing.pop(marker.origin, None)
        if step is None:
            step = Told(marker.call, self._task)
            self.steps.insert(self._place_of(marker.call), step)
        if marker.end is None:
            self._pausing[marker.origin] = step
            return
        step.end = marker.end
        step.ended = Moment(self._task.clock, marker.time or self._task.time)

    def _place_of(self, call: Call) -> int:
        # Activities are numbered as they are called, so it came before those of higher numbers.
        for place, step in enumerate(self.steps):
            seq = step.call.seq
            if seq is not None and call.seq is not None and seq > call.seq:
                return place
        return len(self.steps)


_SEE: Mapping[str, Callable[[History, Any], None]] = {
    "workflow_execution_started": History.see_start,
    "workflow_execution_paused": History.see_paused,
    "workflow_execution_unpaused": History.see_unpaused,
    "workflow_task_started": History.see_task_started,
    "workflow_task_completed": History.see_task_completed,
    "workflow_task_failed": History.see_task_lost,
    "workflow_task_timed_out": History.see_task_lost,
    "activity_task_started": History.see_attempt,
    "marker_recorded": History.see_marker,
}
