"""Writes, beside each call that a workflow makes, what the activity must know of it.

It does so where the SDK has already turned arguments into payloads, and no codec has touched them:
a digest costs no second conversion, which could consume an iterator or shift the user's random
numbers. Every call passes here again in a replay, so the counts come out the same.
"""

import logging
from collections import defaultdict
from datetime import datetime
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import Info

from temporal_state.runs import chunk_of, digest, step_key
from temporal_state.temporal._call_header import CallHeaders
from temporal_state.temporal._events import CallKey, time_of
from temporal_state.temporal._lineage import Lineage, attempt_before
from temporal_state.temporal._names import STEP_NAME, Occurrences, digest_of_payloads
from temporal_state.temporal._wire import CHECKPOINT, HEADER

log = logging.getLogger("temporal_state")


class HeaderWriter:
    """Names the calls of one run, by their content, and tells the activities their names.

    Attributes:
        keys: The keys of the calls of the last completion, by kind and sequence number.
        lineage: What the run was told when it started.
        asks: Whether a command of that completion is to be told what only the follower knows.
    """

    def __init__(self, info: Info, *, recorded: bool, on_retry: bool = False) -> None:
        self.keys: dict[tuple[str, int], CallKey] = {}
        self.lineage = Lineage()
        self.asks = False
        self._info = info
        self._on_retry = on_retry
        self._recorded = recorded
        self._headers: CallHeaders | None = None
        self._calls = Occurrences()
        self._count = 0
        self._now: datetime | None = None
        self._reset: datetime | None = None
        self._local: dict[int, tuple[str, str]] = {}
        self._backing_off: defaultdict[str, list[str]] = defaultdict(list)

    def begin(self, act: WorkflowActivation) -> None:
        """Learn what the run is told, before its code runs."""
        if act.jobs and act.jobs[0].HasField("initialize_workflow"):
            start = act.jobs[0].initialize_workflow
            former = attempt_before(start, self._info) if self._on_retry else None
            self.lineage = Lineage.of(start, former)

    def write(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> None:
        """Write a header into each activity that the workflow has just scheduled."""
        if self._local:
            for job in act.jobs:
                if job.HasField("resolve_activity") and job.resolve_activity.is_local:
                    self._see_resolved(job)
        self.keys, self.asks = {}, False
        now = time_of(act)
        if self._reset is None and any(job.HasField("update_random_seed") for job in act.jobs):
            self._reset = self._now or now  # what comes now, the run did before, after that time
        self._now = now
        for command in completion.successful.commands:
            if command.HasField("schedule_activity"):
                call = command.schedule_activity
                what = _what(call.activity_type, call.activity_id, call.arguments)
                self._write(call, now, self._content(what))
            elif command.HasField("schedule_local_activity"):
                self._write_local(command.schedule_local_activity, now)
            elif command.HasField("start_child_workflow_execution"):
                self._tell_child(command.start_child_workflow_execution)
            elif command.HasField("continue_as_new_workflow_execution"):
                self._tell_continued(command.continue_as_new_workflow_execution)

    def _tell_continued(self, call: Any) -> None:
        self.asks = True  # the follower writes the same, and its checkpoints' number
        if self.lineage != Lineage():
            call.headers[HEADER].CopyFrom(self.lineage.of_continued(0).to_payload())

    def _write(self, call: Any, now: datetime, content: str) -> None:
        key = self.keys["activity", call.seq] = self._key(content)
        self.asks |= call.activity_type == CHECKPOINT
        if self._headers is None:
            self._headers = CallHeaders(self._info, self.lineage, recorded=self._recorded)
        self._headers.write(call.headers[HEADER], content, key.part, now, self._reset)

    def _write_local(self, call: Any, now: datetime) -> None:
        # After a long pause between attempts the SDK schedules the same call anew.
        what = _what(call.activity_type, call.activity_id, call.arguments)
        paused = self._backing_off[what] if call.attempt > 1 else []
        content = paused.pop(0) if paused else self._content(what)
        self._write(call, now, content)
        self._local[call.seq] = (what, content)

    def _tell_child(self, call: Any) -> None:
        content = self._content(digest("child", call.workflow_type, digest_of_payloads(call.input)))
        self.keys["child", call.seq] = self._key(content)
        lineage = self.lineage.of_child(content)
        if lineage is not None:
            call.headers[HEADER].CopyFrom(lineage.to_payload())

    def _see_resolved(self, job: WorkflowActivationJob) -> None:
        what, content = self._local.pop(job.resolve_activity.seq, ("", ""))
        if content and job.resolve_activity.result.HasField("backoff"):
            self._backing_off[what].append(content)

    def _content(self, what: str) -> str:
        self._count += 1
        return digest(what, str(self._calls.next(what)))

    def _key(self, content: str) -> CallKey:
        key = step_key(self._info.original_execution_run_id, content)
        return CallKey(key, chunk_of(self._count))


def _what(activity_type: str, activity_id: str, arguments: Any) -> str:
    if activity_id.startswith(STEP_NAME):
        return digest("named", activity_type, activity_id)
    return digest(activity_type, digest_of_payloads(arguments))
