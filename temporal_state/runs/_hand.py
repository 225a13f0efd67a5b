"""What is written by hand of a run, and how it stands beside what its worker records.

A worker writes whole headers, the newest of which wins. Calls by hand bring one fact each, late,
twice, in any order; so they have a place of their own in the record, ``hand``, where each fact is
merged by the time at which it was so. Nothing of it can damage what a worker recorded: readers see
both as one, and where they disagree, the worker knows better. An end by hand holds for a recorded
run only until its worker shows more of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from temporal_state.documents import dumps
from temporal_state.errors import ConflictError
from temporal_state.runs._merge import Json, merge_checkpoints
from temporal_state.runs._refs import RunRef

OPEN = frozenset({"scheduled", "started"})
OPEN_SHOWN = 20


def is_recorded(record: Mapping[str, Any]) -> bool:
    """Return whether a worker has recorded the run."""
    return "clock" in record


def of_run(ref: RunRef, started: str) -> Json:
    """Return what every call by hand knows of its run."""
    return {
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "started": started,
    }


def first(stored: Json | None, seen: Json) -> Json:
    """Return the fact that was so first: what a start says is not erased by another."""
    return seen if stored is None else min(stored, seen, key=_stamp)


def last(stored: Json | None, seen: Json) -> Json:
    """Return the fact that was so last."""
    return seen if stored is None else max(stored, seen, key=_stamp)


def _stamp(fact: Json) -> tuple[str, bytes]:
    return (fact["at"], canonical(fact))


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values, to tell equal times apart."""
    return dumps(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def merge_metadata(stored: Mapping[str, Json], seen: Mapping[str, Json]) -> Json:
    """Return both, key by key, each the one that was so last."""
    return {**stored, **{key: last(stored.get(key), fact) for key, fact in seen.items()}}


def merge_hand_step(stored: Json | None, seen: Json) -> Json:
    """Return a step after it was saved once more.

    The higher attempt wins; of one attempt, an end wins over none, and a later end over an earlier.
    """
    if stored is None:
        return seen
    merged = {
        "call": last(stored["call"], seen["call"]),
        "first": min(stored["first"], seen["first"]),
    }
    if stored["attempt"] != seen["attempt"]:
        newer = max(stored, seen, key=lambda step: step["attempt"])
        return {**merged, **{k: newer[k] for k in ("attempt", "started", "outcome")}}
    starts = [step["started"] for step in (stored, seen) if step["started"] is not None]
    return {
        **merged,
        "attempt": seen["attempt"],
        "started": min(starts, default=None),
        "outcome": max(stored["outcome"], seen["outcome"], key=_lateness),
    }


def _lateness(outcome: Json) -> tuple[bool, str, str, bytes]:
    closed = outcome["status"] not in OPEN
    return (closed, outcome["ended"] or "", outcome["at"], canonical(outcome))


def tally(steps: Mapping[str, Json]) -> Json:
    """Return counts of some steps: how many ended how, the highest number, and what is open."""
    counts: dict[str, int] = {}
    for step in steps.values():
        status = step["outcome"]["status"]
        if status not in OPEN:
            counts[status] = counts.get(status, 0) + 1
    numbered = sorted((int(number), step) for number, step in steps.items())
    waiting = [step["call"]["name"] for _, step in numbered if step["outcome"]["status"] in OPEN]
    return {"max": max(map(int, steps), default=0), "counts": counts, "open": waiting[:OPEN_SHOWN]}


def view(record: Json) -> Json:
    """Return a record as its readers see it: what was recorded and what was written by hand."""
    hand = record.get("hand")
    if hand is None:
        return record
    seen = {**record} if is_recorded(record) else _unrecorded(record, hand)
    end = hand.get("end")
    if end is not None and _holds(end, record):
        seen |= {k: end[k] for k in ("status", "confirmed", "ended", "result", "error")}
        seen["open"] = []
    seen["progress"] = seen.get("progress") or hand.get("progress")
    seen["metadata"] = _all_metadata(record, hand)
    seen["checkpoints"] = _all_checkpoints(record, hand)
    return seen


def _all_checkpoints(record: Json, hand: Json) -> list[Json]:
    # Of one number: what the run's code asked for, then what was seen of it, then what others say.
    asked = [one for one in hand.get("checkpoints", []) if "key" in one]
    others = [one for one in hand.get("checkpoints", []) if "key" not in one]
    return merge_checkpoints(asked, merge_checkpoints(record.get("checkpoints", []), others))


def _holds(end: Json, record: Json) -> bool:
    if not is_recorded(record):
        return True
    return not record["confirmed"] and record["clock"] <= end["over"]


def _unrecorded(record: Json, hand: Json) -> Json:
    start = hand.get("start", {})
    tallies = [tally(record.get("hand_steps", {})), *_by_chunk(hand)]
    counts: dict[str, int] = {}
    for part in tallies:
        for status, number in part["counts"].items():
            counts[status] = counts.get(status, 0) + number
    return {
        **hand["run"],
        "kind": start.get("kind", "manual"),
        "workflow_type": start.get("workflow_type", ""),
        "task_queue": start.get("task_queue", ""),
        "input": start.get("input", []),
        "parent": start.get("parent"),
        "status": "running",
        "confirmed": False,
        "attempt": 1,
        "ended": None,
        "updated": hand["updated"],
        "clock": 0,
        "step_count": max(part["max"] for part in tallies),
        "counts": counts,
        "open": [name for part in tallies for name in part["open"]][:OPEN_SHOWN],
        "result": None,
        "error": None,
        "chain": hand["run"]["run_id"],
        "original": hand["run"]["run_id"],
        "worker": "",
        "lost": 0,
        "hand_steps": record.get("hand_steps", {}),
    }


def _by_chunk(hand: Json) -> list[Json]:
    tallies = hand.get("tallies", {})
    return [tallies[chunk] for chunk in sorted(tallies, key=int)]


def _all_metadata(record: Json, hand: Json) -> Json:
    facts = hand.get("metadata", {})
    recorded = record.get("metadata") or {}
    times = record.get("metadata_at") or {}
    result = dict(recorded)
    for key, fact in facts.items():
        seen = times.get(key, [0, record.get("seen", "")])[1]
        if key not in recorded or fact["at"] >= seen:
            result[key] = fact["value"]
    return result


def merge_hand(ref_part: Json, at: str, change: Callable[[Json], Json]) -> Callable[[Json], Json]:
    """Return what merges one call by hand into a record."""

    def merge(record: Json) -> Json:
        hand = {"updated": at, **record.get("hand", {}), "run": ref_part}
        changed = {**record, "hand": hand}
        changed = change(changed)
        changed["hand"] = {**changed["hand"], "updated": max(hand["updated"], at)}
        return changed

    return merge


def merge_end(record: Json, seen: Json) -> Json:
    """Return a record after an end by hand.

    Raises:
        ConflictError: The run has ended otherwise, for sure.
    """
    if is_recorded(record) and record["confirmed"]:
        if record["status"] != seen["status"]:
            raise _ended_otherwise(record, seen)
        return record
    hand = record["hand"]
    seen = {**seen, "over": record.get("clock", 0)}
    former = hand.get("end")
    if former is None or not _holds(former, record):
        return {**record, "hand": {**hand, "end": seen}}
    if all(former[k] == seen[k] for k in ("status", "result", "error")):
        sure = former["confirmed"] or seen["confirmed"]
        both = {"confirmed": sure, "over": max(former["over"], seen["over"])}
        end = {**first({**former, **both}, {**seen, **both})}
    elif former["confirmed"]:
        raise _ended_otherwise(former, seen)
    else:
        end = seen if seen["confirmed"] else last(former, seen)
    return {**record, "hand": {**hand, "end": end}}


def _ended_otherwise(known: Json, seen: Json) -> ConflictError:
    return ConflictError(
        f"this run is {known['status']} since {known['ended']} and cannot become "
        f"{seen['status']} with another outcome; start a new run"
    )


def merge_tally(hand: Json, chunk: int, seen: Json) -> Json:
    """Return the hand's part with the counts of some steps; those of the later version win."""
    tallies = dict(hand.get("tallies", {}))
    stored = tallies.get(str(chunk))
    if stored is None or seen["rev"] >= stored["rev"]:
        tallies[str(chunk)] = seen
    return {**hand, "tallies": tallies}


def add_checkpoint(hand: Json, seen: Json, number: int | None) -> tuple[Json, Json]:
    """Return the hand's part with a checkpoint, and the checkpoint as it is known.

    The same step, name and state are the same checkpoint.

    Raises:
        ConflictError: The number is another checkpoint's.
    """
    known, least = hand.get("checkpoints", []), hand.get("from", 0)
    for checkpoint in known:
        same = all(checkpoint[k] == seen[k] for k in ("step", "name", "digest"))
        if same and number in {None, checkpoint["number"]}:
            return hand, checkpoint
        if checkpoint["number"] == number:
            raise ConflictError(
                f"checkpoint {number} of this run is of step {checkpoint['step']} and immutable; "
                "give another number, or none"
            )
    if number is not None and number < least and not seen["name"]:
        raise ConflictError(f"checkpoint {number} is older than those that are kept, from {least}")
    newest = max([hand.get("last", 0), *(one["number"] for one in known)])
    made = {**seen, "number": number or newest + 1}
    kept = merge_checkpoints(known, [made], least)
    return {**hand, "checkpoints": kept, "last": max(newest, made["number"])}, made


def add_called(record: Json, seen: Json, reserved: int) -> tuple[Json, Json]:
    """Return the hand's part with a checkpoint that a recorded run's code asked for, and that.

    The same call is the same checkpoint. It has the number that its run reserved for it; if that
    is another's, because the run was recorded in another way before, the next one.
    """
    hand = record["hand"]
    known = hand.get("checkpoints", [])
    for checkpoint in known:
        if checkpoint.get("key") == seen["key"]:
            return hand, checkpoint
    taken = {one["number"] for one in [*known, *record.get("checkpoints", [])]}
    newest = max([hand.get("last", 0), *taken])
    made = {**seen, "number": reserved if reserved and reserved not in taken else newest + 1}
    kept = merge_checkpoints(known, [made])
    return {**hand, "checkpoints": kept, "last": max(newest, made["number"])}, made
