"""From a history to the header of a record: what the run is, how it was started, how it ended.

The header is newer than whatever a worker told of the run, so it is made only if it has something
to say. It leaves out what only a worker knows, such as progress, which the record then keeps.
"""

from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow

from temporal_state.documents import to_text, utc_now
from temporal_state.runs import Json, Run, RunRef
from temporal_state.temporal._capture import CaptureSettings, captured, captured_error, started_with
from temporal_state.temporal._decoder import Decoder
from temporal_state.temporal._history import History
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._wire import HEADER


@dataclass(frozen=True, slots=True)
class HeaderFilling:
    """What is needed to write the header that a worker would have written.

    Attributes:
        ref: Which run.
        history: All that Temporal knows of it.
        record: What is recorded of it, if anything.
        situation: How many steps it has, how they ended, and which are open.
        settings: Which values are kept.
        decoder: Decodes what is in the history.
    """

    ref: RunRef
    history: History
    record: Run | None
    situation: Json
    settings: CaptureSettings
    decoder: Decoder

    async def header(self) -> Json | None:
        """Return a newer header for the record; ``None`` if it has nothing to say."""
        history, record = self.history, self.record
        if not self._is_news():
            return None
        # What the worker that has a task will tell of it is newer than all that is known here.
        clock = history.now.clock - history.in_task
        return {
            **self._fixed(),
            **(await self._first_header() if record is None or record.start is None else {}),
            "worker": "" if record is None else record.worker,
            "lost": 0,
            "synced": 0,
            "clock": clock,
            "updated": to_text(history.now.time),
            "seen": to_text(utc_now()),
            "status": "running" if history.end is None else history.end.status,
            "confirmed": history.end is not None,
            "ended": None if history.end is None else to_text(history.now.time),
            "paused_at": clock if history.paused else -1,
            **self.situation,
            **await self._result(),
        }

    def _is_news(self) -> bool:
        history, record = self.history, self.record
        if record is None or not record.known_to_temporal or record.paused != history.paused:
            return True
        if history.end is not None:
            known = {"step_count": record.steps, "counts": record.counts}
            differs = any(self.situation[part] != known[part] for part in known)
            return differs or not record.confirmed or record.status != history.end.status
        if history.in_task:
            return False  # that worker may be about to tell more, or to end the run
        return record.ended is not None or self.situation["step_count"] > record.steps

    def _fixed(self) -> Json:
        subject, start = self.history.subject, self.history.subject.start
        parent = None
        if start.parent_workflow_execution.workflow_id:
            parent = {
                "namespace": start.parent_workflow_namespace or subject.namespace,
                "run_id": start.parent_workflow_execution.run_id,
                "workflow_id": start.parent_workflow_execution.workflow_id,
            }
        return {
            "kind": "workflow",
            "namespace": subject.namespace,
            "workflow_id": subject.workflow_id,
            "run_id": self.ref.run_id,
            "workflow_type": start.workflow_type.name,
            "task_queue": start.task_queue.name,
            "attempt": start.attempt,
            "chain": start.first_execution_run_id or self.ref.run_id,
            "original": start.original_execution_run_id or self.ref.run_id,
            "continued_from": start.continued_execution_run_id or None,
            "cron": start.cron_schedule or None,
            "parent": parent,
            "started": to_text(self.ref.started),
        }

    async def _first_header(self) -> Json:
        start, context = self.history.subject.start, self.history.subject.context
        first: Json = {"input": [], "start": {}, "checkpoints": [], "progress": None}
        if self.record is not None:
            first = {"input": [], "start": {}}
        limit = self.settings.limit
        if self.settings.capture != "none":
            payloads = await self.decoder.payloads(start.input.payloads, context)
            first["input"] = [captured("input", payload, limit) for payload in payloads]
            memo = start.memo.fields
            values = await self.decoder.payloads([*memo.values()], context)
            as_seen = _as_activation(start, dict(zip(memo, values, strict=True)))
            first["start"] = started_with(as_seen, limit)
        if HEADER in start.header.fields and self.decoder.decodes:
            told = InitializeWorkflow(
                continued_initiator=start.initiator,
                cron_schedule=start.cron_schedule,
                headers={HEADER: await self.decoder.header(start.header.fields[HEADER], context)},
            )
            first |= Lineage.of(told).to_json()
        return first

    async def _result(self) -> Json:
        end, context = self.history.end, self.history.subject.context
        outcome: Json = {"result": None, "error": None}
        if end is None:
            return outcome
        known = None if self.record is None else self.record.status
        if self.settings.capture == "none" and known == end.status:
            return {}  # a worker has told this end, with what it keeps of values
        if end.result is not None and self.settings.keeps("result"):
            payload = await self.decoder.one(end.result, context)
            outcome["result"] = captured("result", payload, self.settings.limit)
        if end.failure is not None:
            failure = await self.decoder.failure(end.failure, context)
            outcome["error"] = captured_error(failure, self.settings)
        return outcome


def _as_activation(start: Any, memo: dict[str, Payload]) -> InitializeWorkflow:
    """Return a run's start as its worker sees it."""
    seen = InitializeWorkflow(
        workflow_execution_timeout=start.workflow_execution_timeout,
        workflow_run_timeout=start.workflow_run_timeout,
        workflow_task_timeout=start.workflow_task_timeout,
        retry_policy=start.retry_policy if start.HasField("retry_policy") else None,
        search_attributes=start.search_attributes,
    )
    for name, payload in memo.items():
        seen.memo.fields[name].CopyFrom(payload)
    return seen
