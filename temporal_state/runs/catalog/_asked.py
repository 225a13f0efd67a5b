"""What callers ask for, checked, in the form in which the catalog has it."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from temporal_state.documents import plain_object
from temporal_state.errors import InvalidValueError
from temporal_state.runs._records import CLOSED
from temporal_state.runs.catalog._rows import UNSETTLED, column, labels_wanted, micros_of
from temporal_state.runs.catalog._select import Filter

STATUSES = frozenset({"running", "paused", *CLOSED})
_CURSOR = re.compile(r"(-?\d{1,19})\.(\d{1,19})")


def filter_of(
    *,
    namespace: str,
    status: str | Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    unsettled: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    ended_since: datetime | None = None,
    ended_until: datetime | None = None,
    **texts: str | None,
) -> Filter:
    """Return the filter that a caller means.

    Raises:
        InvalidValueError: A status is none, a time has no time zone, or metadata is no JSON object.
    """
    labels = labels_wanted(plain_object(dict(metadata or {}), "metadata"))
    return Filter(
        namespace=column(namespace),
        statuses=_statuses(status),
        labels=(*labels, *([UNSETTLED] if unsettled else [])),
        since=micros("since", since),
        until=micros("until", until),
        ended_since=micros("ended_since", ended_since),
        ended_until=micros("ended_until", ended_until),
        **{name: None if text is None else column(text) for name, text in texts.items()},
    )


def micros(name: str, time: datetime | None) -> int | None:
    """Return a time as the catalog has it; refuse one that could be any."""
    if time is None:
        return None
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise InvalidValueError(
            f"{name}={time!r} has no time zone; give an aware datetime, such as datetime.now(UTC)"
        )
    return micros_of(time)


def check_part(limit: int | None, offset: int) -> None:
    """Refuse parts of a list that cannot be."""
    if limit is not None and limit < 1:
        raise InvalidValueError(f"limit={limit} is below 1; give None for all")
    if offset < 0:
        raise InvalidValueError(f"offset={offset} is below 0; give how many to leave out")


def to_cursor(place: tuple[int, int] | None) -> str | None:
    """Return a place in a list as text."""
    return None if place is None else f"{place[0]}.{place[1]}"


def from_cursor(cursor: str | None) -> tuple[int, int] | None:
    """Return the place that a cursor names."""
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None or any(not -(2**63) < int(part) < 2**63 for part in match.groups()):
        raise InvalidValueError(
            f"cursor={cursor[:50]!r} is none; give the cursor of the page before, as it is"
        )
    return (int(match[1]), int(match[2]))


def _statuses(status: str | Iterable[str] | None) -> tuple[str, ...]:
    if status is None:
        return ()
    wanted = {status} if isinstance(status, str) else set(status)
    for one in wanted:
        if one not in STATUSES:
            raise InvalidValueError(
                f"status={one!r} is none of a run; ask for {', '.join(sorted(STATUSES))}"
            )
    if "running" in wanted:
        wanted.add("paused")  # it runs, and somebody holds it
    if not wanted:
        raise InvalidValueError("status=() asks for no status at all; give None for all")
    return tuple(sorted(wanted))
