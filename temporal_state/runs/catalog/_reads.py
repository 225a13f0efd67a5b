"""Questions that a catalog answers by itself, each in one transaction."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._answers import Stats, StepStats
from temporal_state.runs.catalog._link import Link
from temporal_state.runs.catalog._rows import HOUR, LEVELS, Sums, column
from temporal_state.runs.catalog._select import FIRST, INDEXED, LAST, Filter, Part, select

FEW = 2000
OF_RUNS = ("status", "type", "child")
OF_STEPS = ("step", "step", "step")
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Found:
    """One page: the headers of runs, and the place of the last one if there are more behind it."""

    headers: list[bytes]
    last: tuple[int, int] | None


def find(link: Link, wanted: Filter, part: Part) -> Found:
    """Return a page of runs."""
    with link.reading():
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
    with link.reading():
        found = _sums(link, namespace, since, until)
        last_day = _sums(link, namespace, now - DAY, LAST)
        unreadable = link.rows(_sql.COUNT_UNREADABLE)[0][0]
    total = _total(found, "status")
    return Stats(
        total=total.number,
        by_status=_numbers(found, "status", 1),
        by_type=_numbers(found, "type", 0),
        last_24_hours=_numbers(last_day, "status", 1),
        average_duration=_average(total),
        average_duration_by_type={
            name: average
            for (grp, name, _), sums in sorted(found.items())
            if grp == "type" and (average := _average(sums)) is not None
        },
        background_by_status=_numbers(found, "child", 1),
        checkpoints=total.checkpoints,
        average_checkpoint_time=_mean(total.writing, total.timed),
        bytes=total.bytes,
        unreadable=unreadable,
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
    with link.reading():
        found: dict[tuple[str, str, str], Sums] = {}
        first, end = _up(since, HOUR, down=True), _up(until, HOUR)
        _add_tallies(link, found, namespace, OF_STEPS, first, end)
    return [
        StepStats(step, seen, sums.number, _average(sums))
        for (_, step, seen), sums in sorted(found.items())
        if sums.number and name in {None, step} and status in {None, seen}
    ]


def _sums(link: Link, namespace: str, since: int, until: int) -> dict[tuple[str, str, str], Sums]:
    """Return sums by group, name and status: of whole hours from tallies, of the rest from rows."""
    found: dict[tuple[str, str, str], Sums] = {}
    first, end = _up(since, HOUR), _up(until, HOUR, down=True)
    if first > end:
        _add_rows(link, found, namespace, since, until)
        return found
    if since > FIRST:
        _add_rows(link, found, namespace, since, first)
    if until < LAST:
        _add_rows(link, found, namespace, end, until)
    _add_tallies(link, found, namespace, OF_RUNS, first, end)
    return found


def _add_tallies(
    link: Link,
    found: dict[tuple[str, str, str], Sums],
    namespace: str,
    groups: tuple[str, str, str],
    *window: int,
) -> None:
    for piece in _pieces(*map(_hours, window)):
        for grp, name, status, *sums in link.rows(_sql.SUM_TALLIES, (namespace, *groups, *piece)):
            _add(found, (grp, name, status), Sums(*map(int, sums)))


def _add_rows(
    link: Link, found: dict[tuple[str, str, str], Sums], namespace: str, *window: int
) -> None:
    if window[0] >= window[1]:
        return
    where = (_sql.LIFETIME, namespace, *window)
    for type, status, child, *numbers in link.rows(_sql.SUM_RUNS, where):
        sums = Sums(*map(int, numbers))
        _add(found, ("status", "", status), sums)
        _add(found, ("type", type, ""), sums)
        if child:
            _add(found, ("child", "", status), sums)


def _add(found: dict[tuple[str, str, str], Sums], key: tuple[str, str, str], sums: Sums) -> None:
    found[key] = found.get(key, Sums()).plus(sums)


def _pieces(first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield levels and ranges of buckets that make up a range of hours, the widest possible."""
    for level in range(len(LEVELS) - 1):
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
        level = len(LEVELS) - 1
    if first < end:
        yield level, first, end


def _hours(time: int) -> int:
    """Return the number of an hour; of no time at all, one where the widest buckets meet."""
    if FIRST + HOUR < time < LAST - HOUR:
        return time // HOUR
    return time // LEVELS[-1] * (LEVELS[-1] // HOUR)


def _up(time: int, width: int, *, down: bool = False) -> int:
    return time // width * width if down else -(-time // width) * width


def _total(found: dict[tuple[str, str, str], Sums], group: str) -> Sums:
    total = Sums()
    for (grp, _, _), sums in found.items():
        if grp == group:
            total = total.plus(sums)
    return total


def _numbers(found: dict[tuple[str, str, str], Sums], group: str, part: int) -> dict[str, int]:
    return {
        key[1:][part]: sums.number
        for key, sums in sorted(found.items())
        if key[0] == group and sums.number
    }


def _average(sums: Sums) -> timedelta | None:
    return _mean(sums.micros, sums.closed)


def _mean(micros: int, number: int) -> timedelta | None:
    return timedelta(microseconds=micros / number) if number else None
