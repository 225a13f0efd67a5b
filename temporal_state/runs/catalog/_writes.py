"""Changes of the catalog, each one transaction: the rows, the sums, and how far the feed was read.

Several processes follow one feed into one catalog. Who has read a run's object and finds that the
row has changed since before the reading knows that its reading may be old, and reads once more.
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from temporal_state.documents import dumps, loads
from temporal_state.runs._refs import RunRef
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._feed import Change, Place, from_json, to_json
from temporal_state.runs.catalog._link import Link
from temporal_state.runs.catalog._rows import Counted, Row, Tallies, column, micros_of

FEW_ROWS = 64
"""With fewer, all plans are alike."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it was read.

    Attributes:
        key: The key of the run's own object.
        ref: Which run; ``None`` if its object was found by listing.
        tie: What tells it from others of the same start.
        row: What it says; ``None``: there is no such run.
        unreadable: Why it cannot be read, if it cannot.
        version: The row's version before the reading.
    """

    key: str
    ref: RunRef | None
    tie: int
    row: Row | None = None
    unreadable: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that was named, and not seen yet.

    Attributes:
        since: When it was first looked for, in seconds since 1970.
        again: When to look next.
    """

    place: Place
    change: Change
    since: float
    again: float = 0.0


@dataclass(slots=True)
class Batch:
    """What is written together.

    Attributes:
        seen: Runs.
        cursors: How far each writer's entries were read.
        waiting: Changes to look for later.
        done: Changes to look for no longer.
    """

    seen: list[Seen] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    done: list[Place] = field(default_factory=list)


def versions(link: Link, places: Iterable[tuple[RunRef, int]]) -> list[int | None]:
    """Return the versions of rows, before their runs are read."""
    found = [
        link.rows(_sql.GET_VERSION, (column(ref.namespace), micros_of(ref.started), tie))
        for ref, tie in places
    ]
    return [int(rows[0][0]) if rows else None for rows in found]


def write(link: Link, batch: Batch) -> list[Seen]:
    """Write a batch; return the runs that changed meanwhile, which were left out.

    If there are some, the cursors stay where they are, since there is more to do before.
    """
    grown = False
    with link.writing():
        rows = _Rows(link)
        stale = [seen for seen in batch.seen if not rows.take(seen)]
        grown = rows.flush()
        if not stale:
            link.many(_sql.DELETE_UNSETTLED, map(_place, batch.done))
            link.many(_sql.SET_UNSETTLED, map(_waiting, batch.waiting))
            link.many(_sql.SET_CURSOR, batch.cursors.items())
    if grown:
        link.analyze(quickly=True)
    return stale


def insert(link: Link, new: Iterable[Row]) -> None:
    """Write rows that are known to be new."""
    with link.writing():
        rows = _Rows(link)
        for row in new:
            rows.insert(row)
        rows.flush()


@dataclass(slots=True)
class _Rows:
    """The rows of one transaction; new ones and sums are written at its end, all together."""

    link: Link
    tallies: Tallies = field(default_factory=Tallies)
    new: list[Row] = field(default_factory=list)

    def take(self, seen: Seen) -> bool:
        """Take in a run as it was read; return whether that is not older than its row."""
        if seen.unreadable is not None:
            self.link.run(_sql.SET_UNREADABLE, (seen.key, seen.unreadable))
            return True
        namespace, started = _where(seen)
        found = self.link.rows(_sql.GET_COUNTED, (namespace, started, seen.tie))
        known, version, *counted = found[0] if found else (None, None)
        if version != seen.version:
            return False
        self.link.run(_sql.DELETE_UNREADABLE, (seen.key,))
        if known is not None:
            type, status, parent, *rest = counted
            self.tallies.add(Counted(namespace, type, status, parent, started, *rest), times=-1)
        if known is None and seen.row is not None:
            self.insert(seen.row)
        elif seen.row is not None:
            self._update(seen.row, known)
        elif known is not None:
            for statement in (_sql.DELETE_RUN, _sql.DELETE_HEADER, _sql.DELETE_LABELS):
                self.link.run(statement, (known,))
        return True

    def insert(self, row: Row) -> None:
        """Take in a run that has no row."""
        self.new.append(row)
        self.tallies.add(row.counted)

    def _update(self, row: Row, id: int) -> None:
        self.tallies.add(row.counted)
        self.link.run(_sql.UPDATE_RUN, (*_changing(row), id))
        self.link.run(_sql.UPDATE_HEADER, (row.header, row.counted.steps, id))
        if {label for (label,) in self.link.rows(_sql.GET_LABELS, (id,))} != set(row.labels):
            self.link.run(_sql.DELETE_LABELS, (id,))
            self.link.many(_sql.INSERT_LABEL, _labels(row, id))

    def flush(self) -> bool:
        """Write what waits; return whether there are now so many rows that plans may change."""
        first = self.link.rows(_sql.LAST_ID)[0][0] + 1
        new = list(enumerate(self.new, first))
        link = self.link
        link.many(_sql.INSERT_RUN, ((id, *_fixed(row), *_changing(row)) for id, row in new))
        link.many(_sql.INSERT_HEADER, ((id, row.header, row.counted.steps) for id, row in new))
        link.many(_sql.INSERT_LABEL, (label for id, row in new for label in _labels(row, id)))
        link.many(_sql.ADD_TALLY, ((*key, *sums) for key, sums in self.tallies.of_all_levels()))
        return _stage(first - 1) < _stage(first - 1 + len(new))


def _stage(number: int) -> int:
    """Return how often a number of rows has grown fourfold, from the first few on."""
    return (number // FEW_ROWS).bit_length() // 2


def _where(seen: Seen) -> tuple[str, int]:
    if seen.row is not None:
        return (seen.row.counted.namespace, seen.row.counted.started)
    assert seen.ref is not None
    return (column(seen.ref.namespace), micros_of(seen.ref.started))


def _fixed(row: Row) -> tuple[object, ...]:
    of = row.counted
    return (row.tie, of.namespace, row.workflow_id, row.run_id, of.started)


def _changing(row: Row) -> tuple[object, ...]:
    of = row.counted
    names = (
        row.kind,
        of.workflow_type,
        of.status,
        of.parent,
        row.parent_run,
        row.chain,
        row.source,
    )
    return (*names, of.ended, of.checkpoints, of.timed, of.writing, of.bytes, secrets.randbits(62))


def _labels(row: Row, id: int) -> Iterator[tuple[object, ...]]:
    of = row.counted
    return ((of.namespace, label, of.started, row.tie, id) for label in row.labels)


def waiting(link: Link, limit: int) -> list[Waiting]:
    """Return changes to look for again, first those whose time comes first."""
    return [
        Waiting(Place(*place), from_json(loads(change.encode())), since, again)
        for *place, change, since, again in link.rows(_sql.GET_UNSETTLED, (limit,))
    ]


def _place(place: Place) -> tuple[str, int, int]:
    return (place.writer, place.sequence, place.position)


def _waiting(one: Waiting) -> tuple[object, ...]:
    return (*_place(one.place), dumps(to_json(one.change)).decode(), one.since, one.again)
