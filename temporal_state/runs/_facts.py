"""What callers say by hand, checked, in the form in which it is kept."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from temporal_state.documents import aware, dumps, plain, plain_object, to_text
from temporal_state.errors import ConflictError, InvalidValueError, TooLargeError
from temporal_state.runs._hand import is_recorded, merge_hand_step, merge_metadata
from temporal_state.runs._merge import Json
from temporal_state.runs._records import Failure
from temporal_state.runs._refs import RunRef

MAX_NUMBER = 2**53
MAX_NOTES = 64 * 1024
"""Most bytes of JSON of notes by hand and of its activities that a run has; lists bring them."""


def time_fact(time: datetime, what: str) -> str:
    """Return a time as it is kept.

    Raises:
        InvalidValueError: It has no time zone.
    """
    return to_text(aware(time, what))


def check_number(number: int, what: str, *, least: int = 1) -> int:
    """Return a number of something that is counted.

    Raises:
        InvalidValueError: It is none.
    """
    if type(number) is not int or not least <= number <= MAX_NUMBER:
        raise InvalidValueError(
            f"{what}={number!r} is not {least} to {MAX_NUMBER}; give the number of one"
        )
    return number


def text_fact(text: str, what: str) -> str:
    """Return a text as it is kept.

    Raises:
        InvalidValueError: It is none, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidValueError(f"{what}={text!r} is a {type(text).__name__}; give a string")
    return str(plain(text, what))


def error_fact(error: BaseException | Failure | str | None) -> Json | None:
    """Return an error as it is kept: its type and its message."""
    if error is None:
        return None
    if isinstance(error, Failure):
        return {"type": error.type, "message": error.message}
    kind = type(error).__name__ if isinstance(error, BaseException) else "Error"
    return {"type": kind, "message": str(error).encode(errors="replace").decode()}


def notes_fact(metadata: Mapping[str, Any], at: str) -> dict[str, Json]:
    """Return metadata as it is kept: each key with its time."""
    notes = plain_object(dict(metadata), "metadata")
    return {key: {"at": at, "value": value} for key, value in notes.items()}


def parent_fact(parent: RunRef | None) -> Json | None:
    """Return the parent of a run as it is kept."""
    if parent is None:
        return None
    ids = ("namespace", "workflow_id", "run_id")
    return {name: plain(getattr(parent, name), name) for name in ids}


def check_status(status: str, known: Collection[str]) -> str:
    """Return a status if it is one of those that are known."""
    if status not in known:
        raise InvalidValueError(f"status={status!r} is none of {', '.join(sorted(known))}")
    return status


def with_notes(record: Json, notes: Mapping[str, Json]) -> Json:
    """Return a record with notes by hand, or of its activities.

    Raises:
        TooLargeError: With them there would be too many.
    """
    hand = record["hand"]
    known = hand.get("metadata", {})
    metadata = merge_metadata(known, notes)
    size = _size_of(metadata)
    if size > MAX_NOTES and size > _size_of(known):
        raise TooLargeError(
            f"the metadata of this run would have {size} bytes of JSON with "
            f"{', '.join(map(repr, notes))}, the limit is {MAX_NOTES}; note what tells runs apart, "
            "keep the rest in a document"
        )
    return {**record, "hand": {**hand, "metadata": metadata}}


def _size_of(metadata: Mapping[str, Json]) -> int:
    return len(dumps({key: fact["value"] for key, fact in metadata.items()}))


def with_step(stored: Json, number: int, step: Json) -> Json:
    """Return an object of steps with one by hand; refuse it beside those of a worker."""
    refuse_recorded(stored, "steps")
    steps = dict(stored.get("hand_steps", {}))
    steps[str(number)] = merge_hand_step(steps.get(str(number)), step)
    return {**stored, "hand_steps": steps}


def refuse_recorded(record: Json, what: str) -> None:
    """Refuse to write by hand what a worker counts."""
    if is_recorded(record):
        raise ConflictError(
            f"a worker records the {what} of this run, so none can be written by hand; add a span "
            "or an annotation, or start a record of your own"
        )
