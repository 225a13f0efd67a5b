"""Checkpoints that are written by hand, and how many of all are kept."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporal_state.documents import dumps, plain_object, to_text
from temporal_state.errors import ConflictError, InvalidValueError
from temporal_state.runs._decode import to_checkpoint
from temporal_state.runs._facts import check_number, refuse_recorded, text_fact, time_fact
from temporal_state.runs._hand import (
    add_called,
    add_checkpoint,
    canonical,
    merge_hand,
    of_run,
    view,
)
from temporal_state.runs._merge import Json, merge_checkpoints
from temporal_state.runs._records import Checkpoint
from temporal_state.runs._refs import RunRef
from temporal_state.runs._writer import RunWriter, all_checkpoints, dropped_of
from temporal_state.runs.catalog._feed import Change


@dataclass(frozen=True, slots=True)
class CheckpointWriter(RunWriter):
    """Writes checkpoints by hand, and drops old ones."""

    async def checkpoint(
        self,
        ref: RunRef,
        *,
        step: int,
        state: Mapping[str, Any],
        name: str | None = None,
        number: int | None = None,
        at: datetime | None = None,
    ) -> Checkpoint:
        """Record the state of a run at one moment, for good.

        The same step, name and state are the same checkpoint, so that the call may be repeated.

        Args:
            ref: Which run.
            step: Where the run is, in the caller's own counting.
            state: A JSON object.
            name: One with a name is never dropped by retention.
            number: Which checkpoint it is; by default the one after the newest.
            at: When all this was so.

        Returns:
            The checkpoint as it is kept.

        Raises:
            ConflictError: The number is another checkpoint's, or a worker numbers them.
            InvalidValueError: ``state`` is no JSON object, or a number cannot be.
        """
        now = self._at(at)
        value = plain_object(dict(state), "state")
        check_number(step, "step", least=0)
        if number is not None:
            check_number(number, "number")
        if name is not None and not text_fact(name, "name"):
            raise InvalidValueError("name='': a name has a character; give one, or None")
        digest = hashlib.sha256(canonical(value)).hexdigest()
        seen = {"step": step, "time": now, "name": name, "digest": digest, "clock": 0}

        def add(record: Json, fact: Json) -> tuple[Json, Json]:
            refuse_recorded(record, "checkpoints")
            return add_checkpoint(record["hand"], fact, number)

        writing = self._write_checkpoint(ref, seen, value, add)
        made = await self.engine.to_the_end(writing, f"checkpoint of run {ref.run_id!r}")
        return to_checkpoint(made, value)

    async def keep_checkpoint(
        self,
        ref: RunRef,
        key: str,
        *,
        name: str | None,
        state: Mapping[str, Any],
        version: int,
        workflow_type: str,
        task_queue: str,
        told: Json | None,
        at: datetime | None,
    ) -> int:
        """Keep a checkpoint that the code of a workflow asks for; return its number.

        Args:
            ref: Which run.
            key: The name of the call; the same call is the same checkpoint.
            name: One with a name is never dropped by retention.
            state: A JSON object.
            version: The version of the document that it is.
            workflow_type: Of the run, which may have no record but this.
            task_queue: Of the run.
            told: What the run knew of itself, with the number that it reserved.
            at: When the call was made.
        """
        now = self._at(at)
        value = plain_object(dict(state), "state")
        if name == "":
            raise InvalidValueError("name='' is no name of a checkpoint; give one, or None")
        told = dict(told or {})
        reserved = int(told.pop("number", 0))
        digest = hashlib.sha256(canonical(value)).hexdigest()
        own: Json = {"key": key, "name": name, "digest": digest, "version": version}
        seen: Json = {"step": 0, "time": now, "clock": 0, **told, **own}
        start = {
            "at": now,
            "kind": "workflow",
            "workflow_type": workflow_type,
            "task_queue": task_queue,
        }

        def add(record: Json, fact: Json) -> tuple[Json, Json]:
            hand, made = add_called(record, fact, reserved)
            return {**hand, "start": hand.get("start", start)}, made

        writing = self._write_checkpoint(ref, seen, value, add)
        made = await self.engine.to_the_end(writing, f"checkpoint of run {ref.run_id!r}")
        return int(made["number"])

    async def _write_checkpoint(
        self, ref: RunRef, seen: Json, state: Json, add: Callable[[Json, Json], tuple[Json, Json]]
    ) -> Json:
        name = f"by-hand-{secrets.token_hex(16)}"  # shared by no two, so it can be removed alone
        watch, key = self._watches.begin(), self._places.state(ref, name)
        await self._objects.create(key, {"state": state})
        seen = {**seen, "object": name, "bytes": len(dumps({"state": state}))}
        made: list[Json] = []
        dropped: list[Json] = []

        def change(record: Json) -> Json:
            known = view(record)
            situation = {
                "progress": known.get("progress"),
                "counts": known.get("counts", {}),
                "open": known.get("open", []),
            }
            hand, kept = add(record, {**situation, **seen, "took": watch.micros()})
            changed = {**record, "hand": hand}
            made[:], dropped[:] = [kept], dropped_of([*all_checkpoints(record), kept], changed)
            return changed

        try:
            await self._change(ref, seen["time"], change)
            watch.stop()
        except ConflictError:
            await self._objects.delete([key])
            raise
        if made[0]["object"] != name:
            await self._objects.delete([key])
        await self._forget(ref, dropped)
        return made[0]

    async def trim_checkpoints(self, ref: RunRef, keep: int) -> int:
        """Drop all but the newest checkpoints of a run, and what was kept for them only.

        Those with a name stay, and do not count.

        Args:
            ref: Which run.
            keep: How many stay, at least 1.

        Returns:
            How many were dropped.

        Raises:
            InvalidValueError: ``keep`` is below 1.
        """
        if keep < 1:
            raise InvalidValueError(f"keep={keep} is below 1; the newest checkpoint always stays")
        dropped: list[Json] = []

        def trim(record: Json) -> Json:
            dropped.clear()
            if not record:
                return record
            known = view(record).get("checkpoints", [])
            unnamed = [one["number"] for one in known if not one.get("name")]
            least = unnamed[-keep] if len(unnamed) > keep else 0
            trimmed = _without(record, least)
            dropped[:] = dropped_of(all_checkpoints(record), trimmed)
            return trimmed

        trim(await self._read_run(ref))
        if not dropped:
            return 0  # and there is no change to be announced
        async with self.feed.announced([Change(ref)]):
            await self._objects.update(self._places.run(ref), trim)
            await self._forget(ref, dropped)
        return len(dropped)

    async def _change(self, ref: RunRef, now: str, change: Callable[[Json], Json]) -> None:
        part = of_run(ref, to_text(ref.started))
        async with self.feed.announced([Change(ref)]):
            await self._objects.update(self._places.run(ref), merge_hand(part, now, change))

    def _at(self, at: datetime | None) -> str:
        return to_text(self.engine.now()) if at is None else time_fact(at, "at")


def _without(record: Json, least: int) -> Json:
    """Return a record without its unnamed checkpoints below a number, now and later."""
    trimmed = dict(record)
    if "checkpoints" in record:
        least_recorded = max(least, record.get("checkpoints_from", 0))
        trimmed["checkpoints"] = merge_checkpoints(record["checkpoints"], [], least_recorded)
        trimmed["checkpoints_from"] = least_recorded
    if "hand" in record:
        hand = record["hand"]
        least_by_hand = max(least, hand.get("from", 0))
        kept = merge_checkpoints(hand.get("checkpoints", []), [], least_by_hand)
        trimmed["hand"] = {**hand, "checkpoints": kept, "from": least_by_hand}
    return trimmed
