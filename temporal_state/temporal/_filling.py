"""From a history to what the record of its run lacks.

Only what is lacking: what a worker recorded stays as it is, so whoever does this twice writes once,
and a codec that encrypts anew each time changes nothing. Values come out of the history as the
user's codec made them for Temporal; they are decoded, captured and encoded as a worker's are.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow
from temporalio.converter import DataConverter, PayloadConverter, SerializationContext

from temporal_state.documents import to_text, utc_now
from temporal_state.runs import Json, Patch, Run, RunRef, Step, digest, step_key
from temporal_state.temporal._call_header import CallHeader
from temporal_state.temporal._capture import CaptureSettings, captured, captured_error, started_with
from temporal_state.temporal._history import History, Moment, Told
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._names import Occurrences, digest_of_payloads
from temporal_state.temporal._wire import HEADER

log = logging.getLogger("temporal_state")

OPEN = frozenset({"scheduled", "started"})
OPEN_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Filling:
    """What is needed to write of one run what its worker would have written.

    Attributes:
        ref: Which run.
        history: All that Temporal knows of it.
        record: What is recorded of it, if anything.
        steps: Its recorded steps.
    """

    ref: RunRef
    history: History
    record: Run | None
    steps: Sequence[Step]
    settings: CaptureSettings
    converter: DataConverter

    async def patch(self) -> Patch:
        """Return what is lacking; values are still to be encoded."""
        patch = Patch(self.ref)
        places = numbered(self.history, self.steps)
        keys = await self._keys(places)
        for number, told, known in places:
            step = await self._step(told, known, keys[number])
            if step:
                patch.steps[number] = step
            if told.attempt is not None and keys[number] and (known is None or not known.attempt):
                patch.attempts[str(keys[number])] = dict(told.attempt)
        patch.header = await self._header(places)
        patch.final = patch.header is not None and self.history.end is not None
        return patch

    async def _step(self, told: Told, known: Step | None, key: str | None) -> Json:
        step: Json = {}
        if known is None:
            step["call"] = await self._call(told, key)
        if told.end is not None and self._lacks_end(told, known):
            step["end"] = {
                "time": to_text(told.ended.time),
                "clock": max(told.ended.clock, told.called.clock),
                "status": told.end.status,
                **await self._outcome(told),
            }
        return step

    def _lacks_end(self, told: Told, known: Step | None) -> bool:
        assert told.end is not None
        if known is None or known.status in OPEN or known.closed is None:
            return True
        has_value = told.end.result is not None and self.settings.keeps("result")
        return known.status == told.end.status and has_value and known.result is None

    async def _call(self, told: Told, key: str | None) -> Json:
        call = told.call
        name = call.name
        if call.summary is not None and call.kind == "timer":
            payload = (await self._decoded([call.summary], call.context))[0]
            name = str(PayloadConverter.default.from_payload(payload, str))
        result: Json = {
            "kind": call.kind,
            "name": name,
            "id": call.id,
            "key": key,
            "time": to_text(told.called.time),
            "clock": told.called.clock,
        }
        if not self.history.is_exact:
            result["guessed"] = True
        if self.settings.capture == "all":
            payloads = await self._decoded(call.input, call.context)
            limit = self.settings.limit
            result["input"] = [captured("input", p, limit, call.name) for p in payloads]
        return result

    async def _outcome(self, told: Told) -> Json:
        assert told.end is not None
        outcome: Json = {}
        name, context = told.call.name, told.call.context
        if told.end.result is not None and self.settings.keeps("result"):
            payload = (await self._decoded([told.end.result], context))[0]
            outcome["result"] = captured("result", payload, self.settings.limit, name)
        if told.end.failure is not None:
            failure = await self._decoded_failure(told.end.failure, context)
            outcome["error"] = captured_error(failure, self.settings, name)
        return outcome

    async def _keys(self, places: "Places") -> dict[int, str | None]:
        keys: dict[int, str | None] = {}
        children = any(told.call.kind == "child" and known is None for _, told, known in places)
        calls = Occurrences()
        for number, told, known in places:
            keys[number] = known.key if known is not None else None
            if told.call.kind == "child" and children:
                content = await self._content_of_child(told, calls)
                keys[number] = keys[number] or step_key(self._original, content)
            elif known is None and (header := await self._header_of(told)) is not None:
                keys[number] = header.step
                # In one task, what follows a local activity is called later than the task began.
                told.called = Moment(told.called.clock, header.now)
        return keys

    async def _content_of_child(self, told: Told, calls: Occurrences) -> str:
        payloads = await self._decoded(told.call.input, told.call.context)
        what = digest("child", told.call.name, digest_of_payloads(payloads))
        return digest(what, str(calls.next(what)))

    async def _header_of(self, told: Told) -> CallHeader | None:
        if told.call.header is None:
            return None
        try:
            return CallHeader.from_payload(await self._header_value(told.call.header))
        except Exception:
            log.exception("the header of an activity in a history cannot be read")
            return None

    async def _header_value(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == b"json/plain":
            return payload  # a client may be set up so that headers are encoded, or not
        return (await self._decoded([payload], self.history.subject.context))[0]

    @property
    def _original(self) -> str:
        return str(self.history.subject.start.original_execution_run_id)

    async def _header(self, places: "Places") -> Json | None:
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
            **self._situation(places),
            **await self._result(),
        }

    def _is_news(self) -> bool:
        history, record = self.history, self.record
        if record is None or not record.known_to_temporal or record.paused != history.paused:
            return True
        if history.end is not None:
            return not record.confirmed or record.status != history.end.status
        # A worker that has a task may be about to end the run.
        return record.ended is not None and not history.in_task

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
            payloads = await self._decoded(start.input.payloads, context)
            first["input"] = [captured("input", payload, limit) for payload in payloads]
            memo = start.memo.fields
            values = await self._decoded([*memo.values()], context)
            as_seen = _as_activation(start, dict(zip(memo, values, strict=True)))
            first["start"] = started_with(as_seen, limit)
        if HEADER in start.header.fields:
            told = InitializeWorkflow(
                continued_initiator=start.initiator,
                cron_schedule=start.cron_schedule,
                headers={HEADER: await self._header_value(start.header.fields[HEADER])},
            )
            first |= Lineage.of(told).to_json()
        return first

    def _situation(self, places: "Places") -> Json:
        counts: defaultdict[str, int] = defaultdict(int)
        waiting: list[str] = []
        seen = {number for number, _, _ in places}
        local = [step for step in self.steps if _is_extra(step, seen)]
        for status, name in [
            *((_status_of(told, known), told.call.name) for _, told, known in places),
            *((step.status, step.name) for step in local),
        ]:
            if status in OPEN:
                waiting.append(name)
            else:
                counts[status] += 1
        last = max([*seen, *(step.number for step in local)], default=0)
        return {"step_count": last, "counts": dict(counts), "open": waiting[:OPEN_SHOWN]}

    async def _result(self) -> Json:
        end, context = self.history.end, self.history.subject.context
        outcome: Json = {"result": None, "error": None}
        if end is None:
            return outcome
        if end.result is not None and self.settings.keeps("result"):
            payload = (await self._decoded([end.result], context))[0]
            outcome["result"] = captured("result", payload, self.settings.limit)
        if end.failure is not None:
            failure = await self._decoded_failure(end.failure, context)
            outcome["error"] = captured_error(failure, self.settings)
        return outcome

    async def _decoded(
        self, payloads: Sequence[Payload], context: SerializationContext
    ) -> list[Payload]:
        codec = self.converter.with_context(context).payload_codec
        return [*payloads] if codec is None or not payloads else await codec.decode(payloads)

    async def _decoded_failure(self, failure: Failure, context: SerializationContext) -> Failure:
        codec = self.converter.with_context(context).payload_codec
        copy = Failure()
        copy.CopyFrom(failure)
        if codec is not None:
            await codec.decode_failure(copy)
        return copy


Places = Sequence[tuple[int, Told, Step | None]]
"""The numbers of a history's steps, and what is recorded of each."""


