"""Shows how far an inventory is: a bar on a terminal, lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol, Self


class Display(AbstractContextManager["Display"], Protocol):
    """Shows the document of a run whenever it is read."""

    def show(self, document: dict[str, Any]) -> None:
        """Show the progress that the document tells of."""
        ...

    def say(self, text: str) -> None:
        """Print a line of text."""
        ...


def display() -> Display:
    """Return what fits standard output."""
    return _Bar() if sys.stdout.isatty() else _Lines()


def describe(document: dict[str, Any]) -> str:
    """Return a document's status, files and bytes in words."""
    status = document.get("status", "waiting for a worker")
    if "files" not in document:
        return str(status)
    files, found, size = (document[key] for key in ("files", "found", "bytes"))
    return f"{status}: {files:,} of {found:,} files, {size:,} bytes"


class _Lines(ExitStack, Display):
    """One line for each tenth."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = -1
        self._started = time.monotonic()

    def show(self, document: dict[str, Any]) -> None:
        tenth = 10 * document.get("done", 0) // (document.get("batches") or 1)
        if tenth > self._shown:
            self._shown = tenth
            self.say(f"{10 * tenth:3} %  {describe(document)}")

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
        self._progress = self.enter_context(progress.Progress(*columns))
        self._task = self._progress.add_task("")
        return self

    def show(self, document: dict[str, Any]) -> None:
        self._progress.update(
            self._task,
            description=describe(document),
            completed=document.get("done", 0),
            total=document.get("batches"),
        )

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False)
