"""Steps as bars over wall time, so that one sees what ran beside what, and what was waited for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from temporal_state.cli._output import STYLES
from temporal_state.cli._text import duration_text, harmless
from temporal_state.runs import Run, Step

_LEAST = 10
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Signs:
    waiting: str
    running: str
    open: str
    taken_over: str


_UNICODE = _Signs(waiting="─", running="█", open="▶", taken_over="↻")
_ASCII = _Signs(waiting="-", running="#", open=">", taken_over="@")


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where times lie on a line.

    Attributes:
        begin: The time at the left end.
        length: How long the line is in time, ...
        width: ... and in columns.
    """

    begin: datetime
    length: timedelta
    width: int

    def column(self, time: datetime) -> float:
        part = (time - self.begin) / self.length
        return min(max(part, 0.0), 1.0) * self.width


def draw(
    run: Run, steps: Sequence[Step], *, width: int, now: datetime, unicode: bool = True
) -> Iterator[Text]:
    """Yield a line for the run, and one for each step.

    A thin line is the time in which a step waited to be started, a thick one that in which it ran.

    Args:
        run: The run.
        steps: Its steps.
        width: At most so many columns.
        now: The end of what has not ended.
        unicode: Whether the output can show more than ASCII.
    """
    signs = _UNICODE if unicode else _ASCII
    begin = min([run.started, *(step.scheduled for step in steps)])
    end = max([run.ended or now, *(_end(step, now) for step in steps), begin + _INSTANT])
    labels = [f"{step.number} {harmless(step.name)}" for step in steps]
    widest = max(map(cell_len, [run.workflow_type, *labels]))
    label = min(widest, max(width // 3, _LEAST))
    tails = [_tail(step, signs, now) for step in steps]
    tail = max(map(cell_len, [duration_text(end - begin), *tails]))
    scale = _Scale(begin, end - begin, max(width - label - tail - 2, _LEAST))
    bar = _bar(scale, run.started, run.started, run.ended or now, signs)
    yield _line(harmless(run.workflow_type), label, bar, run.status, duration_text(end - begin))
    for step, name, text in zip(steps, labels, tails, strict=True):
        started = max(step.started or step.scheduled, step.scheduled)
        bar = _bar(scale, step.scheduled, started, _end(step, now), signs)
        if step.closed is None and step.ended is None:
            bar = bar.rstrip()[:-1] + signs.open + " " * (len(bar) - len(bar.rstrip()))
        yield _line(name, label, bar, step.status, text)


def _end(step: Step, now: datetime) -> datetime:
    return max(step.closed or step.ended or now, step.scheduled)


def _tail(step: Step, signs: _Signs, now: datetime) -> str:
    text = duration_text(_end(step, now) - step.scheduled)
    if step.attempt is not None and step.attempt > 1:
        text += f" x{step.attempt}"
    return f"{text} {signs.taken_over}" if step.taken_over else text


def _bar(
    scale: _Scale, scheduled: datetime, started: datetime, end: datetime, signs: _Signs
) -> str:
    left = min(round(scale.column(scheduled)), scale.width - 1)
    right = max(round(scale.column(end)), left + 1)
    middle = min(max(round(scale.column(started)), left), right - 1)
    waiting, running = signs.waiting * (middle - left), signs.running * (right - middle)
    return f"{' ' * left}{waiting}{running}{' ' * (scale.width - right)}"


def _line(name: str, label: int, bar: str, status: str, tail: str) -> Text:
    shown = name if cell_len(name) <= label else f"{set_cell_size(name, label - 1)}…"
    line = Text(f"{set_cell_size(shown, label)} ")
    line.append(bar, style=STYLES.get(status, ""))
    return line.append(f" {tail}")
