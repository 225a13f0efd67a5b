"""Questions that a catalog answers by itself, each by one query, so of one moment."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._answers import Stats, StepStats
from temporal_state.runs.catalog._link import Link
from temporal_state.runs.catalog._rows import HOUR, LEVELS, Sums, column
from temporal_state.runs.catalog._select import FIRST, INDEXED, LAST, Filter, Part, Query, select

T = TypeVar("T")

FEW = 2000
OF_RUNS = ("status", "type", "child")
OF_STEPS = ("step", "step", "step")
DAY = 24 * HOUR
WIDEST = len(LEVELS) - 1


@dataclass(frozen=True, slots=True)
class Found:
    """One page: the headers of runs, and the place of the last one if there are more behind it."""

    headers: list[bytes]
    last: tuple[int, int] | None


def find(link: Link, wanted: Filter, part: Part) -> Found:
    """Return a page of runs."""
    wanted, part = _planned(link, wanted, part)
    more = None if part.limit is None else part.limit + 1
    rows = link.rows(*select(wanted, replace(part, limit=more)))
    shown = rows[: part.limit]
    last = (shown[-1][0], shown[-1][1]) if len(rows) > len(shown) and shown else None
    return Found([bytes(header) for _, _, header in shown], last)


def sources_in_use(link: Link) -> dict[str, str]:
    """Return the run ids that open runs resume, and those resumed before, each with who does."""
    rows = link.rows(_sql.SOURCES)
    former = {run_id: source for source, _, run_id, _ in rows}
    found: dict[str, str] = {}
    for source, workflow_id, run_id, is_open in rows:
        needed = source if is_open else None
        while needed is not None and needed not in found:
            found[needed] = f"run {run_id!r} of {workflow_id!r}"
            needed = former.get(needed)
    return found


def is_resumed(link: Link, run_id: str) -> bool:
    """Return whether a run is known that resumes the one with this id, open or not."""
    return bool(link.rows(_sql.IS_RESUMED, (column(run_id),)))


def _planned(link: Link, wanted: Filter, part: Part) -> tuple[Filter, Part]:
    """Return the same question, in the form that is cheapest for what is there.

    Counting ends at a number above which another way is cheap.
    """

    def number(sql: str, *values: object) -> int:
        return int(link.rows(sql, (wanted.namespace, *values, FEW + 1))[0][0])

    if wanted.has_end and not part.by_end:
        part = replace(part, few_ends=number(_sql.COUNT_ENDED, *wanted.ends) <= FEW)
    if len(wanted.labels) > 1:
        rarest = sorted(wanted.labels, key=lambda label: number(_sql.COUNT_LABEL, label))
        wanted = replace(wanted, labels=tuple(rarest))
    if wanted.labels and number(_sql.COUNT_LABEL, wanted.labels[0]) > FEW:
        values = {name: getattr(wanted, name) for name in INDEXED}
        counts = [number(_sql.count_by(n), v) for n, v in values.items() if v is not None]
        part = replace(part, few_runs=min(counts, default=FEW + 1) <= FEW)
    return wanted, part


def statistics(link: Link, *, namespace: str, since: int, until: int, now: int) -> Stats:
    """Return sums of the runs that started in a window, and of the last day before ``now``."""
    found = _found(link.rows(*query_of_sums(namespace, since, until, now)))
    by_status, by_type = found["status"], found["type"]
    total = Sums()
    for sums in by_status.values():
        total = total.plus(sums)
    return Stats(
        total=total.number,
        by_status=_numbers(by_status),
        by_type=_numbers(by_type),
        last_24_hours=_numbers(found["late"]),
        average_duration=_average(total),
        average_duration_by_type={
            name: average
            for name, sums in sorted(by_type.items())
            if (average := _average(sums)) is not None
        },
        background_by_status=_numbers(found["child"]),
        checkpoints=total.checkpoints,
        average_checkpoint_time=_mean(total.writing, total.timed),
        bytes=total.bytes,
        unreadable=found["unreadable"][""].number,
    )


def step_statistics(
    link: Link,
    *,
    namespace: str,
    since: int,
    until: int,
    name: str | None,
    status: str | None,
) -> list[StepStats]:
    """Return sums of steps by name and status, for whole hours."""
    first, end = _up(since, HOUR, down=True), _up(until, HOUR)
    sql, values = _united([*_of_tallies(namespace, OF_STEPS, first, end)])
    found: dict[tuple[str, str], Sums] = {}
    for _, step, seen, *sums in link.rows(sql, values) if sql else ():
        _add(found, (step, seen), Sums(*sums))
    return [
        StepStats(step, seen, sums.number, _average(sums))
        for (step, seen), sums in sorted(found.items())
        if sums.number and name in {None, step} and status in {None, seen}
    ]


def query_of_sums(namespace: str, since: int, until: int, now: int) -> Query:
    """Return the query for all that statistics tell."""
    return _united(
        [
            *_of_runs(namespace, since, until),
            *_of_late(namespace, now - DAY),
            (_sql.COUNT_UNREADABLE, ()),
        ]
    )


def _found(rows: Iterable[tuple[Any, ...]]) -> dict[str, dict[str, Sums]]:
    """Return sums by group, and in it by name or status, whichever the group has."""
    found: dict[str, dict[str, Sums]] = defaultdict(dict)
    for grp, name, status, *numbers in rows:
        sums = Sums(*numbers)
        if not grp.endswith("run"):
            _add(found[grp], name if grp == "type" else status, sums)
            continue
        _add(found["status"], status, sums)
        _add(found["type"], name, sums)
        if grp == "child run":
            _add(found["child"], status, sums)
    return found


def _united(parts: Sequence[Query]) -> Query:
    """Return one query for all, whose answer is of one moment."""
    values = [value for _, some in parts for value in some]
    return " UNION ALL ".join(sql for sql, _ in parts), values


def _of_runs(namespace: str, since: int, until: int) -> Iterator[Query]:
    """Yield queries for a window: of whole hours by tallies, of the rest by rows."""
    first, end = _up(since, HOUR), _up(until, HOUR, down=True)
    if first > end:
        first = end = until
    for begun, ended in ((since, first), (end, until)):
        if FIRST < begun < ended < LAST:
            yield _sql.SUM_RUNS, (_sql.LIFETIME, namespace, begun, ended)
    yield from _of_tallies(namespace, OF_RUNS, first, end)


def _of_late(namespace: str, since: int) -> Iterator[Query]:
    first = _up(since, HOUR)
    yield _sql.COUNT_LATE, (namespace, since, first)
    for piece in _pieces(_hours(first), _hours(LAST)):
        yield _sql.LATE_TALLIES, (namespace, *piece)


def _of_tallies(namespace: str, groups: tuple[str, str, str], *window: int) -> Iterator[Query]:
    for piece in _pieces(*map(_hours, window)):
        # The widest buckets are hardly ever two, so that there is nothing to sum.
        sql = _sql.TALLIES if piece[0] == WIDEST else _sql.SUM_TALLIES
        yield sql, (namespace, *groups, *piece)


def _add(found: dict[T, Sums], key: T, sums: Sums) -> None:
    known = found.get(key)
    found[key] = sums if known is None else known.plus(sums)


def _pieces(first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield levels and ranges of buckets that make up a range of hours, the widest possible."""
    for level in range(WIDEST):
        factor = LEVELS[level + 1] // LEVELS[level]
        inner_first, inner_end = -(-first // factor), end // factor
        if inner_first >= inner_end:
            break
        if first < inner_first * factor:
            yield level, first, inner_first * factor
        if inner_end * factor < end:
            yield level, inner_end * factor, end
        first, end = inner_first, inner_end
    else:
        level = WIDEST
    if first < end:
        yield level, first, end


def _hours(time: int) -> int:
    """Return the number of an hour; of no time at all, one where the widest buckets meet."""
    if FIRST + HOUR < time < LAST - HOUR:
        return time // HOUR
    return time // LEVELS[-1] * (LEVELS[-1] // HOUR)


def _up(time: int, width: int, *, down: bool = False) -> int:
    return time // width * width if down else -(-time // width) * width


def _numbers(found: dict[str, Sums]) -> dict[str, int]:
    return {key: sums.number for key, sums in sorted(found.items()) if sums.number}


def _average(sums: Sums) -> timedelta | None:
    return _mean(sums.micros, sums.closed)


def _mean(micros: int, number: int) -> timedelta | None:
    return timedelta(microseconds=micros / number) if number else None
