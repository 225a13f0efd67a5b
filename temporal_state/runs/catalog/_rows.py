"""From the record of a run to its row in the catalog, and to what that row adds to the tallies.

The row has a column for each question, and the run's header as readers get it, so that a page of a
list reads no object. Sums are kept by hour, day, 32 days and 90 years, so that those of any window
are few, and those of all times the fewest.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import add
from typing import Any, NamedTuple

from temporal_state.documents import dumps, loads
from temporal_state.runs._decode import to_run
from temporal_state.runs._hand import canonical, view
from temporal_state.runs._merge import Json
from temporal_state.runs._records import Run, Step
from temporal_state.runs.catalog import _sql

HOUR = 3_600_000_000
LEVELS = (HOUR, 24 * HOUR, 32 * 24 * HOUR, 1024 * 32 * 24 * HOUR)
READABLE = 100
UNSETTLED = "unsettled"
"""The label of a run of which Temporal may say something else; labels of metadata are lists."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class TallyKey(NamedTuple):
    """Which sums: of runs by status, by type, of children by status, or of steps."""

    namespace: str
    grp: str
    level: int
    bucket: int
    name: str
    status: str


class Sums(NamedTuple):
    """How many, how many of them closed, how long those took, and what else adds up.

    Of checkpoints how many there are, how many of them were timed, and how long writing those took.
    """

    number: int = 0
    closed: int = 0
    micros: int = 0
    checkpoints: int = 0
    timed: int = 0
    writing: int = 0
    bytes: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Return both together."""
        return Sums(*map(add, self, other))


@dataclass(frozen=True, slots=True)
class Counted:
    """What of a row goes into the tallies."""

    namespace: str
    workflow_type: str
    status: str
    parent: str | None
    started: int
    ended: int | None
    checkpoints: int
    timed: int
    writing: int
    bytes: int
    steps: str

    def tallies(self) -> Iterable[tuple[TallyKey, Sums]]:
        """Yield what this run adds to each tally of an hour."""
        micros = _lasting(self.started, self.ended)
        closed, made = int(self.ended is not None), (self.checkpoints, self.timed, self.writing)
        sums = Sums(1, closed, micros, *made, self.bytes)
        groups = [("status", "", self.status), ("type", self.workflow_type, "")]
        if self.parent is not None:
            groups.append(("child", "", self.status))
        hour = self.started // HOUR
        for grp, name, status in groups:
            yield TallyKey(self.namespace, grp, 0, hour, name, status), sums
        for at, name, status, *rest in loads(self.steps.encode()):
            yield TallyKey(self.namespace, "step", 0, at, name, status), Sums(*rest)


class Tallies(dict[TallyKey, Sums]):
    """What is to be added to the tallies of hours, and so to those of longer times."""

    def add(self, counted: Counted, *, times: int = 1) -> None:
        """Add what a run counts for; with ``times=-1`` take it away."""
        for key, sums in counted.tallies():
            self[key] = Sums(
                *(old + times * new for old, new in zip(self.get(key, Sums()), sums, strict=True))
            )

    def of_all_levels(self) -> list[tuple[TallyKey, Sums]]:
        """Return what is to be added to tallies of each level, in an order that all keep."""
        found: dict[TallyKey, Sums] = {}
        for key, sums in self.items():
            for level, width in enumerate(LEVELS):
                wide = key._replace(level=level, bucket=key.bucket * HOUR // width)
                found[wide] = found.get(wide, Sums()).plus(sums)
        return sorted((key, sums) for key, sums in found.items() if any(sums))


@dataclass(frozen=True, slots=True)
class Row:
    """One run as the catalog keeps it."""

    counted: Counted
    workflow_id: str
    run_id: str
    kind: str
    parent_run: str | None
    chain: str
    source: str | None
    tie: int
    header: bytes
    labels: tuple[str, ...]


def row_of(key: str, record: Json, steps: Sequence[Step], size: int) -> Row:
    """Return the row of the run whose own object is ``record``, of ``size`` bytes, under a key."""
    seen = view(record)
    run = to_run({**seen, "hand": None})  # refuses what is no record
    left_out = ("steps", "hand_steps", "checkpoints", "hand", "metadata_at")
    header = {name: value for name, value in seen.items() if name not in left_out}
    parent, checkpoints = run.parent or {}, seen.get("checkpoints", [])
    times = [one["took"] for one in checkpoints if "took" in one]
    return Row(
        Counted(
            column(run.namespace),
            column(run.workflow_type),
            "paused" if run.paused and run.status == "running" else run.status,
            _optional(parent.get("workflow_id")),
            micros_of(run.started),
            # An end before the start, which only a hand can write, is at the start.
            None if run.ended is None else max(micros_of(run.ended), micros_of(run.started)),
            len(checkpoints),
            len(times),
            sum(times),
            size,
            dumps(_step_sums(steps)).decode(),
        ),
        column(run.workflow_id),
        column(run.run_id),
        column(run.kind),
        _optional(parent.get("run_id")),
        column(run.chain),
        None if run.resumed_from is None else column(run.resumed_from.run_id),
        tie_of(key),
        dumps(header),
        (*labels_of(run.metadata), *([UNSETTLED] if run.unsettled else [])),
    )


def run_of(header: bytes) -> Run:
    """Return the run that a row's header describes."""
    return to_run(loads(header))


