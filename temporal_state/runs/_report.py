"""What maintenance did, piece by piece, and with which runs it could not do what was due.

One run whose record is damaged is no reason to leave the others as they are. So it is counted and
named, and what was done with the others is not hidden by it.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from temporal_state.errors import DamagedObjectError, StateError, StoreError
from temporal_state.runs._records import Run

REASONS = 3
"""So many of the runs that something could not be done with are named."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one piece of one part did.

    Attributes:
        done: How many things it removed or changed.
        cursor: Where the part goes on; ``None`` if it is done.
        failed: With how many runs it could not do what was due.
        reasons: Which of them that were, and why; the first ones.
    """

    done: int
    cursor: str | None = None
    failed: int = 0
    reasons: Sequence[str] = ()


@dataclass(slots=True)
class Report:
    """What maintenance did.

    Attributes:
        done: How many things each part removed or changed.
        failed: With how many runs a part could not do what was due.
        errors: Why a part failed, or which runs it failed with, the first ones; by its name.
        unfinished: Parts that had more to do when the time was over.
    """

    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def add(self, part: str, piece: Piece) -> None:
        """Take in what one piece of a part did."""
        self.done[part] = self.done.get(part, 0) + piece.done
        if piece.failed:
            self.failed[part] = self.failed.get(part, 0) + piece.failed
            self.errors.setdefault(part, "; ".join(piece.reasons))


@dataclass(slots=True)
class Tally:
    """Counts what is done with runs, one after the other; one that cannot be hides no other."""

    done: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)

    async def count(self, run: Run, work: Awaitable[int]) -> None:
        """Do something with a run.

        Raises:
            StoreError: The store is in the way, so that it would be of others as well.
        """
        try:
            self.done += await work
        except StateError as error:
            if isinstance(error, StoreError) and not isinstance(error, DamagedObjectError):
                raise
            self.failed += 1
            if len(self.reasons) < REASONS:
                name = f"run {run.run_id!r} of {run.workflow_id!r}"
                self.reasons.append(f"{name}: {type(error).__name__}: {error}")

    def total(self, what: str) -> int:
        """Return with how many it was done.

        Raises:
            DamagedObjectError: It could not be done with others.
        """
        if self.failed:
            raise DamagedObjectError(
                f"{self.done} runs were {what}, and {self.failed} could not be: "
                f"{'; '.join(self.reasons)}"
            )
        return self.done

    def piece(self, cursor: str | None) -> Piece:
        """Return it as a piece that goes on at ``cursor``."""
        return Piece(self.done, cursor, self.failed, self.reasons)
