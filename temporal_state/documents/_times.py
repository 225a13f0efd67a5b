"""Times in documents: UTC, ISO 8601 with a ``Z``, so that text order is time order."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

import orjson

from temporal_state.errors import InvalidValueError

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present time as an aware ``datetime``."""


def utc_now() -> datetime:
    """Return the wall clock's time, in UTC."""
    return datetime.now(UTC)


def aware(time: datetime, name: str) -> datetime:
    """Return a time that was given as ``name``.

    Raises:
        InvalidValueError: It is no time, has no time zone, so that it cannot be compared, or is
            beyond the years 1 to 9999 in UTC.
    """
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise InvalidValueError(f"{name}={time!r} has no time zone; give an aware datetime")
    try:
        time.astimezone(UTC)
    except OverflowError:
        raise InvalidValueError(
            f"{name}={time!r} is out of range in UTC; give a time between the years 1 and 9999"
        ) from None
    return time


def to_text(time: datetime) -> str:
    """Return an aware time as text: always UTC, always with microseconds."""
    time = time.astimezone(UTC) if time.tzinfo is not UTC else time
    if time.microsecond and type(time) is datetime:  # orjson is quicker, and writes it the same
        return orjson.dumps(time, option=orjson.OPT_UTC_Z)[1:-1].decode()
    return f"{time.isoformat(timespec='microseconds')[:-6]}Z"


def from_text(text: str) -> datetime:
    """Return the time that `to_text` wrote; raises ``ValueError`` for other text."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} is a time without its offset from UTC")
    return time.astimezone(UTC)
