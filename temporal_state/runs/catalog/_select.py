"""From what a caller asks for to the query that finds it, through an index that has its order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

FIRST, LAST = -(2**62), 2**62
INDEXED = ("workflow_type", "workflow_id", "parent", "chain", "kind")

Query: TypeAlias = tuple[str, Sequence[Any]]
Condition: TypeAlias = tuple[str, tuple[Any, ...]]

_ENDED = (
    "SELECT id FROM runs WHERE namespace = ? AND ended IS NOT NULL AND ended >= ? AND ended < ?"
)
_LABELLED = (
    "EXISTS (SELECT 1 FROM labels m WHERE m.namespace = r.namespace AND m.label = ? "
    "AND m.started = r.started AND m.tie = r.tie)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs; ``None`` or nothing: all.

    Attributes:
        labels: Texts of metadata, all of which the run must have, the rarest first.
        since: Started at or after, in microseconds.
        until: Started before.
        ended_since: Ended at or after.
        ended_until: Ended before.
    """

    namespace: str
    statuses: tuple[str, ...] = ()
    workflow_type: str | None = None
    workflow_id: str | None = None
    parent: str | None = None
    parent_run: str | None = None
    chain: str | None = None
    kind: str | None = None
    labels: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    ended_since: int | None = None
    ended_until: int | None = None

    @property
    def has_end(self) -> bool:
        """Whether it asks for a window of ends."""
        return self.ended_since is not None or self.ended_until is not None

    @property
    def ends(self) -> tuple[int, int]:
        """The window of ends."""
        return (
            FIRST if self.ended_since is None else self.ended_since,
            LAST if self.ended_until is None else self.ended_until,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of what was found, the newest first.

    Attributes:
        limit: At most that many; ``None``: all.
        offset: So many are left out first.
        after: Only those behind this place, a time and what tells runs of one time apart.
        by_end: In the order of their ends, not of their starts.
        few_ends: Few runs ended in the window, so it is cheapest to begin with those.
        few_runs: Few runs have one of the columns, so their metadata is looked at last.
    """

    limit: int | None
    offset: int = 0
    after: tuple[int, int] | None = None
    by_end: bool = False
    few_ends: bool = False
    few_runs: bool = False


def select(wanted: Filter, part: Part) -> Query:
    """Return a query for time, tie and header of the runs that are wanted."""
    time = "ended" if part.by_end else "started"
    sql, values = _united(wanted, part, time)
    order = f"ORDER BY f.{time} DESC, f.tie DESC"
    found = f"SELECT f.{time}, f.tie, h.header FROM ({sql}) AS f CROSS JOIN headers h"  # noqa: S608 only names are put in
    return f"{found} WHERE h.run = f.id {order}", values


def _united(wanted: Filter, part: Part, time: str) -> Query:
    """Return a query for the part; of several statuses each is found by itself.

    No index has the runs of several statuses in order.
    """
    bounds: list[Any] = [LAST if part.limit is None else part.limit, part.offset]
    limit = f"ORDER BY {time} DESC, tie DESC LIMIT ? OFFSET ?"
    if len(wanted.statuses) <= 1:
        sql, values = _one(wanted, part, time)
        return f"SELECT * FROM ({sql}) AS one {limit}", [*values, *bounds]  # noqa: S608 as above
    up_to = replace(part, limit=None if part.limit is None else part.limit + part.offset, offset=0)
    found = [
        _united(replace(wanted, statuses=(status,)), up_to, time) for status in wanted.statuses
    ]
    union = " UNION ALL ".join(f"SELECT * FROM ({sql}) AS each" for sql, _ in found)  # noqa: S608 as above
    values = [value for _, part_values in found for value in part_values]
    return f"SELECT * FROM ({union}) AS united {limit}", [*values, *bounds]  # noqa: S608 as above


def _one(wanted: Filter, part: Part, time: str) -> Query:
    """Return a query for id, time and tie of all that is wanted."""
    source = "l" if wanted.labels and not (part.by_end or part.few_runs) else "r"
    conditions = [
        *_joined(wanted, source),
        *_equal(wanted),
        *_within(wanted, part, source),
        *_behind(part, f"{source}.{time}", f"{source}.tie"),
    ]
    tables, values = _tables(source, wanted, part)
    where = " AND ".join(text for text, _ in conditions)
    values = [*values, *(value for _, some in conditions for value in some)]
    columns = f"r.id, {source}.{time} AS {time}, {source}.tie AS tie"
    return f"SELECT {columns} FROM {tables} WHERE {where}", values  # noqa: S608 as above


def _tables(source: str, wanted: Filter, part: Part) -> Query:
    """Return what to search in, beginning with what leaves the fewest runs.

    SQLite takes the tables of a ``CROSS JOIN`` in their order; PostgreSQL finds its own.
    """
    tables, values = ["runs r"], list[Any]()
    if part.few_ends:
        tables.insert(0, f"({_ENDED}) AS e")
        values = [wanted.namespace, *wanted.ends]
    if source == "l":
        tables.insert(len(tables) if part.few_ends else 0, "labels l")
    return " CROSS JOIN ".join(tables), values


def _joined(wanted: Filter, source: str) -> Iterator[Condition]:
    labels = list(wanted.labels)
    if source == "l":
        yield "l.namespace = ? AND l.label = ? AND l.run = r.id", (wanted.namespace, labels.pop(0))
    else:
        yield "r.namespace = ?", (wanted.namespace,)
    for label in labels:
        yield _LABELLED, (label,)


def _equal(wanted: Filter) -> Iterator[Condition]:
    for status in wanted.statuses:
        yield "r.status = ?", (status,)
    for name in (*INDEXED, "parent_run"):
        value = getattr(wanted, name)
        if value is not None:
            yield f"r.{name} = ?", (value,)


def _within(wanted: Filter, part: Part, source: str) -> Iterator[Condition]:
    if part.few_ends:
        yield "r.id = e.id", ()
    elif wanted.ended_until is not None and not part.by_end:
        yield f"{source}.started < ?", (wanted.ended_until,)  # no run ends before its start
    if part.by_end:
        yield "r.ended IS NOT NULL", ()
    # An expression is searched for by no index, which would have to sort all that it finds.
    ended = "r.ended" if part.by_end or part.few_ends else "+r.ended"
    for text, value in (
        (f"{source}.started >= ?", wanted.since),
        (f"{source}.started < ?", wanted.until),
        (f"{ended} >= ?", wanted.ended_since),
        (f"{ended} < ?", wanted.ended_until),
    ):
        if value is not None:
            yield text, (value,)


def _behind(part: Part, time: str, tie: str) -> Iterator[Condition]:
    if part.after is not None:
        yield f"{time} <= ? AND ({time}, {tie}) < (?, ?)", (part.after[0], *part.after)
