"""Where answers go: tables or JSON to standard output, all else to standard error."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from pydantic import BaseModel
from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

from temporal_state.cli._failures import Code, CommandError
from temporal_state.cli._settings import Settings
from temporal_state.cli._text import harmless, harmless_json

WIDE = 10_000
"""Columns of what is no terminal: a table that is piped is not cut."""

STYLES = {
    "running": "cyan",
    "started": "cyan",
    "scheduled": "dim",
    "completed": "green",
    "ok": "green",
    "continued_as_new": "green",
    "failed": "bold red",
    "timed_out": "red",
    "terminated": "red",
    "cancelled": "yellow",
    "paused": "yellow",
    "warning": "yellow",
    "skipped": "dim",
}


@dataclass(slots=True)
class Output:
    """Answers one command."""

    settings: Settings
    console: Console = field(init=False)
    notes: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console, self.notes = self._console(sys.stdout), self._console(sys.stderr)

    @property
    def json(self) -> bool:
        """Whether a script reads the answer."""
        return self.settings.json

    def document(self, shape: BaseModel) -> None:
        """Answer a script with one document."""
        self.lines([shape])

    def lines(self, shapes: Iterable[BaseModel]) -> None:
        """Answer a script with one document a line."""
        for shape in shapes:
            sys.stdout.write(f"{harmless_json(shape.model_dump_json())}\n")
        sys.stdout.flush()

    def json_text(self, value: Any) -> None:
        """Print a JSON value for people, who may also pipe it."""
        text = json.dumps(value, indent=2, ensure_ascii=False)
        sys.stdout.write(f"{harmless_json(text)}\n")
        sys.stdout.flush()

    def text(self, text: str | Text) -> None:
        """Print a line of the answer."""
        self.console.print(text if isinstance(text, Text) else Text(harmless(text)), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
        """Print a table; a column whose name begins with ``#`` holds numbers."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(
                name.removeprefix("#") or "#",
                justify="right" if name[0] == "#" else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(
                *(cell if isinstance(cell, Text) else Text(harmless(cell)) for cell in row)
            )
        with self.console.capture() as captured:
            self.console.print(table)
        for line in captured.get().splitlines():  # rich fills up the last column
            sys.stdout.write(f"{line.rstrip()}\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Tell people what is going on."""
        self.notes.print(Text(harmless(text)), soft_wrap=True)

    def confirm(self, question: str) -> None:
        """Ask, unless all is answered; raise `CommandError` if the answer is no."""
        if self.settings.yes:
            return
        self.notes.print(Text(harmless(f"{question} [y/N] ")), end="", soft_wrap=True)
        answer = sys.stdin.readline()
        if not sys.stdin.isatty():
            self.notes.print()  # nobody has pressed Enter
        if not answer:
            raise CommandError(
                "nothing was done: nobody answered; give --yes to answer beforehand", Code.USAGE
            )
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("nothing was done: the answer was not yes")

    def progress(self, unit: str) -> bars.Progress:
        """Return a bar on standard error; use it with ``with``. Nothing where nobody watches."""
        return bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn(unit),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            console=self.notes,
            disable=not self.notes.is_terminal,
            transient=True,
        )

    def _console(self, stream: TextIO) -> Console:
        columns = os.environ.get("COLUMNS", "")
        width = None if stream.isatty() else int(columns) if columns.isdigit() else WIDE
        return Console(
            file=stream,
            width=width,
            no_color=None if self.settings.color else True,
            highlight=False,
            markup=False,
            emoji=False,
        )


def status_text(status: str, *, confirmed: bool = True) -> Text:
    """Return a status in its colour, with a mark if it may be taken back."""
    return Text(status if confirmed else f"{status}?", style=STYLES.get(status, ""))
