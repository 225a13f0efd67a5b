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
    checkpoints, which are immutable; and for metadata, each key of which has a time of its own,
    in ``metadata_at`` or else the header's.
    """
    older, newer = (stored, header) if _order(stored) <= _order(header) else (header, stored)
    result = {**older, **newer}
    result["kind"] = newer.get("kind") or older.get("kind")
    # Encoded again, one input may look like another; the one that is kept already stays.
    for once in ("input", "start"):
        result[once] = stored.get(once) or header.get(once)
    result["synced"] = max(stored.get("synced", 0), header.get("synced", 0))
    result["lost"] = max(stored.get("lost", 0), header.get("lost", 0))
    result["checkpoints"] = merge_checkpoints(
        stored.get("checkpoints", []),
        header.get("checkpoints", []),
        stored.get("checkpoints_from", 0),
    )
    return result | _merge_metadata(stored, header)


def _merge_metadata(stored: Json, header: Mapping[str, Any]) -> Json:
    facts: dict[str, tuple[list[Any], Any]] = {}
    for part in (stored, header):
        times = part.get("metadata_at") or {}
        for key, value in (part.get("metadata") or {}).items():
            at = times.get(key) or list(_order(part))
            if key not in facts or at >= facts[key][0]:
                facts[key] = (at, value)
    if not facts:
        return {}
    return {
        "metadata": {key: value for key, (_, value) in facts.items()},
        "metadata_at": {key: at for key, (at, _) in facts.items()},
    }


def merge_checkpoints(stored: list[Json], seen: list[Json], least: int = 0) -> list[Json]:
    """Return both lists as one, each number once, the stored one first.

    Kept are the newest, of those numbers that retention has not dropped, and all that have a name.
    """
    by_number = {checkpoint["number"]: checkpoint for checkpoint in [*seen, *stored]}
    unnamed = [n for n in sorted(by_number) if not by_number[n].get("name") and n >= least]
    kept = {*unnamed[-MAX_CHECKPOINTS:], *(n for n in by_number if by_number[n].get("name"))}
    return [by_number[number] for number in sorted(kept)]


def state_of(checkpoint: Mapping[str, Any]) -> str | None:
    """Return the name of the object with a checkpoint's state; several may share one."""
    if "object" in checkpoint:
        return str(checkpoint["object"])
    return f"{checkpoint['version']:09}" if "version" in checkpoint else None


def merge_step(stored: Json | None, seen: Json) -> Json:
    """Return a step after the workflow side saw more, less or something else of it.

    A step has a ``call`` and, once it is closed, an ``end``, each with the clock at which it was
    seen. A number whose call changed was given to another by a repeated workflow task: the later
    call has it, and what was known of the other's end goes with the other. A call whose place was
    ``guessed`` from a history gives way to the one that a worker saw there.
    """
    if stored is None:
        return dict(seen)
    if "call" in stored and "call" in seen and not _is_same_call(stored["call"], seen["call"]):
        return dict(seen) if _rank(seen["call"]) >= _rank(stored["call"]) else stored
    merged: Json = {**stored, **seen}
    for part in stored.keys() & seen.keys():
        merged[part] = _newer(stored[part], seen[part])
    if "call" in stored and "call" in seen:
        merged["call"] = _same_call(merged["call"], stored["call"], seen["call"])
    if len(merged) > 1 and merged["end"]["clock"] < merged["call"]["clock"]:
        del merged["end"]  # the call was made again after this end
    return merged


def _is_same_call(one: Json, other: Json) -> bool:
    if any(one.get(field) != other.get(field) for field in ("kind", "name")):
        return False
    # A history does not tell the key of every call.
    keys = {call.get("key") for call in (one, other)}
    return len(keys - {None}) <= 1


def _same_call(merged: Json, *calls: Json) -> Json:
    """Return a call that two have seen, as the one saw it that knows where it belongs."""
    seen = [call for call in calls if not call.get("guessed")]
    if len(seen) == 1:
        return seen[0]
    key = next((call["key"] for call in calls if call.get("key")), None)
    return {**merged, "key": key} if key else merged


def _rank(call: Json) -> tuple[bool, int]:
    return (not call.get("guessed"), call["clock"])


def _newer(stored: Json, seen: Json) -> Json:
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
