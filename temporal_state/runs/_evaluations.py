"""Judgements of runs and of their steps: a score, and what was said about it.

Each is kept twice: with its run, by its id, so that saying it twice is once and it goes when the
run goes; and in one list of all, by a name that begins with the time counted backwards, so that
the newest are the first of a listing, whichever runs they are of.
"""

import asyncio
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents import from_text, plain, plain_object
from temporal_state.errors import ConflictError, InvalidValueError
from temporal_state.runs._facts import check_number, time_fact
from temporal_state.runs._listed import Listed, check_limit, check_window, place_after
from temporal_state.runs._merge import Json
from temporal_state.runs._objects import Objects, decoding
from temporal_state.runs._refs import RunLayout, RunRef
from temporal_state.storage import encode_name

_EPOCH = from_text("1970-01-01T00:00:00Z")
_MICROSECOND = timedelta(microseconds=1)
_LAST = 10**16 - 1
_SAID = ("step", "score", "feedback", "metadata")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One judgement.

    Attributes:
        id: Its id, unique within the run.
        namespace: The run's namespace.
        workflow_id: The run's workflow id.
        run_id: The run.
        step: The number of the step that was judged; ``None``: the whole run.
        score: Any finite number.
        feedback: What was said about it.
        metadata: What else is known of it: a JSON object.
        time: When it was said.
    """

    id: str
    namespace: str
    workflow_id: str
    run_id: str
    step: int | None
    score: float
    feedback: str | None
    metadata: dict[str, Any]
    time: datetime


@dataclass(frozen=True, slots=True)
class Evaluations:
    """All judgements of one application (and tenant)."""

    objects: Objects
    places: RunLayout

    async def add(
        self,
        ref: RunRef,
        score: float,
        *,
        feedback: str | None,
        metadata: Mapping[str, Any],
        step: int | None,
        evaluation_id: str | None,
        now: datetime,
    ) -> Evaluation:
        """Keep a judgement, once for its id."""
        if (
            isinstance(score, bool)
            or not isinstance(score, int | float)
            or not math.isfinite(score)
        ):
            raise InvalidValueError(f"score={score!r} is no finite number; give one")
        if step is not None:
            check_number(step, "step")
        id = uuid.uuid4().hex if evaluation_id is None else evaluation_id
        value: Json = {
            "id": id,
            "namespace": ref.namespace,
            "workflow_id": ref.workflow_id,
            "run_id": ref.run_id,
            "step": step,
            "score": plain(score, "score"),
            "feedback": plain(feedback, "feedback"),
            "metadata": plain_object(dict(metadata), "metadata"),
            "time": time_fact(now, "at"),
        }
        key = self.places.evaluation(ref, id)
        if not await self.objects.create(key, value):
            known = await self.objects.read(key)
            if any(known[part] != value[part] for part in _SAID):
                raise ConflictError(
                    f"evaluation {id!r} of run {ref.run_id!r} says something else already; give "
                    "another evaluation_id"
                )
            value = known
        await self.objects.create(self.key_of(value), value)
        return _evaluation(value)

    async def of_run(
        self,
        folder: str,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Listed[Evaluation]:
        """Return the judgements of one run, the newest first."""
        check_limit(limit)
        check_window(since, until)
        found = {place_of(value): _evaluation(value) for value in await self.values_of(folder)}
        places = [
            place
            for place in sorted(found)
            if (cursor is None or place > cursor)
            and (since is None or found[place].time >= since)
            and (until is None or found[place].time < until)
        ]
        page = places[:limit]
        return Listed([found[p] for p in page], page[-1] if len(places) > limit else None)

    async def of_all(
        self, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
    ) -> Listed[Evaluation]:
        """Return the judgements of all runs, the newest first."""
        check_limit(limit)
        check_window(since, until)
        begin = "" if until is None else f"{_backwards(until)}~"
        after = place_after(self._prefix, cursor, begin)
        keys = await self.objects.page(self._prefix, after, limit)
        if since is not None:
            end = f"{self._prefix}{_backwards(since)}~"
            keys = [key for key in keys if key < end]
        values = await asyncio.gather(*map(self.objects.find, keys))
        more = keys[-1].removeprefix(self._prefix) if len(keys) == limit else None
        return Listed([_evaluation(value) for value in values if value is not None], more)

    async def values_of(self, folder: str) -> list[Json]:
        """Return the stored judgements of one run."""
        keys = await self.objects.keys(f"{folder}evaluations/")
        return [value for value in await asyncio.gather(*map(self.objects.find, keys)) if value]

    def key_of(self, value: Json) -> str:
        """Return the key of a stored judgement in the list of all."""
        return self._prefix + place_of(value)

    @property
    def _prefix(self) -> str:
        return f"{self.places.layout.base}/evaluations/"


def place_of(value: Json) -> str:
    """Return where a stored judgement stands in the list of all; the newest sorts first."""
    with decoding(f"the record of evaluation {value.get('id')!r}"):
        run = encode_name(f"{value['run_id']}/{value['id']}")
        return f"{_backwards(from_text(value['time']))}-{run}.json"


def _backwards(time: datetime) -> str:
    left = f"{_LAST - (time - _EPOCH) // _MICROSECOND:016}"
    return f"{left[:4]}/{left}"


def _evaluation(value: Json) -> Evaluation:
    with decoding(f"the record of evaluation {value.get('id')!r}"):
        fields = {name: value[name] for name in Evaluation.__slots__ if name != "time"}
        return Evaluation(**fields, time=from_text(value["time"]))
