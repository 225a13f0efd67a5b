"""What is known of a run and not yet written: who has it, who takes it, and how it is merged.

A source is asked for what it has, so a run waits in the recorder's queue once, however much happens
in it before the next write.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from temporal_state.runs import Json, Patch, RunRef
from temporal_state.temporal._capture import drop_values

log = logging.getLogger("temporal_state")


class Room(Enum):
    """What of a change can wait to be written."""

    FOR_ALL = "all"
    WITHOUT_VALUES = "without values"
    NONE = "none"


class UnmergedError(Exception):
    """What a source had could not be merged, and is lost.

    Attributes:
        changes: How many changes it was.
        size: How many bytes of values they had.
    """

    def __init__(self, own: Patch) -> None:
        super().__init__(f"{len(own)} changes of run {own.ref.run_id} could not be merged")
        self.changes, self.size = len(own), own.bytes


class Source(Protocol):
    """Has something that is to be written."""

    @property
    def ref(self) -> RunRef:
        """Of which run."""
        ...

    def add_to(self, patch: Patch) -> tuple[int, bool]:
        """Add what it has to a patch of its run.

        Returns:
            How many of its changes became one with others there, and whether what it has is all
            that is known since the run's start.

        Raises:
            UnmergedError: It has given away what it had.
        """
        ...


class Intake(Protocol):
    """Where sources say that they have something; never waits and never fails."""

    def admit(self, ref: RunRef, changes: int, size: int, *, final: bool) -> Room:
        """Count so many more changes and bytes of values of a run, if there is room for them."""
        ...

    def announce(self, source: Source) -> None:
        """Take from a source once, soon."""
        ...


class Nowhere(Intake):
    """Where nothing is written."""

    def admit(self, ref: RunRef, changes: int, size: int, *, final: bool) -> Room:
        """See base class."""
        return Room.NONE

    def announce(self, source: Source) -> None:
        """See base class."""


def merge(patch: Patch, own: Patch) -> int:
    """Add what a source had to a patch of its run; see `Source.add_to`."""
    lost = UnmergedError(own)  # as it is before any of it is somewhere else
    try:
        return patch.add(own)
    except Exception as error:
        raise lost from error


@dataclass(slots=True)
class Untold:
    """What one follower has for the recorder.

    Attributes:
        ref: The run.
        intake: Has room for it, or not.
        header: Returns the run's header as it is when it is taken, without what is said once.
    """

    ref: RunRef
    intake: Intake
    header: Callable[[], Json]
    _patch: Patch | None = None
    _whole: bool = False

    def add(self, patch: Patch, *, whole: bool) -> bool:
        """Take in what was seen; return whether its values were, too.

        Args:
            patch: Its header has only what is said once; its bytes are those of its values.
            whole: Whether it is all that is known since the run's start.
        """
        known = self._patch
        steps = {} if known is None else known.steps
        changes = sum(number not in steps for number in patch.steps) + (known is None)
        room = self.intake.admit(self.ref, changes, patch.bytes, final=patch.final)
        if room is Room.NONE:
            return False
        if room is Room.WITHOUT_VALUES:
            drop_values(patch)
            patch.bytes = 0
        if known is None:
            self._patch = patch
        else:
            known.add(patch)
        self._whole |= whole
        return room is Room.FOR_ALL

    def take(self) -> tuple[Patch, bool]:
        """Return what was taken in since this was last asked, and whether that is all there is."""
        patch, whole = self._patch, self._whole
        if patch is None:
            return Patch(self.ref), False
        self._patch, self._whole = None, False
        patch.header = self._header_with(patch.header or {})
        return patch, whole

    def _header_with(self, said_once: Json) -> Json | None:
        try:
            return {"input": [], "start": {}, "checkpoints": [], **said_once, **self.header()}
        except Exception:
            log.exception("the header of run %s cannot be recorded", self.ref.run_id)
            return None
