"""What one writer has to add to the record of one run, collected until it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from temporal_state.runs._hand import merge_metadata
from temporal_state.runs._merge import Json, merge_attempt, merge_checkpoints, merge_run, merge_step
from temporal_state.runs._refs import RunRef
from temporal_state.runs._spans import merge_span

_CALLED = {"call"}


@dataclass(slots=True)
class Patch:
    """Unwritten knowledge of one run.

    Attributes:
        header: The run itself; ``None`` if only activities were seen.
        steps: What the workflow side saw, by step number.
        attempts: What the activity side saw, by step key.
        spans: The spans that the code of activities began or ended, by id.
        notes: What activities noted of the run: keys of its metadata, each with its time.
        final: Whether it brings an end, which is written first.
        bytes: How much memory its values take at most.
        large: Whether a value in it may be so large that it is kept apart.
    """

    ref: RunRef
    header: Json | None = None
    steps: dict[int, Json] = field(default_factory=dict)
    attempts: dict[str, Json] = field(default_factory=dict)
    spans: dict[str, Json] = field(default_factory=dict)
    notes: dict[str, Json] = field(default_factory=dict)
    final: bool = False
    bytes: int = 0
    large: bool = True

    def see_step(self, number: int, part: str, seen: Json) -> None:
        """Take in the ``call`` or the ``end`` of a step."""
        known = self.steps.get(number)
        if known is None:
            self.steps[number] = {part: seen}
        elif part == "end" and known.keys() == _CALLED and known["call"]["clock"] <= seen["clock"]:
            known[part] = seen  # as `merge_step` does, of what nearly every step is
        else:
            self.steps[number] = merge_step(known, {part: seen})

    def see_attempt(self, key: str, attempt: Json) -> bool:
        """Take in an attempt of the step with a key; return whether none of it was known."""
        known = self.attempts.get(key)
        self.attempts[key] = attempt if known is None else merge_attempt(known, attempt)
        return known is None

    def see_checkpoint(self, checkpoint: Json) -> None:
        """Take in one that was made, beside whatever else the header has."""
        header = self.header or {}
        checkpoints = merge_checkpoints(header.get("checkpoints", []), [checkpoint])
        self.header = {**header, "checkpoints": checkpoints}

    def add(self, other: "Patch") -> int:
        """Take in what was seen since; it belongs to this one from now on.

        Returns:
            How many changes fewer there are than before, since they became one with another.
        """
        changes = len(self) + len(other)
        if other.header is not None:
            self.header = merge_run(self.header or {}, other.header)
        for number, step in other.steps.items():
            known = self.steps.get(number)
            self.steps[number] = step if known is None else merge_step(known, step)
        for key, attempt in other.attempts.items():
            self.see_attempt(key, attempt)
        for span_id, span in other.spans.items():
            self.spans[span_id] = merge_span(span_id, self.spans.get(span_id), span)
        if other.notes:
            self.notes = merge_metadata(self.notes, other.notes)
        self.final |= other.final
        self.bytes += other.bytes
        self.large |= other.large
        return changes - len(self)

    def __len__(self) -> int:
        of_activities = len(self.attempts) + len(self.spans) + len(self.notes)
        return of_activities + len(self.steps) + (self.header is not None)


def merge_record(stored: Json, header: Mapping[str, Any] | None, steps: dict[int, Json]) -> Json:
    """Return the JSON of a run's object after a patch."""
    record = merge_run(stored, header) if header is not None else dict(stored)
    if steps:
        record["steps"] = merge_steps(record.get("steps", {}), steps)
    return record


def merge_steps(stored: Mapping[str, Json], seen: Mapping[int, Json]) -> dict[str, Json]:
    """Return numbered steps after a patch."""
    result = dict(stored)
    for number, step in seen.items():
        result[str(number)] = merge_step(result.get(str(number)), step)
    return result