def column(text: str) -> str:
    """Return a text as rows have it; PostgreSQL has no NUL in texts."""
    return text.replace("\0", "\ufffd")


def _optional(text: str | None) -> str | None:
    return None if text is None else column(text)


def tie_of(key: str) -> int:
    """Return a number by which runs of one moment are told apart and put in order."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1


def micros_of(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _lasting(begun: int, ended: int | None) -> int:
    """Return how long something took, if that can be added up."""
    took = 0 if ended is None else max(ended - begun, 0)
    return took if took <= _sql.LIFETIME else 0


def time_of_micros(micros: int) -> datetime:
    """Return the time of so many microseconds since 1970."""
    return _EPOCH + micros * _MICROSECOND


def labels_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return texts such that one object contains another if it has all of its texts.

    Containment goes into objects; lists and all other values must be equal. ``1`` equals ``1.0``.
    """
    return sorted(set(_labels(metadata, [])))


def labels_wanted(metadata: Mapping[str, Any]) -> list[str]:
    """Return those of the texts of `labels_of` that imply the others.

    That something is an object needs no text if something in it has one.
    """
    return sorted(set(_labels(metadata, [], implied=True)))


def _labels(value: Mapping[str, Any], path: list[str], *, implied: bool = False) -> Iterable[str]:
    for key, item in value.items():
        here = [*path, key]
        if isinstance(item, Mapping):
            if not (implied and item):
                yield _label([here])
            yield from _labels(item, here, implied=implied)
        else:
            yield _label([here, _numbers_alike(item)])


def _label(parts: list[Any]) -> str:
    text = canonical(parts)
    return text.decode() if len(text) <= READABLE else hashlib.sha256(text).hexdigest()


def _numbers_alike(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, list):
        return [_numbers_alike(item) for item in value]
    if isinstance(value, dict):
        return {key: _numbers_alike(item) for key, item in value.items()}
    return value


def _step_sums(steps: Sequence[Step]) -> list[list[Any]]:
    sums: dict[tuple[int, str, str], Sums] = {}
    for step in steps:
        begun = micros_of(step.scheduled)
        took = _lasting(begun, None if step.closed is None else micros_of(step.closed))
        key = (begun // HOUR, column(step.name), step.status)
        seen = Sums(1, int(step.closed is not None), took)
        sums[key] = sums.get(key, Sums()).plus(seen)
    return [[*key, *value[:3]] for key, value in sorted(sums.items())]
