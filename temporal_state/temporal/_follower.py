"""Follows one run by what goes in and out of its workflow code: activations and completions.

It stands outside of the workflow and its sandbox and reads, so it cannot change what the workflow
does, and it sees what no interceptor sees: timers, failures raised in handlers, whether an
end was accepted, and why a run leaves the cache.

It counts always, so that a replay brings it to the same numbers, and tells the recorder only of
what is not replayed. After a replay it first tells all that the replay showed, since the worker
before may have died with some of it untold. The recorder leaves out what is already written.
"""

from collections import Counter
from collections.abc import Callable, Mapping
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
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import Info

from temporal_state.documents import to_text, utc_now
from temporal_state.runs import Json, Patch, RunRef
from temporal_state.temporal._capture import CaptureSettings, captured, captured_error, started_with
from temporal_state.temporal._events import Closed, Ended, Place, Scheduled, jobs_closed, of_command
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._notes import Notes
from temporal_state.temporal._opentelemetry import trace_in
from temporal_state.temporal._pauses import Pauses
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


@dataclass(frozen=True, slots=True)
class FollowerSettings:
    """How runs are followed.

    Attributes:
        capture: Which values are kept.
        every: A checkpoint after so many closed steps, ...
        interval: ... and after this long, if any step was closed since.
        worker: The identity of this worker.
        on_retry: Whether an attempt by the workflow's retry policy takes over from the one before.
    """

    capture: CaptureSettings
    every: int
    interval: timedelta
    worker: str
    on_retry: bool = False