def numbered(history: History, steps: Sequence[Step]) -> Places:
    """Return the steps of a history with their numbers.

    One that is recorded has the number that its worker gave it; the others follow those before.
    """
    recorded: defaultdict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in steps:
        recorded[step.kind, step.id].append(step)
    matched = [_take(recorded[told.call.kind, told.call.id]) for told in history.steps]
    # A local activity that is recorded and has no marker may have been cut off.
    taken = {step.number for step in matched if step is not None}
    taken |= {s.number for rest in recorded.values() for s in rest if s.kind == "local_activity"}
    places: list[tuple[int, Told, Step | None]] = []
    number = 0
    for told, known in zip(history.steps, matched, strict=True):
        number = known.number if known is not None else _next_free(number, taken)
        places.append((number, told, known))
    return places


def _take(steps: list[Step]) -> Step | None:
    return steps.pop(0) if steps else None


def _next_free(number: int, taken: set[int]) -> int:
    number += 1
    while number in taken:
        number += 1
    return number


def _is_extra(step: Step, seen: set[int]) -> bool:
    return step.kind == "local_activity" and step.number not in seen


def _status_of(told: Told, known: Step | None) -> str:
    if known is not None and known.status not in OPEN:
        return known.status
    return "scheduled" if told.end is None else told.end.status


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
