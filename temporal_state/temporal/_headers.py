"""Writes, beside each call that a workflow makes, what the activity must know of it.

It does so where the SDK has already turned arguments into payloads, and no codec has touched them:
a digest costs no second conversion, which could consume an iterator or shift the user's random
numbers. Every call passes here again in a replay, so the counts come out the same.
"""

import logging
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import Info

from temporal_state.temporal._names import Occurrences, digest, digest_of_payloads
from temporal_state.temporal._wire import HEADER, CallHeader

log = logging.getLogger("temporal_state")


class HeaderWriter:
    """Names the calls of one run, by their content, and tells the activities their names."""

    def __init__(self, info: Info, *, recorded: bool) -> None:
        self._info = info
        self._started = info.workflow_start_time if recorded else None
        self._calls = Occurrences()
        self._local: dict[int, tuple[str, str]] = {}
        self._backing_off: defaultdict[str, list[str]] = defaultdict(list)

    def write(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> None:
        """Write a header into each activity that the workflow has just scheduled."""
        for job in act.jobs:
            if job.HasField("resolve_activity") and job.resolve_activity.is_local:
                self._see_resolved(job)
        now = act.timestamp.ToDatetime(UTC)
        for command in completion.successful.commands:
            if command.HasField("schedule_activity"):
                self._write(
                    command.schedule_activity, now, self._content(command.schedule_activity)
                )
            elif command.HasField("schedule_local_activity"):
                self._write_local(command.schedule_local_activity, now)

    def _write(self, call: Any, now: datetime, content: str, step: str | None = None) -> str:
        step = step or digest(content, str(self._calls.next(content)))
        info = self._info
        header = CallHeader(
            lineage=info.original_execution_run_id,
            chain=info.first_execution_run_id,
            step=step,
            now=now,
            started=self._started,
        )
        call.headers[HEADER].CopyFrom(header.to_payload())
        return step

    def _write_local(self, call: Any, now: datetime) -> None:
        # After a long pause between attempts the SDK schedules the same call anew.
        content = self._content(call)
        paused = self._backing_off[content] if call.attempt > 1 else []
        step = self._write(call, now, content, paused.pop(0) if paused else None)
        self._local[call.seq] = (content, step)

    def _see_resolved(self, job: WorkflowActivationJob) -> None:
        content, step = self._local.pop(job.resolve_activity.seq, ("", ""))
        if step and job.resolve_activity.result.HasField("backoff"):
            self._backing_off[content].append(step)

    def _content(self, call: Any) -> str:
        lineage = self._info.original_execution_run_id
        return digest(lineage, call.activity_type, digest_of_payloads(call.arguments))
