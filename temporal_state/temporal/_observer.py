"""Knows a run by what went in and out of its workflow code, looked at one after the other.

It counts always, so that a replay brings it to the same numbers, and tells only of what is not
replayed. After a replay it first tells all that the replay showed, since the worker before may have
died with some of it untold. The recorder leaves out what is already written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from temporalio.bridge.proto.workflow_activation import (
    InitializeWorkflow,
    RemoveFromCache,
    WorkflowActivation,
)
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.workflow import Info

from temporal_state.documents import to_text, utc_now
from temporal_state.runs import Json, Patch, RunRef
from temporal_state.temporal._capture import captured, captured_error, drop_values, started_with
from temporal_state.temporal._events import Closed, Ended, Event, Place, Scheduled, of_job, time_of
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._opentelemetry import trace_in
from temporal_state.temporal._pauses import Pauses
from temporal_state.temporal._seen import ObserverSettings, Seen, fixed_header
from temporal_state.temporal._untold import Intake, Untold
from temporal_state.temporal._wire import CHECKPOINT, HEADER, json_payload, object_in

ACCEPTED = RemoveFromCache.EvictionReason.WORKFLOW_EXECUTION_ENDING
REFUSED = frozenset(
    {
        RemoveFromCache.EvictionReason.UNHANDLED_COMMAND,  # a signal had arrived
        RemoveFromCache.EvictionReason.LANG_FAIL,
        RemoveFromCache.EvictionReason.NONDETERMINISM,
        RemoveFromCache.EvictionReason.FATAL,
    }
)
"""Reasons to leave the cache that say what became of an end; others, like a full cache, do not."""

OPEN_SHOWN = 20
INSTANT = timedelta(microseconds=1)
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Observer:
    """Looks at what was seen of one run, and has its steps and its header.

    Attributes:
        untold: What it has for the recorder.
    """

    info: Info
    settings: ObserverSettings
    intake: Intake
    untold: Untold = field(init=False)
    _patch: Patch | None = None
    """What was seen since something was told: of a replay all, so there it waits for its end."""
    _has_replayed: bool = False
    _has_news: bool = False
    _steps: int = 0
    _checkpoints: int = 0
    _open: dict[Place, tuple[int, str, str | None]] = field(default_factory=dict)
    _lineage: Lineage = field(default_factory=Lineage)
    _trace: Json | None = None
    _pauses: Pauses | None = None
    _counts: dict[str, int] = field(default_factory=dict)
    _closed: int = 0
    _end: Json = field(default_factory=dict)
    _said: Json = field(default_factory=dict)
    _clock: int = 0
    _complete: int = 0
    _now: datetime = field(default_factory=utc_now)
    _now_text: str = ""
    _seen: datetime = NEVER
    _checkpoint_step: int = 0
    _checkpoint_time: datetime | None = None

    def __post_init__(self) -> None:
        info = self.info
        ref = RunRef(info.namespace, info.workflow_id, info.run_id, info.workflow_start_time)
        self.untold = Untold(ref, self.intake, self._header)

    def look_at(self, seen: Seen) -> None:
        """Take in what was seen next; a command that asks to be told something is told."""
        act, patch = seen.act, self._patch
        if patch is None:
            patch = self._patch = Patch(self.untold.ref)
        first = act.jobs[0]
        # Later than what was seen before, also if the clock was set back: it puts them in order.
        self._seen = seen.time if seen.time > self._seen else self._seen + INSTANT
        self._lineage = seen.lineage
        if first.HasField("remove_from_cache"):
            self._see_eviction(first.remove_from_cache.reason, patch)
            return
        self._see_time(act)
        if first.HasField("initialize_workflow"):
            self._see_start(first.initialize_workflow, patch)
        self._see_steps(seen, patch)
        self._see_checkpoint(patch)
        if self._end.get("status") == "continued_as_new":
            self._tell_continued(seen.commands)
        patch.final = bool(self._end)
        if act.is_replaying:
            self._has_replayed = True
        else:
            self._has_news = True

    def _see_steps(self, seen: Seen, patch: Patch) -> None:
        for job in seen.act.jobs:
            closed = of_job(job)
            if closed is not None:
                self._see_closed(closed, patch)
        self._see_notes(seen)
        for index, event in enumerate(seen.events):
            self._see_command(event, patch)
            if seen.commands and isinstance(event, Scheduled) and event.name == CHECKPOINT:
                self._tell_checkpoint(seen.commands[index])
        if self._pauses is not None:
            for number in self._pauses.given_up():
                self._close(number, {"status": "cancelled"}, patch)

    def tell(self) -> None:
        """Have what was looked at wait to be written; of a replay nothing before its end."""
        patch, whole = self._patch, self._has_replayed
        if patch is None or not self._has_news:
            return
        self._patch = None
        self._has_news = self._has_replayed = False
        if not self.untold.add(patch, whole=whole):
            drop_values(Patch(patch.ref, self._end))

    def _see_time(self, act: WorkflowActivation) -> None:
        if act.history_length > self._clock:
            self._complete, self._clock = self._clock, act.history_length
            # More history after an end: the server did not take it. In the same task, though, what
            # was still open when the workflow ended may be resolved after the end.
            self._end = {}
        self._now = time_of(act)
        self._now_text = to_text(self._now)

    def _see_notes(self, seen: Seen) -> None:
        self._said["progress"] = seen.progress
        if seen.metadata:
            at = [self._clock, self._now_text]
            self._said["metadata"] = self._said.get("metadata", {}) | seen.metadata
            times = dict.fromkeys(seen.metadata, at)
            self._said["metadata_at"] = self._said.get("metadata_at", {}) | times

    def _see_checkpoint(self, patch: Patch) -> None:
        checkpoint = self._checkpoint()
        if checkpoint is not None:
            patch.see_checkpoint(checkpoint)

    def _tell_continued(self, commands: Sequence[WorkflowCommand]) -> None:
        """Let the run that this one continues as go on with its checkpoints' numbers."""
        for command in commands:
            if command.HasField("continue_as_new_workflow_execution"):
                headers = command.continue_as_new_workflow_execution.headers
                told = self._lineage.of_continued(self._checkpoints)
                headers[HEADER].CopyFrom(told.to_payload())

    def _see_eviction(self, reason: int, patch: Patch) -> None:
        if not self._end or (self._has_replayed and not self._has_news):
            return
        if reason in REFUSED:
            self._end = {}
        elif reason == ACCEPTED:
            self._end = {**self._end, "confirmed": True}
        else:
            return
        patch.final = self._has_news = True

    def _see_start(self, start: InitializeWorkflow, patch: Patch) -> None:
        settings = self.settings.capture
        if settings.capture != "none":
            patch.header = {
                "input": [captured("input", p, settings.limit) for p in start.arguments],
                "start": started_with(start, settings.limit),
            }
            patch.bytes += sum(value.size for value in patch.header["input"])
            patch.bytes += sum(value.size for value in patch.header["start"]["memo"].values())
        self._trace = trace_in(start.headers)
        self._checkpoints = self._lineage.checkpoints
        self._checkpoint_time = self._now

    def _see_command(self, event: Event | None, patch: Patch) -> None:
        if isinstance(event, Scheduled):
            self._see_scheduled(event, patch)
        elif isinstance(event, Closed):
            self._see_closed(event, patch)
        elif isinstance(event, Ended):
            self._end = {"ended": self._now_text, **self._outcome(event, patch)}

    def _see_scheduled(self, event: Scheduled, patch: Patch) -> None:
        number = None if self._pauses is None else self._pauses.end(event)
        if number is None:
            self._steps += 1
            number = self._steps
        self._open[event.place] = (number, event.name, event.key)
        call: Json = {
            "kind": event.kind,
            "name": event.name,
            "id": event.id,
            "key": event.key,
            "time": self._now_text,
            "clock": self._clock,
        }
        if event.part:
            call["part"] = event.part
        settings = self.settings.capture
        if settings.capture == "all":
            values = [captured("input", p, settings.limit, event.name) for p in event.input]
            patch.bytes += sum(value.size for value in values)
            call["input"] = values
        patch.see_step(number, "call", call)

    def _see_closed(self, event: Closed, patch: Patch) -> None:
        number, name, key = self._open.pop(event.place, (0, "", None))
        if number == 0:
            return
        if event.pause is not None:
            self._pauses = self._pauses or Pauses()
            self._pauses.begin(event.pause, key, number)
            return
        if self._pauses is not None:
            self._pauses.closed(event)
        if name == CHECKPOINT and event.status == "completed":
            made = (object_in(event.result) or {}).get("number", 0)
            self._checkpoints = max(self._checkpoints, int(made))
        self._close(number, self._outcome(event, patch, name), patch)

    def _close(self, number: int, outcome: Json, patch: Patch) -> None:
        status = outcome["status"]
        self._counts[status] = self._counts.get(status, 0) + 1
        self._closed += 1
        patch.see_step(number, "end", {"time": self._now_text, "clock": self._clock, **outcome})

    def _outcome(self, event: Closed | Ended, patch: Patch, step: str | None = None) -> Json:
        settings = self.settings.capture
        outcome: Json = {"status": event.status}
        if event.result is not None and settings.keeps("result"):
            value = captured("result", event.result, settings.limit, step)
            outcome["result"] = value
            patch.bytes += value.size
        if event.failure is not None:
            error = captured_error(event.failure, settings, step)
            outcome["error"] = error
            patch.bytes += error["value"].size if "value" in error else 0
        return outcome

    def _tell_checkpoint(self, command: WorkflowCommand) -> None:
        """Give a checkpoint that the code asks for its number, beside its arguments."""
        call: Any = getattr(command, command.WhichOneof("variant") or "")
        if getattr(call, "attempt", 1) > 1:
            return
        self._checkpoints += 1
        told = self._checkpoint_now()
        call.headers[CHECKPOINT].CopyFrom(json_payload(told))

    def _checkpoint(self) -> Json | None:
        closed = self._closed
        if closed == self._checkpoint_step or self._checkpoint_time is None:
            return None
        enough = closed - self._checkpoint_step >= self.settings.every
        if not enough and self._now - self._checkpoint_time < self.settings.interval:
            return None
        self._checkpoint_step, self._checkpoint_time = closed, self._now
        self._checkpoints += 1
        return self._checkpoint_now()

    def _checkpoint_now(self) -> Json:
        number, step = self._checkpoints, self._closed
        known = {"number": number, "step": step, "time": self._now_text}
        return {**self._situation(), "progress": self._said["progress"], **known}

    def _situation(self) -> Json:
        return {
            "clock": self._clock,
            "counts": dict(self._counts),
            "open": [name for _, name, _ in islice(self._open.values(), OPEN_SHOWN)],
        }

    def _header(self) -> Json:
        """Return what is known of the run by now."""
        return {
            **fixed_header(self.info),
            **self._lineage.to_json(),
            "worker": self.settings.worker,
            "trace": self._trace,
            "updated": self._now_text,
            "seen": to_text(self._seen),
            "synced": self._complete,
            "step_count": self._steps,
            "status": "running",
            "ended": None,
            "confirmed": False,
            "result": None,
            "error": None,
            **self._situation(),
            **self._said,
            **self._end,
        }
