"""Shows how far a job is: a bar on a terminal, lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol, Self


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        done: What is done, in any unit.
        total: Of how much, once that is known.
        text: What it is doing, for people.
    """

    done: int
    total: int | None
    text: str


class Display(AbstractContextManager["Display"], Protocol):
    """Shows the progress of a job whenever it is known anew."""

    def show(self, progress: Progress) -> None:
        """Show progress."""
        ...

    def say(self, text: str) -> None:
        """Print a line of text."""
        ...


def display() -> Display:
    """Return what fits standard output."""
    return _Bar() if sys.stdout.isatty() else _Lines()


class _Lines(ExitStack, Display):
    """One line for each tenth."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = -1
        self._started = time.monotonic()

    def show(self, progress: Progress) -> None:
        tenth = 10 * progress.done // (progress.total or 1)
        if tenth > self._shown:
            self._shown = tenth
            self.say(f"{10 * tenth:3} %  {progress.text}")

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:5.1f} s  {text}", flush=True)


class _Bar(ExitStack, Display):
    """One line that moves."""

    def __enter__(self) -> Self:
        from rich import progress  # noqa: PLC0415 only where there is a terminal

        super().__enter__()
        columns = (
            progress.TimeElapsedColumn(),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            "{task.description}",
        )
        self._bar = self.enter_context(progress.Progress(*columns))
        self._task = self._bar.add_task("")
        return self

    def show(self, progress: Progress) -> None:
        self._bar.update(
            self._task,
            description=progress.text,
            completed=progress.done,
            total=progress.total,
        )

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)
