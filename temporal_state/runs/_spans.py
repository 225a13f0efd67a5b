"""Spans: what a run did and how long it took, as a tree.

A step is a span of its run. Besides, code may have spans of its own; each lies in one of a fixed
number of objects, by the hash of its id, so that adding one costs the same however many there are.
The parent of a span never changes and is there before it, so there can be no cycle.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents import from_text, plain, plain_object, to_text
from temporal_state.errors import ConflictError, InvalidValueError, TooLargeError
from temporal_state.runs._facts import MAX_NUMBER
from temporal_state.runs._hand import OPEN, canonical
from temporal_state.runs._merge import Json
from temporal_state.runs._records import STEP_STATUSES, time_of

MAX_DEPTH = 64
BUCKETS = 64
MAX_IN_BUCKET = 256
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One thing that a run did.

    Attributes:
        name: What it is called.
        span_id: 1 to 64 of the characters ``A-Z a-z 0-9 . _ -``, unique within the run.
        parent_span_id: The span that it is a part of; ``None`` at the top.
        step: The number of the step in which it was, if it was in one.
        start: When it began.
        end: When it ended; ``None`` if it is open.
        status: That of a step: ``started``, ``completed``, ``failed`` and so on.
        attributes: What else is known of it: a JSON object.
    """

    name: str
    span_id: str
    start: datetime
    parent_span_id: str | None = None
    step: int | None = None
    end: datetime | None = None
    status: str = "completed"
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpanStatistics:
    """How many spans there are of one name or status, and how long those that ended took."""

    count: int
    average: timedelta | None


def bucket_of(span_id: str) -> int:
    """Return which object a span lies in."""
    return hashlib.sha256(span_id.encode()).digest()[0] % BUCKETS


def to_json(span: Span) -> Json:
    """Return the stored form of a span.

    Raises:
        InvalidValueError: It cannot be; the message names the span.
    """
    if not isinstance(span.span_id, str) or not _ID.fullmatch(span.span_id):
        raise InvalidValueError(
            f"span {span.name!r} has the id {span.span_id!r}, which is not 1 to 64 of the "
            "characters A-Z a-z 0-9 . _ -"
        )
    what = f"span {span.span_id!r} ({span.name!r})"
    problem = _problem(span)
    if problem is not None:
        raise InvalidValueError(f"{what} {problem}")
    return {
        "name": plain(span.name, f"the name of {what}"),
        "parent": span.parent_span_id,
        "step": span.step,
        "start": to_text(span.start),
        "end": None if span.end is None else to_text(span.end),
        "status": span.status,
        "attributes": plain_object(span.attributes, f"the attributes of {what}"),
    }


def _problem(span: Span) -> str | None:
    if not isinstance(span.name, str) or not span.name:
        return "has no name; give it one"
    if span.status not in STEP_STATUSES:
        return f"has the status {span.status!r}, which is none of {sorted(STEP_STATUSES)}"
    if span.parent_span_id == span.span_id:
        return "is its own parent; give another, or None"
    parent = span.parent_span_id
    if parent is not None and not (isinstance(parent, str) and _ID.fullmatch(parent)):
        return f"has the parent {parent!r}, which is no id of a span"
    if span.step is not None and not 1 <= span.step <= MAX_NUMBER:
        return f"is in step {span.step}, but steps are numbered from 1"
    return _problem_of_times(span)


def _problem_of_times(span: Span) -> str | None:
    if any(t is not None and t.tzinfo is None for t in (span.start, span.end)):
        return "has a time without a time zone; give aware datetimes"
    if span.end is not None and span.end < span.start:
        return f"ends ({span.end}) before it starts ({span.start}); look at both clocks"
    if span.end is None and span.status not in OPEN:
        return f"is {span.status} and has no end; give end=, or the status 'started'"
    return None


