"""Where the steps of a run lie: in its own object, in chunks, and with the attempts of activities.

What the workflow side saw of a step is found by its number. What the activity side saw is found by
the part that the call named, since whoever runs an activity does not know its number.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from temporal_state.runs._decode import to_hand_step, to_run, to_step
from temporal_state.runs._hand import is_recorded
from temporal_state.runs._merge import Json, merge_attempt
from temporal_state.runs._objects import Objects
from temporal_state.runs._outcomes import Outcome, outcomes_in
from temporal_state.runs._records import Step
from temporal_state.runs._refs import RUN_FILE, attempts_in, chunk_of, steps_file

WITH_ATTEMPTS = frozenset({"activity", "local_activity"})


@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads what is recorded of steps: the run's own object first, then others."""

    objects: Objects

    async def with_all(self, key: str) -> Sequence[Json]:
        """Return all that tells of a run's steps."""
        folder = key.removesuffix(RUN_FILE)
        chunks, attempts = await asyncio.gather(
            self.objects.keys(f"{folder}steps/"), self.objects.keys(f"{folder}attempts/")
        )
        record = await self.objects.read(key)
        return [record, *await self._read([*chunks, *attempts])]

    async def outcomes(self, key: str) -> Mapping[str, Outcome]:
        """Return how a run's steps stand, by the key of the call.

        One object after the other is made into them, so that a long run is never held as a whole.
        """
        chunks = await self.objects.keys(f"{key.removesuffix(RUN_FILE)}steps/")
        record = await self.objects.read(key)
        if not is_recorded(record):
            return {}  # steps by hand have no key
        last = record.get("step_count")

        async def outcomes_at(chunk: str) -> Mapping[str, Outcome]:
            return outcomes_in(await self.objects.read(chunk), last)

        found = dict(outcomes_in(record, last))
        for outcomes in await asyncio.gather(*map(outcomes_at, chunks)):
            found.update(outcomes)
        return found

    async def with_one(self, key: str, number: int) -> Sequence[Json]:
        """Return all that tells of one step, in the form of all of them."""
        folder, chunk = key.removesuffix(RUN_FILE), chunk_of(number)
        further = [f"{folder}{steps_file(chunk)}"] if chunk else []
        record, *others = await self._read([key, *further])
        if record:
            to_run(record, key)  # refuses what is no record, which would seem to have no steps
        (steps,) = others or [record]
        kind = "steps" if is_recorded(record) else "hand_steps"
        step = steps.get(kind, {}).get(str(number))
        kept: Json = {part: record[part] for part in ("clock", "step_count") if part in record}
        if step is None:
            return [kept]
        return [{**kept, kind: {number: step}, "attempts": await self._attempts(folder, step)}]

    async def _attempts(self, folder: str, step: Json) -> Json:
        call = step.get("call", {})
        name = call.get("key")
        if name is None or call["kind"] not in WITH_ATTEMPTS:
            return {}
        # An older version named them otherwise, and a repeated call may have had another part.
        for prefix in (attempts_in(call.get("part", 0)), "attempts/"):
            keys = await self.objects.keys(f"{folder}{prefix}")
            told = [one.get("attempts", {}) for one in await self._read(keys)]
            known = [attempts[name] for attempts in told if name in attempts]
            if known:
                return {name: reduce(merge_attempt, known)}
        return {}

    async def _read(self, keys: Sequence[str]) -> Sequence[Json]:
        return await asyncio.gather(*map(self.objects.read, keys))


def steps_of(parts: Sequence[Json]) -> list[Step]:
    """Return the steps that some objects tell of, the run's own first."""
    record = parts[0]
    return _recorded(record, parts) if is_recorded(record) else _by_hand(parts)


def _recorded(record: Json, parts: Sequence[Json]) -> list[Step]:
    steps: dict[str, Json] = {}
    attempts: dict[str, Json] = {}
    for part in parts:
        steps.update(part.get("steps", {}))
        for name, attempt in part.get("attempts", {}).items():
            attempts[name] = merge_attempt(attempts.get(name), attempt)
    return [
        to_step(number, step, attempts.get(step["call"]["key"] or ""))
        for number, step in sorted((int(n), step) for n, step in steps.items())
        if number <= record.get("step_count", number) and "call" in step
    ]


def _by_hand(parts: Sequence[Json]) -> list[Step]:
    steps = {int(n): s for part in parts for n, s in part.get("hand_steps", {}).items()}
    return [to_hand_step(number, steps[number]) for number in sorted(steps)]
