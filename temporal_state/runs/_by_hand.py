"""Records that are written by hand, by code that no worker of ours runs.

Every call may be repeated and may come late: what it says is merged by the time at which it was so
(``at=``, by default now). Twice is once, and starting again erases nothing. On a run that a worker
records, notes, spans, progress and an end may be added; its steps and checkpoints are the worker's.
"""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporal_state.documents import from_text, plain, to_text
from temporal_state.errors import InvalidValueError
from temporal_state.runs._checkpoints import CheckpointWriter
from temporal_state.runs._facts import (
    check_number,
    check_status,
    error_fact,
    notes_fact,
    parent_fact,
    refuse_recorded,
    text_fact,
    time_fact,
    with_notes,
    with_step,
)
from temporal_state.runs._hand import OPEN, first, last, merge_end, merge_tally, tally, view
from temporal_state.runs._merge import Json
from temporal_state.runs._records import CLOSED, STEP_STATUSES, Failure
from temporal_state.runs._refs import RunRef, chunk_of
from temporal_state.runs._values import plain_value, take_apart


@dataclass(frozen=True, slots=True)
class RunsByHand(CheckpointWriter):
    """Writes records of runs by hand."""

    async def start(
        self,
        workflow_id: str,
        *,
        workflow_type: str,
        run_id: str | None = None,
        namespace: str | None = None,
        kind: str = "manual",
        task_queue: str = "",
        started: datetime | None = None,
        input: Sequence[Any] = (),
        metadata: Mapping[str, Any] | None = None,
        parent: RunRef | None = None,
        at: datetime | None = None,
    ) -> RunRef:
        """Begin the record of a run, or find the one that was begun; return which run it is.

        Args:
            workflow_id: What runs, by the id that all its runs share.
            workflow_type: What kind of thing runs.
            run_id: Give one, so that the call may be repeated; by default a new random one.
            namespace: Temporal's namespace, or your own.
            kind: What readers see as the run's kind.
            task_queue: Where it runs, if that has a name.
            started: When it began; by default now. One that was begun keeps its start.
            input: Its arguments: JSON values.
            metadata: Notes, see `annotate`.
            parent: The run that started it.
            at: When all this was so; what was said first holds.

        Raises:
            InvalidNameError: An id is empty.
            InvalidValueError: A value is no JSON, or a time has no time zone.
        """
        if isinstance(input, str | bytes | Mapping):
            raise InvalidValueError(f"input={input!r} is no list of arguments; give a list")
        now = self._at(at)
        values = [plain_value(item, f"input[{index}]") for index, item in enumerate(input)]
        fact: Json = {
            "at": now,
            "kind": text_fact(kind, "kind"),
            "workflow_type": text_fact(workflow_type, "workflow_type"),
            "task_queue": text_fact(task_queue, "task_queue"),
            "parent": parent_fact(parent),
        }
        notes = notes_fact(metadata or {}, now)
        begun = None if started is None else from_text(time_fact(started, "started"))

        async def write() -> RunRef:
            ref = await self._place(namespace or self.namespace, workflow_id, run_id, begun)
            fact["input"] = await self._kept(ref, values)

            def change(record: Json) -> Json:
                hand = record["hand"]
                hand = {**hand, "start": first(hand.get("start"), fact)}
                return with_notes({**record, "hand": hand}, notes)

            await self._change(ref, now, change)
            return ref

        return await self.engine.to_the_end(write(), f"starting the record of {workflow_id!r}")

    async def step(
        self,
        ref: RunRef,
        *,
        number: int,
        name: str,
        status: str = "completed",
        kind: str = "activity",
        id: str = "",
        started: datetime | None = None,
        ended: datetime | None = None,
        input: Sequence[Any] = (),
        result: Any = None,
        error: BaseException | Failure | str | None = None,
        attempt: int = 1,
        worker: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Record a step of a run; saving it again is still one step.

        The higher attempt wins; of one attempt an end wins over none, and a later end over an
        earlier.

        Args:
            ref: Which run.
            number: Which step, from 1.
            name: What it is called.
            status: ``scheduled``, ``started``, ``completed``, ``failed``, ``cancelled``,
                ``terminated`` or ``timed_out``.
            kind: Such as ``activity``, ``child`` or ``timer``.
            id: Its own id, if it has one.
            started: When this attempt began.
            ended: When it ended; of a closed one by default now.
            input: Its arguments: JSON values.
            result: A JSON value; ``None`` is none.
            error: Why it failed.
            attempt: The number of the attempt, from 1.
            worker: Who made it.
            at: When all this was so.

        Raises:
            InvalidValueError: A value, number, status or time cannot be.
            ConflictError: A worker records the steps of this run.
        """
        now = self._at(at)
        check_number(number, "number")
        check_number(attempt, "attempt")
        check_status(status, STEP_STATUSES)
        begun = None if started is None else time_fact(started, "started")
        end = None if ended is None else time_fact(ended, "ended")
        _check_times(number, status, begun, end)
        called = {"kind": kind, "name": name, "id": id}
        outcome: Json = {
            "at": now,
            "status": status,
            "ended": None if status in OPEN else end or now,
            "input": [plain_value(item, f"input[{i}]") for i, item in enumerate(input)],
            "result": None if result is None else plain_value(result, "result"),
            "error": error_fact(error),
            "worker": None if worker is None else text_fact(worker, "worker"),
        }
        step = {
            "call": {"at": now, **{part: text_fact(text, part) for part, text in called.items()}},
            "first": min(filter(None, (begun, end, now))),
            "attempt": attempt,
            "started": begun,
            "outcome": outcome,
        }
        writing = self._write_step(ref, number, step, now)
        await self.engine.to_the_end(writing, f"recording step {number} of run {ref.run_id!r}")

    async def progress(
        self,
        ref: RunRef,
        done: float,
        total: float | None = None,
        message: str | None = None,
        *,
        at: datetime | None = None,
    ) -> None:
        """Record how far a run is; what was so last holds.

        Of a run that a worker records, what its workflow reports itself is shown instead.
        """
        if not all(math.isfinite(n) and n >= 0 for n in (done, total or 0)):
            raise InvalidValueError(f"progress {done!r} of {total!r} is no count; give 0 or more")
        now = self._at(at)
        fact = {"at": now, "done": done, "total": total, "message": plain(message, "message")}

        def change(record: Json) -> Json:
            hand = record["hand"]
            return {**record, "hand": {**hand, "progress": last(hand.get("progress"), fact)}}

        await self._by_hand(ref, now, change, "progress")

    async def annotate(
        self, ref: RunRef, metadata: Mapping[str, Any], *, at: datetime | None = None
    ) -> None:
        """Merge notes into a run's metadata, key by key; of each key, what was so last holds.

        Raises:
            TooLargeError: All notes by hand and of its activities together are over 64 KB.
        """
        now = self._at(at)
        notes = notes_fact(metadata, now)
        await self._by_hand(ref, now, lambda record: with_notes(record, notes), "metadata")

    async def finish(
        self,
        ref: RunRef,
        status: str = "completed",
        *,
        result: Any = None,
        error: BaseException | Failure | str | None = None,
        ended: datetime | None = None,
        confirmed: bool = True,
        at: datetime | None = None,
    ) -> None:
        """Record how a run ended; the same once more is fine.

        Of a run that a worker records, it holds until that worker shows more of the run.

        Args:
            ref: Which run.
            status: ``completed``, ``failed``, ``cancelled``, ``terminated``, ``timed_out`` or
                ``continued_as_new``.
            result: A JSON value; ``None`` is none.
            error: Why it failed.
            ended: When; by default now.
            confirmed: Whether this is sure. What is not may be replaced by another end.
            at: When all this was so.

        Raises:
            ConflictError: It ended otherwise, for sure.
            InvalidValueError: A value, status or time cannot be.
        """
        now = self._at(at)
        check_status(status, CLOSED)
        value = None if result is None else plain_value(result, "result")
        end: Json = {
            "at": now,
            "status": status,
            "confirmed": confirmed,
            "ended": now if ended is None else time_fact(ended, "ended"),
            "error": error_fact(error),
        }

        async def write() -> None:
            kept = None if value is None else (await self._kept(ref, [value]))[0]
            await self._change(ref, now, lambda record: merge_end(record, {**end, "result": kept}))

        await self.engine.to_the_end(write(), f"recording the end of run {ref.run_id!r}")

    async def _write_step(self, ref: RunRef, number: int, step: Json, now: str) -> None:
        found: dict[str, Json] = {}
        step = take_apart(step, found)
        await self._put_values(ref, found)
        chunk = chunk_of(number)
        if chunk == 0:
            await self._change(ref, now, lambda record: with_step(record, number, step))
            return
        refuse_recorded(await self._read_run(ref), "steps")
        counted: list[Json] = []

        def merge(stored: Json) -> Json:
            merged = with_step(stored, number, step)
            if merged != stored:
                merged["rev"] = stored.get("rev", 0) + 1
            counted[:] = [{**tally(merged["hand_steps"]), "rev": merged.get("rev", 0)}]
            return merged

        await self._objects.update(self._places.steps(ref, chunk), merge)

        def change(record: Json) -> Json:
            return {**record, "hand": merge_tally(record["hand"], chunk, counted[0])}

        await self._change(ref, now, change)

    async def _place(
        self, namespace: str, workflow_id: str, run_id: str | None, started: datetime | None
    ) -> RunRef:
        """Return where a run lies, the same for everyone who gives the same run id."""
        begun = started or self.engine.now()
        if run_id is None:
            return RunRef(namespace, workflow_id, str(uuid.uuid4()), begun)
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            mark = self._places.started_by_hand(namespace, workflow_id, run_id)
            fact = {"workflow_id": workflow_id, "run_id": run_id, "started": to_text(begun)}
            await self._objects.create(mark, fact)
            known = await self._read(mark)
        else:
            known = view(await self._read(key))
        return RunRef(namespace, workflow_id, run_id, from_text(known["started"]))

    async def _kept(self, ref: RunRef, values: list[Json]) -> list[Json]:
        found: dict[str, Json] = {}
        kept: list[Json] = take_apart(values, found)
        await self._put_values(ref, found)
        return kept

    async def _by_hand(
        self, ref: RunRef, now: str, change: Callable[[Json], Json], what: str
    ) -> None:
        writing = self._change(ref, now, change)
        await self.engine.to_the_end(writing, f"recording {what} of run {ref.run_id!r}")


def _check_times(number: int, status: str, begun: str | None, end: str | None) -> None:
    if status in OPEN and end is not None:
        raise InvalidValueError(f"step {number} is {status} and has an end; drop one of both")
    if begun is not None and end is not None and end < begun:
        raise InvalidValueError(f"step {number} ends ({end}) before it starts ({begun})")
