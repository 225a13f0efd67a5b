"""How what several writers saw becomes one record: merges that may be repeated and reordered.

A run moves between workers, a worker dies before it has written, a failed workflow task is done
again: so every write is a merge, and later knowledge wins by the record's logical clock, which is
the length of Temporal's history. Whoever merges the same thing twice changes nothing.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

MAX_CHECKPOINTS = 100


def merge_run(stored: Json, header: Mapping[str, Any]) -> Json:
    """Return the record of a run after a newer, equal or older ``header`` was seen.

    The newer header wins as a whole, except for what is only known once: the input, and
    checkpoints, which are immutable.
    """
    older, newer = (stored, header) if _order(stored) <= _order(header) else (header, stored)
    result = {**older, **newer}
    for once in ("input", "start", "kind"):
        result[once] = newer.get(once) or older.get(once)
    result["synced"] = max(stored.get("synced", 0), header.get("synced", 0))
    result["lost"] = max(stored.get("lost", 0), header.get("lost", 0))
    result["checkpoints"] = merge_checkpoints(
        stored.get("checkpoints", []), header.get("checkpoints", [])
    )
    return result


def merge_checkpoints(stored: list[Json], seen: list[Json]) -> list[Json]:
    """Return both lists as one, each number once, the stored one first; the newest are kept."""
    by_number = {checkpoint["number"]: checkpoint for checkpoint in [*seen, *stored]}
    return [by_number[number] for number in sorted(by_number)][-MAX_CHECKPOINTS:]


def merge_step(stored: Json | None, seen: Json) -> Json:
    """Return a step after the workflow side saw more, less or something else of it.

    A step has a ``call`` and, once it is closed, an ``end``, each with the clock at which it was
    seen. A number whose call changed was given to another by a repeated workflow task: the later
    call has it, and what was known of the other's end goes with the other.
    """
    if stored is None:
        return dict(seen)
    if "call" in stored and "call" in seen and _identity(stored) != _identity(seen):
        return dict(seen) if seen["call"]["clock"] >= stored["call"]["clock"] else stored
    merged: Json = {
        part: _newer(stored.get(part), seen.get(part))
        for part in ("call", "end")
        if part in stored or part in seen
    }
    if len(merged) > 1 and merged["end"]["clock"] < merged["call"]["clock"]:
        del merged["end"]  # the call was made again after this end
    return merged


def _identity(step: Json) -> tuple[Any, ...]:
    return tuple(step["call"].get(field) for field in ("kind", "name", "key"))


def _newer(stored: Json | None, seen: Json | None) -> Json:
    if stored is None or seen is None:
        return stored or seen or {}
    if all(stored.get(field) == seen.get(field) for field in ("clock", "status")):
        return {**stored, **seen}  # one of the two may have kept values that the other did not
    return seen if seen["clock"] >= stored["clock"] else stored


def merge_attempt(stored: Json | None, seen: Json) -> Json:
    """Return what is known of a step's newest attempt; an end is never taken back."""
    if stored is None:
        return dict(seen)
    if (stored["attempt"], stored["started"]) == (seen["attempt"], seen["started"]):
        older, newer = (
            (stored, seen) if seen.get("ended") or not stored.get("ended") else (seen, stored)
        )
        return {**older, **newer}
    return dict(seen) if _begun(seen) > _begun(stored) else stored


def _begun(attempt: Json) -> tuple[str, int]:
    # The later start first: a local activity that is run again begins with attempt 1. To the
    # millisecond: its attempts all start at the time at which the workflow called it.
    return (attempt["started"][:23], attempt["attempt"])


def _order(header: Mapping[str, Any]) -> tuple[int, str]:
    # At one length of the history, what was seen later is later.
    return (header.get("clock", -1), header.get("seen", ""))
