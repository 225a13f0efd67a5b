"""Changes of the catalog, each one transaction: the rows, the sums, and how far the feed was read.

Several processes follow one feed into one catalog. Who has read a run's object and finds that the
row has changed since before the reading knows that its reading may be old, and reads once more.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from temporal_state.documents import dumps, loads
from temporal_state.runs._refs import RunRef
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._feed import Change, Place, from_json, to_json
from temporal_state.runs.catalog._link import Link
from temporal_state.runs.catalog._rows import Counted, Row, Sums, TallyKey, column, micros_of


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
    with link.writing():
        tallies: dict[TallyKey, Sums] = {}
        newest = link.rows(_sql.LAST_ID)[0][0]
        stale = []
        for seen in batch.seen:
            newest += 1
            if not _write_one(link, seen, newest, tallies):
                stale.append(seen)
        link.many(_sql.ADD_TALLY, ((*k, *v) for k, v in sorted(tallies.items()) if any(v)))
        if not stale:
            link.many(_sql.DELETE_UNSETTLED, map(_place, batch.done))
            link.many(_sql.SET_UNSETTLED, (_waiting(one) for one in batch.waiting))
            link.many(_sql.SET_CURSOR, batch.cursors.items())
    return stale


def insert(link: Link, rows: Sequence[Row]) -> None:
    """Write rows that are known to be new, quickly."""
    with link.writing():
        tallies: dict[TallyKey, Sums] = {}
        newest = link.rows(_sql.LAST_ID)[0][0]
        for number, row in enumerate(rows, newest + 1):
            _insert(link, row, number, tallies)
        link.many(_sql.ADD_TALLY, ((*k, *v) for k, v in sorted(tallies.items())))


def _write_one(link: Link, seen: Seen, id: int, tallies: dict[TallyKey, Sums]) -> bool:
    if seen.unreadable is not None:
        link.run(_sql.SET_UNREADABLE, (seen.key, seen.unreadable))
        return True
    where = _where(seen)
    found = link.rows(_sql.GET_COUNTED, where)
    known, version, *counted = found[0] if found else (None, None)
    if version != seen.version:
        return False
    link.run(_sql.DELETE_UNREADABLE, (seen.key,))
    if known is not None:
        type, status, parent, *rest = counted
        former = Counted(where[0], type, status, parent, where[1], *rest)
        for key, sums in former.tallies():
            tallies[key] = tallies.get(key, Sums()).plus(sums.negated())
    if seen.row is None:
        if known is not None:
            for statement in (_sql.DELETE_RUN, _sql.DELETE_HEADER, _sql.DELETE_LABELS):
                link.run(statement, (known,))
    elif known is None:
        _insert(link, seen.row, id, tallies)
    else:
        _update(link, seen.row, known, tallies)
    return True


def _where(seen: Seen) -> tuple[str, int, int]:
    if seen.row is not None:
        return (seen.row.counted.namespace, seen.row.counted.started, seen.tie)
    assert seen.ref is not None
    return (column(seen.ref.namespace), micros_of(seen.ref.started), seen.tie)


def _insert(link: Link, row: Row, id: int, tallies: dict[TallyKey, Sums]) -> None:
    of = row.counted
    link.run(
        _sql.INSERT_RUN,
        (
            id,
            row.tie,
            of.namespace,
            row.workflow_id,
            row.run_id,
            row.kind,
            of.workflow_type,
            of.status,
            of.parent,
            row.parent_run,
            row.chain,
            of.started,
            of.ended,
            of.checkpoints,
            of.bytes,
            _new_version(),
        ),
    )
    link.run(_sql.INSERT_HEADER, (id, row.header, of.steps))
    _label(link, row, id)
    _add(tallies, of)


def _update(link: Link, row: Row, id: int, tallies: dict[TallyKey, Sums]) -> None:
    of = row.counted
    link.run(
        _sql.UPDATE_RUN,
        (
            row.kind,
            of.workflow_type,
            of.status,
            of.parent,
            row.parent_run,
            row.chain,
            of.ended,
            of.checkpoints,
            of.bytes,
            _new_version(),
            id,
        ),
    )
    link.run(_sql.UPDATE_HEADER, (row.header, of.steps, id))
    if {label for (label,) in link.rows(_sql.GET_LABELS, (id,))} != set(row.labels):
        link.run(_sql.DELETE_LABELS, (id,))
        _label(link, row, id)
    _add(tallies, of)


def _label(link: Link, row: Row, id: int) -> None:
    of = row.counted
    link.many(
        _sql.INSERT_LABEL,
        [(of.namespace, label, of.started, row.tie, id) for label in row.labels],
    )


def _add(tallies: dict[TallyKey, Sums], counted: Counted) -> None:
    for key, sums in counted.tallies():
        tallies[key] = tallies.get(key, Sums()).plus(sums)


def _new_version() -> int:
    return secrets.randbits(62)


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