@dataclass(slots=True)
class Follower:
    """Follows one run for as long as it is in this worker's cache."""

    info: Info
    settings: FollowerSettings
    tell: Callable[[Patch, bool], None]
    """Takes what is new, and whether it is all that is known since the run's start."""
    notes: Notes = field(default_factory=Notes)
    lineage: Lineage = field(default_factory=Lineage)
    """Where the run comes from; whoever reads it from its start sets it before `see`."""
    _steps: int = 0
    _open: dict[Place, tuple[int, str, str | None]] = field(default_factory=dict)
    _trace: Json | None = None
    _pauses: Pauses = field(default_factory=Pauses)
    _counts: Counter[str] = field(default_factory=Counter)
    _end: Json = field(default_factory=dict)
    _input: list[Any] = field(default_factory=list)
    _start: Json = field(default_factory=dict)
    _fixed: Json = field(default_factory=dict)
    _input_told: bool = False
    _replayed: Patch | None = None
    _clock: int = 0
    _complete: int = 0
    _now: datetime = field(default_factory=utc_now)
    _checkpoint_step: int = 0
    _checkpoint_time: datetime | None = None

    def see(
        self,
        act: WorkflowActivation,
        completion: WorkflowActivationCompletion,
        keys: Mapping[Place, str],
    ) -> None:
        """Take in one activation, what the workflow answered, and the keys of its calls."""
        if all(job.HasField("query_workflow") for job in act.jobs):
            return
        if act.jobs[0].HasField("remove_from_cache"):
            self._see_eviction(act.jobs[0].remove_from_cache.reason)
            return
        self._see_time(act)
        patch = Patch(self._ref())
        if act.jobs[0].HasField("initialize_workflow"):
            self._see_start(act.jobs[0].initialize_workflow)
        for closed in jobs_closed(act.jobs):
            self._see_closed(closed, patch)
        for command in completion.successful.commands:
            self._see_command(of_command(command, keys), patch)
            self._tell_checkpoint(command)
        for number in self._pauses.given_up():
            self._close(number, {"status": "cancelled"}, patch)
        checkpoints = self._checkpoints()
        for command in completion.successful.commands:
            if command.HasField("continue_as_new_workflow_execution"):
                headers = command.continue_as_new_workflow_execution.headers
                told = self.lineage.of_continued(self.notes.checkpoints)
                headers[HEADER].CopyFrom(told.to_payload())
        if act.is_replaying:
            patch.header = self._header(checkpoints)
            self._replayed = self._replayed or Patch(self._ref())
            self._replayed.add(patch)
        else:
            self._tell(patch, checkpoints)

    def _see_time(self, act: WorkflowActivation) -> None:
        if act.history_length > self._clock:
            self._complete, self._clock = self._clock, act.history_length
            # More history after an end: the server did not take it. In the same task, though, what
            # was still open when the workflow ended may be resolved after the end.
            self._end = {}
        self._now = act.timestamp.ToDatetime(UTC)

    def _tell(self, patch: Patch, checkpoints: list[Json]) -> None:
        replayed, self._replayed = self._replayed, None
        patch.header, patch.final = self._header(checkpoints), bool(self._end)
        self._input_told = True
        if replayed is None:
            self.tell(patch, False)  # noqa: FBT003 the name is at the attribute
            return
        replayed.add(patch)
        self.tell(replayed, True)  # noqa: FBT003 as above

    def _see_eviction(self, reason: int) -> None:
        if not self._end or self._replayed is not None:
            return
        if reason in REFUSED:
            self._end = {}
        elif reason != ACCEPTED:
            return
        header = {**self._header([]), "confirmed": reason == ACCEPTED}
        self.tell(Patch(self._ref(), header, final=True), False)  # noqa: FBT003 as above

    def _see_start(self, start: InitializeWorkflow) -> None:
        settings = self.settings.capture
        if settings.capture != "none":
            self._input = [captured("input", p, settings.limit) for p in start.arguments]
            self._start = started_with(start, settings.limit)
        self._trace = trace_in(start.headers)
        self.notes.checkpoints = self.lineage.checkpoints
        self._checkpoint_time = self._now

    def _see_command(self, event: Scheduled | Closed | Ended | None, patch: Patch) -> None:
        if isinstance(event, Scheduled):
            self._see_scheduled(event, patch)
        elif isinstance(event, Closed):
            self._see_closed(event, patch)
        elif isinstance(event, Ended):
            outcome = self._outcome(event)
            self._end = {"ended": to_text(self._now), **outcome, "status": event.status}

    def _see_scheduled(self, event: Scheduled, patch: Patch) -> None:
        number = self._pauses.end(event)
        if number is None:
            self._steps += 1
            number = self._steps
        self._open[event.place] = (number, event.name, event.key)
        call: Json = {
            "kind": event.kind,
            "name": event.name,
            "id": event.id,
            "key": event.key,
            "time": to_text(self._now),
            "clock": self._clock,
        }
        settings = self.settings.capture
        if settings.capture == "all":
            call["input"] = [captured("input", p, settings.limit, event.name) for p in event.input]
        patch.add(Patch(patch.ref, steps={number: {"call": call}}))

    def _see_closed(self, event: Closed, patch: Patch) -> None:
        number, name, key = self._open.pop(event.place, (0, "", None))
        if number == 0:
            return
        if event.pause is not None:
            self._pauses.begin(event.pause, key, number)
            return
        self._pauses.closed(event)
        if name == CHECKPOINT and event.status == "completed":
            number = (object_in(event.result) or {}).get("number", 0)
            self.notes.checkpoints = max(self.notes.checkpoints, int(number))
        self._close(number, self._outcome(event, name), patch)

    def _close(self, number: int, outcome: Json, patch: Patch) -> None:
        self._counts[outcome["status"]] += 1
        end = {"time": to_text(self._now), "clock": self._clock, **outcome}
        patch.add(Patch(patch.ref, steps={number: {"end": end}}))

    def _outcome(self, event: Closed | Ended, step: str | None = None) -> Json:
        settings = self.settings.capture
        outcome: Json = {"status": event.status}
        if event.result is not None and settings.keeps("result"):
            outcome["result"] = captured("result", event.result, settings.limit, step)
        if event.failure is not None:
            outcome["error"] = captured_error(event.failure, settings, step)
        return outcome

    def _tell_checkpoint(self, command: WorkflowCommand) -> None:
        """Give a checkpoint that the code asks for its number, beside its arguments."""
        call: Any = getattr(command, command.WhichOneof("variant") or "", None)
        if getattr(call, "activity_type", None) != CHECKPOINT or getattr(call, "attempt", 1) > 1:
            return
        self.notes.checkpoints += 1
        known = {"number": self.notes.checkpoints, "step": self._counts.total()}
        told = {**self._situation(), **known, "time": to_text(self._now)}
        call.headers[CHECKPOINT].CopyFrom(json_payload(told))

    def _checkpoints(self) -> list[Json]:
        closed = self._counts.total()
        if closed == self._checkpoint_step or self._checkpoint_time is None:
            return []
        enough = closed - self._checkpoint_step >= self.settings.every
        if not enough and self._now - self._checkpoint_time < self.settings.interval:
            return []
        self._checkpoint_step, self._checkpoint_time = closed, self._now
        self.notes.checkpoints += 1
        time = to_text(self._now)
        return [
            {**self._situation(), "time": time, "number": self.notes.checkpoints, "step": closed}
        ]

    def _situation(self) -> Json:
        return {
            "clock": self._clock,
            "progress": self.notes.progress,
            "counts": dict(self._counts),
            "open": [name for _, name, _ in islice(self._open.values(), OPEN_SHOWN)],
        }

    def _fixed_header(self) -> Json:
        info = self.info
        return {
            "kind": "workflow",
            "namespace": info.namespace,
            "workflow_id": info.workflow_id,
            "run_id": info.run_id,
            "workflow_type": info.workflow_type,
            "task_queue": info.task_queue,
            "attempt": info.attempt,
            "chain": info.first_execution_run_id,
            "original": info.original_execution_run_id,
            "continued_from": info.continued_run_id,
            "cron": info.cron_schedule,
            "parent": vars(info.parent) if info.parent else None,
            "started": to_text(info.workflow_start_time),
            "lost": 0,
            **self.lineage.to_json(),
            "trace": self._trace,
            "worker": self.settings.worker,
        }

    def _header(self, checkpoints: list[Json]) -> Json:
        if not self._fixed:
            self._fixed = self._fixed_header()
        return {
            **self._fixed,
            "updated": to_text(self._now),
            "seen": to_text(utc_now()),
            "synced": self._complete,
            "step_count": self._steps,
            "input": [] if self._input_told else self._input,
            "start": {} if self._input_told else self._start,
            "status": "running",
            "ended": None,
            "confirmed": False,
            "result": None,
            "error": None,
            "checkpoints": checkpoints,
            **self._situation(),
            **self.notes.header(self._clock, to_text(self._now)),
            **self._end,
        }

    def _ref(self) -> RunRef:
        info = self.info
        return RunRef(info.namespace, info.workflow_id, info.run_id, info.workflow_start_time)
