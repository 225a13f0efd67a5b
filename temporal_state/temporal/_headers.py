"""Writes, beside each call that a workflow makes, what the activity must know of it.

It does so where the SDK has already turned arguments into payloads, and no codec has touched them:
a digest costs no second conversion, which could consume an iterator or shift the user's random
numbers. Every call passes here again in a replay, so the counts come out the same.
"""

from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import Info

from temporal_state.runs import chunk_of, digest, step_key
from temporal_state.temporal._call_header import CallHeaders
from temporal_state.temporal._events import Place, Scheduled, micros_of
from temporal_state.temporal._lineage import NOTHING_TOLD, Lineage, attempt_before
from temporal_state.temporal._names import STEP_NAME, Occurrences, digest_of_payloads
from temporal_state.temporal._wire import CHECKPOINT, HEADER


class HeaderWriter:
    """Names the calls of one run, by their content, and tells the activities their names.

    Attributes:
        calls: The activities and children that the last completion calls, without their inputs.
        lineage: What the run was told when it started.
        asks: Whether a command of that completion is to be told what only the follower knows.
    """

    __slots__ = (
        "_backing_off",
        "_calls",
        "_headers",
        "_info",
        "_local",
        "_now",
        "_on_retry",
        "_recorded",
        "_reset",
        "asks",
        "calls",
        "lineage",
    )

    def __init__(self, info: Info, *, recorded: bool, on_retry: bool = False) -> None:
        self.calls: list[Scheduled] = []
        self.lineage = NOTHING_TOLD
        self.asks = False
        self._info = info
        self._on_retry = on_retry
        self._recorded = recorded
        self._headers: CallHeaders | None = None
        self._calls = Occurrences()
        self._now = self._reset = 0
        self._local: dict[int, tuple[str, str]] = {}
        self._backing_off: dict[str, list[str]] = {}

    def begin(self, act: WorkflowActivation) -> None:
        """Learn what the run is told, before its code runs."""
        if act.jobs and act.jobs[0].HasField("initialize_workflow"):
            start = act.jobs[0].initialize_workflow
            former = attempt_before(start, self._info) if self._on_retry else None
            self.lineage = Lineage.of(start, former)

    def get_lineage(self) -> Lineage:
        """Return what the run was told when it started."""
        return self.lineage

    def take_calls(self) -> list[Scheduled]:
        """Return the calls, and keep them no longer."""
        calls, self.calls = self.calls, []
        return calls

    def write(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> None:
        """Write a header into each activity that the workflow has just scheduled."""
        self.calls, self.asks = [], False
        now = micros_of(act)
        for job in act.jobs:
            if job.HasField("resolve_activity"):
                if self._local:
                    self._see_resolved(job.resolve_activity)
            elif not self._reset and job.HasField("update_random_seed"):
                self._reset = self._now or now  # what comes, the run did before, after that time
        self._now = now
        for command in completion.successful.commands:
            kind = command.WhichOneof("variant")
            if kind == "schedule_activity":
                self._tell_activity("activity", command.schedule_activity)
            elif kind == "schedule_local_activity":
                self._tell_activity("local_activity", command.schedule_local_activity)
            elif kind == "start_child_workflow_execution":
                self._tell_child(command.start_child_workflow_execution)
            elif kind == "continue_as_new_workflow_execution":
                self._tell_continued(command.continue_as_new_workflow_execution)

    def _tell_continued(self, call: Any) -> None:
        self.asks = True  # the follower writes the same, and its checkpoints' number
        if self.lineage != Lineage():
            call.headers[HEADER].CopyFrom(self.lineage.of_continued(0).to_payload())

    def _tell_activity(self, kind: str, call: Any) -> None:
        seq, name, id = call.seq, call.activity_type, call.activity_id
        if id.startswith(STEP_NAME):
            what = digest("named", name, id)
        else:
            what = digest(name, digest_of_payloads(call.arguments))
        if kind == "local_activity":
            # After a long pause between attempts the SDK schedules the same call anew.
            paused = self._backing_off.get(what) if call.attempt > 1 else None
            content = paused.pop(0) if paused else self._content(what)
            self._local[seq] = (what, content)
        else:
            content = self._content(what)
        part = self._call(("activity", seq), kind, name, id, content)
        self.asks |= name == CHECKPOINT
        if self._headers is None:
            self._headers = CallHeaders(self._info, self.lineage, recorded=self._recorded)
        self._headers.write(call.headers[HEADER], content, part, self._now, self._reset)

    def _tell_child(self, call: Any) -> None:
        name = call.workflow_type
        content = self._content(digest("child", name, digest_of_payloads(call.input)))
        self._call(("child", call.seq), "child", name, call.workflow_id, content)
        lineage = self.lineage.of_child(content)
        if lineage is not None:
            call.headers[HEADER].CopyFrom(lineage.to_payload())

    def _see_resolved(self, resolved: Any) -> None:
        what, content = self._local.pop(resolved.seq, ("", "")) if resolved.is_local else ("", "")
        if content and resolved.result.HasField("backoff"):
            self._backing_off.setdefault(what, []).append(content)

    def _content(self, what: str) -> str:
        return digest(what, str(self._calls.next(what)))

    def _call(self, place: Place, kind: str, name: str, id: str, content: str) -> int:
        """Note a call; return in which part of the run's record its attempts are kept."""
        key = step_key(self._info.original_execution_run_id, content)
        part = chunk_of(len(self._calls))
        self.calls.append(Scheduled(place, kind, name, id, key, (), part=part))
        return part
