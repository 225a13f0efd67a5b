"""From a history to what the record of its run lacks.

Only what is lacking: what a worker recorded stays as it is, so whoever does this twice writes once,
and a codec that encrypts anew each time changes nothing. Values come out of the history as the
user's codec made them for Temporal; they are decoded, captured and encoded as a worker's are.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from temporal_state.documents import to_text
from temporal_state.runs import Json, Patch, Run, RunRef, Step, chunk_of, digest, step_key
from temporal_state.temporal._call_header import CallHeader
from temporal_state.temporal._capture import CaptureSettings, captured, captured_error
from temporal_state.temporal._decoder import Decoder
from temporal_state.temporal._header_filling import HeaderFilling
from temporal_state.temporal._history import History, Moment, Told
from temporal_state.temporal._names import Occurrences, digest_of_payloads

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
        decoder: Decodes what is in the history.
    """

    ref: RunRef
    history: History
    record: Run | None
    steps: Sequence[Step]
    settings: CaptureSettings
    decoder: Decoder

    async def patch(self) -> Patch:
        """Return what is lacking; values are still to be encoded."""
        patch = Patch(self.ref)
        places = numbered(self.history, self.steps)
        keys = await self._keys(places)
        for number, told, known in places:
            step = await self._step(number, told, known, keys[number])
            if step:
                patch.steps[number] = step
            if told.attempt is not None and keys[number] and (known is None or not known.attempt):
                attempt = {**told.attempt, "part": chunk_of(number)}
                patch.attempts[str(keys[number])] = attempt
        situation = self._situation(places)
        header = HeaderFilling(
            self.ref, self.history, self.record, situation, self.settings, self.decoder
        )
        patch.header = await header.header()
        patch.final = patch.header is not None and self.history.end is not None
        return patch

    async def _step(self, number: int, told: Told, known: Step | None, key: str | None) -> Json:
        step: Json = {}
        if known is None:
            step["call"] = {**await self._call(told, key), "part": chunk_of(number)}
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
            name = await self.decoder.text(call.summary, call.context) or name
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
            payloads = await self.decoder.payloads(call.input, call.context)
            limit = self.settings.limit
            result["input"] = [captured("input", p, limit, call.name) for p in payloads]
        return result

    async def _outcome(self, told: Told) -> Json:
        assert told.end is not None
        outcome: Json = {}
        name, context = told.call.name, told.call.context
        if told.end.result is not None and self.settings.keeps("result"):
            payload = await self.decoder.one(told.end.result, context)
            outcome["result"] = captured("result", payload, self.settings.limit, name)
        if told.end.failure is not None:
            failure = await self.decoder.failure(told.end.failure, context)
            outcome["error"] = captured_error(failure, self.settings, name)
        return outcome

    async def _keys(self, places: "Places") -> dict[int, str | None]:
        keys: dict[int, str | None] = {}
        children = any(told.call.kind == "child" and known is None for _, told, known in places)
        calls = Occurrences()
        for number, told, known in places:
            keys[number] = known.key if known is not None else None
            if told.call.kind == "child" and children and self.decoder.decodes:
                content = await self._content_of_child(told, calls)
                keys[number] = keys[number] or step_key(self._original, content)
            elif known is None and (header := await self._header_of(told)) is not None:
                keys[number] = header.step
                # In one task, what follows a local activity is called later than the task began.
                told.called = Moment(told.called.clock, header.now)
        return keys

    async def _content_of_child(self, told: Told, calls: Occurrences) -> str:
        payloads = await self.decoder.payloads(told.call.input, told.call.context)
        what = digest("child", told.call.name, digest_of_payloads(payloads))
        return digest(what, str(calls.next(what)))

    async def _header_of(self, told: Told) -> CallHeader | None:
        if told.call.header is None:
            return None
        try:
            return CallHeader.from_payload(
                await self.decoder.header(told.call.header, self.history.subject.context)
            )
        except Exception:
            log.exception("the header of an activity in a history cannot be read")
            return None

    @property
    def _original(self) -> str:
        return str(self.history.subject.start.original_execution_run_id)

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
