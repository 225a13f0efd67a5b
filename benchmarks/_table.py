"""One figure a row: values measured side by side, their median, its bounds, and the goal.

The bounds are order statistics: between them lies the median of all values that could have been
measured, with 95 % certainty, whatever their distribution. Values are ratios wherever there is
something to compare with, since a busy machine slows both sides.
"""

import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Work = Callable[[], Awaitable[object]]
Measure = Callable[[], Awaitable[float]]

ROUNDS = 21
CONFIDENCE = 0.95
NOTHING = "\N{EN DASH}"
HEAD = (
    "| figure | against | goal | median | 95 % bounds | rounds | |\n|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be.

    Attributes:
        value: What the median should reach.
        better: Whether more or less is better.
        bound: What the worse bound should reach, if that is a goal of its own.
    """

    value: float
    better: Literal["more", "less"] = "more"
    bound: float | None = None

    def is_met(self, median: float, low: float, high: float) -> bool:
        """Return whether median and bounds reach it."""
        sign, worse = (1, low) if self.better == "more" else (-1, high)
        within = self.bound is None or sign * worse >= sign * self.bound
        return within and sign * median >= sign * self.value

    def __str__(self) -> str:
        sign = "≥" if self.better == "more" else "≤"
        bound = "" if self.bound is None else f", bound {sign} {number(self.bound)}"
        return f"{sign} {number(self.value)}{bound}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        figure: What was measured.
        against: What it was compared with; empty if with nothing.
        goal: What it should be; ``None`` if it is only told.
        values: One of each round.
        unit: Of the values; empty for ratios.
        note: What is to be said beside the table: absolute figures, a limit of the machine.
    """

    figure: str
    against: str
    goal: Goal | None
    values: Sequence[float]
    unit: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = bounds(self.values)
        met = "" if self.goal is None else self._verdict(low, high)
        unit = f" {self.unit}" if self.unit else ""
        cells = (
            self.figure,
            self.against or NOTHING,
            f"{self.goal}{unit}" if self.goal else NOTHING,
            f"{number(self.median)}{unit}",
            f"{number(low)} to {number(high)}",
            str(len(self.values)),
            met,
        )
        return f"| {' | '.join(cells)} |"

    def _verdict(self, low: float, high: float) -> str:
        met = self.goal is not None and self.goal.is_met(self.median, low, high)
        return "met" if met else "**missed**"


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that could not be measured here, and why."""

    figure: str
    why: str
    note: str = ""

    def __str__(self) -> str:
        return f"| {self.figure} | | | not measured: {self.why} | | | |"


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the order statistics between which the median lies; with few values, the extremes."""
    ordered, count = sorted(values), len(values)
    below, tail = 0, 0.0
    while below < count // 2:
        tail += math.comb(count, below) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        below += 1
    cut = max(below - 1, 0)
    return ordered[cut], ordered[count - 1 - cut]


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def table(rows: Sequence[Row | Missing]) -> str:
    """Return Markdown: the table, then the notes."""
    notes = [f"- {row.figure}: {row.note}" for row in rows if row.note]
    lines = [HEAD, *(str(row) for row in rows)]
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def clocked(work: Work) -> Measure:
    """Return what measures the seconds that ``work`` takes."""

    async def measure() -> float:
        begun = time.perf_counter()
        await work()
        return time.perf_counter() - begun

    return measure


async def in_turns(rounds: int, *measures: Measure) -> list[list[float]]:
    """Return what each measured, a list for each.

    Within a round they follow each other at once; which one begins changes from round to round,
    and a round before the first warms up, unless there is only one.
    """
    found: list[list[float]] = [[] for _ in measures]
    for turn in range(0 if rounds > 1 else 1, rounds + 1):
        order = [(turn + place) % len(measures) for place in range(len(measures))]
        measured = {place: await measures[place]() for place in order}
        if turn:
            for place, value in measured.items():
                found[place].append(value)
    return found


async def speed_ratios(rounds: int, ours: Measure, theirs: Measure) -> tuple[list[float], str]:
    """Return how many times as fast as ``theirs`` ours is, each round, and both in words."""
    mine, other = await in_turns(rounds, ours, theirs)
    return ratios(other, mine), in_words(mine, other)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the quotient of each round."""
    return [one / other for one, other in zip(above, below, strict=True)]


def in_words(mine: Sequence[float], other: Sequence[float]) -> str:
    """Return the medians of seconds in milliseconds."""
    medians = [number(1000 * statistics.median(some)) for some in (mine, other)]
    return "medians {} ms and {} ms".format(*medians)
