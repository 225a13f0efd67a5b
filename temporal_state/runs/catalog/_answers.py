"""What the catalog answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import overload

from temporal_state.runs._records import Run


class RunPage(Sequence[Run]):
    """Some runs in the order that was asked for, and where to go on.

    Attributes:
        cursor: Give it to the same call to go on; ``None``: that was all.
    """

    def __init__(self, runs: Iterable[Run], cursor: str | None = None) -> None:
        self._runs = tuple(runs)
        self.cursor = cursor

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | Sequence[Run]:
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RunPage):
            return self._runs == other._runs
        return list(self._runs) == other

    def __hash__(self) -> int:
        return hash(self._runs)

    def __repr__(self) -> str:
        return f"RunPage({list(self._runs)!r}, cursor={self.cursor!r})"


@dataclass(frozen=True, slots=True)
class Stats:
    """Sums of the runs that started in a window.

    Attributes:
        total: How many there are.
        by_status: How many have which status.
        by_type: How many are of which workflow type.
        last_24_hours: How many of which status started in the last 24 hours, in any window.
        average_duration: From start to end, of those that ended; ``None`` if none has.
        average_duration_by_type: The same for each type that has one that ended.
        background_by_status: How many that another run started have which status.
        checkpoints: How many checkpoints their records have.
        average_checkpoint_time: How long it took to write one, see `Checkpoint`; ``None`` if there
            is none.
        bytes: How many bytes of JSON their records take, with the large values and the states of
            their checkpoints, before any compression. Of a run that is still running, steps from
            the 64th on do not count.
        unreadable: How many records of all times cannot be read; the log names each.
    """

    total: int
    by_status: dict[str, int]
    by_type: dict[str, int]
    last_24_hours: dict[str, int]
    average_duration: timedelta | None
    average_duration_by_type: dict[str, timedelta]
    background_by_status: dict[str, int]
    checkpoints: int
    average_checkpoint_time: timedelta | None
    bytes: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class StepStats:
    """How many steps of closed runs there are of one name and status, and how long they took.

    Attributes:
        count: How many.
        average: From being scheduled to being closed, of those that were closed.
    """

    name: str
    status: str
    count: int
    average: timedelta | None