def with_depths(spans: Mapping[str, Json], known: Mapping[str, Json]) -> dict[str, Json]:
    """Return spans with their depths.

    Args:
        spans: The spans to be added, by id.
        known: Spans that are there, by id: at least the parents of those.

    Raises:
        InvalidValueError: A parent is unknown, the depth too large, or they form a cycle; the
            message names the span.
    """
    result: dict[str, Json] = {}
    for span_id in spans:
        path = _path_up(span_id, spans, result)
        for one in reversed(path):
            parent = spans[one]["parent"]
            depth = 1 if parent is None else _depth_of(parent, one, result, known) + 1
            if depth > MAX_DEPTH:
                raise InvalidValueError(
                    f"span {one!r} lies {depth} deep, and {MAX_DEPTH} is the limit; make it the "
                    "child of a higher span"
                )
            result[one] = {**spans[one], "depth": depth}
    return result


def _path_up(span_id: str, spans: Mapping[str, Json], done: Mapping[str, Json]) -> list[str]:
    """Return a span and those above it that have no depth yet."""
    path: list[str] = []
    seen: set[str] = set()
    at: str | None = span_id
    while at in spans and at not in done:
        assert at is not None
        if at in seen:
            raise InvalidValueError(f"span {at!r} is above itself, by way of {path}; cut the cycle")
        path.append(at)
        seen.add(at)
        at = spans[at]["parent"]
    return path


def _depth_of(parent: str, child: str, new: Mapping[str, Json], known: Mapping[str, Json]) -> int:
    found = new.get(parent) or known.get(parent)
    if found is None:
        raise InvalidValueError(
            f"span {child!r} has the parent {parent!r}, which is no span of this run; add the "
            "parent first, or both together"
        )
    return int(found["depth"])


def merge_spans(stored: Mapping[str, Json], seen: Mapping[str, Json]) -> dict[str, Json]:
    """Return both; of one span an end wins over none, and a later end over an earlier.

    Raises:
        ConflictError: A span is there with another parent.
        TooLargeError: There are too many.
    """
    result = dict(stored)
    for span_id, span in seen.items():
        result[span_id] = merge_span(span_id, result.get(span_id), span)
    if len(result) > MAX_IN_BUCKET:
        raise TooLargeError(
            f"a run can have about {MAX_IN_BUCKET * BUCKETS // 2:,} spans, and this one has more; "
            "give a span to what matters, and count the rest in its attributes"
        )
    return result


def merge_span(span_id: str, stored: Json | None, seen: Json) -> Json:
    """Return a span after it was saved once more; its parent cannot change."""
    if stored is None:
        return seen
    if stored["parent"] != seen["parent"]:
        raise ConflictError(
            f"span {span_id!r} has the parent {stored['parent']!r} and cannot move below "
            f"{seen['parent']!r}; give it an id of its own"
        )
    later = max(stored, seen, key=lambda span: (span["end"] or "", canonical(span)))
    return {**later, "start": min(stored["start"], seen["start"])}


def new_span_id() -> str:
    """Return a random span id, as OpenTelemetry has them."""
    return secrets.token_hex(8)


def to_span(span_id: str, span: Json) -> Span:
    """Return a stored span."""
    return Span(
        name=span["name"],
        span_id=span_id,
        parent_span_id=span["parent"],
        step=span["step"],
        start=from_text(span["start"]),
        end=time_of(span["end"]),
        status=span["status"],
        attributes=span["attributes"],
    )


def span_statistics(spans: Iterable[Span], by: str) -> dict[str, SpanStatistics]:
    """Return the statistics of spans by ``name`` or ``status``."""
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(str(getattr(span, by)), []).append(span)
    return {key: _statistics(group) for key, group in groups.items()}


def _statistics(spans: list[Span]) -> SpanStatistics:
    times = [span.end - span.start for span in spans if span.end is not None]
    return SpanStatistics(len(spans), sum(times, timedelta()) / len(times) if times else None)
