"""How far a loop over items has come: one small document per loop, beside its run's own document.

It is found by the run and the call, so it needs no record. It stays when the loop has ended, marked
as complete: the activity can still fail, or its result be lost on the way to Temporal, and the next
attempt must not begin again. It lies in the folder of the own document, and goes with it.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from temporal_state.documents import Address, Caller, Engine, Envelope, Layout
from temporal_state.errors import ConflictError, DamagedObjectError
from temporal_state.runs._own import ChainRef


@dataclass(frozen=True, slots=True)
class LoopRef:
    """One loop: whose own document it lies beside, which call runs it, and its name there."""

    home: ChainRef
    call: str
    name: str


@dataclass(frozen=True, slots=True)
class Position:
    """How far a loop has come.

    Attributes:
        done: So many items are done.
        value: What its user has kept, as it was when that item was done.
        complete: Whether there are no more.
        length: How many there are, if that was known.
        digest: The digest of those that are done, if it was asked for.
        run: The run that saved it.
        attempt: The attempt that saved it; 0 of a local activity, whose attempts are not counted.
        writer: Which of its writers.
        number: Which of the writer's positions.
    """

    done: int = 0
    value: Any = None
    complete: bool = False
    length: int | None = None
    digest: str | None = None
    run: str = ""
    attempt: int = 0
    writer: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Positions:
    """The positions of loops in the activities of one application."""

    engine: Engine
    layout: Layout

    def on_behalf_of(self, caller: Caller) -> "Positions":
        """Return the same positions for another caller."""
        return replace(self, engine=self.engine.on_behalf_of(caller))

    async def read(self, ref: LoopRef) -> Position | None:
        """Return the last position that was saved; ``None`` if there is none."""
        address = self._address(ref)
        found = await self.engine.read(address)
        return None if found is None else _position(address, found.value)

    async def save(self, ref: LoopRef, position: Position) -> None:
        """Save a position, unless a later one of the same writer is there.

        That happens when a write that was given up arrives after the next one.

        Raises:
            ConflictError: A later attempt goes on with these items.
        """
        address = self._address(ref)

        def edit(envelope: Envelope, now: datetime) -> bool:
            if envelope.state and not _succeeds(position, _position(address, envelope.state)):
                return False
            envelope.revive(now)
            envelope.state = asdict(position)
            return True

        await self.engine.change(address, edit)

    def _address(self, ref: LoopRef) -> Address:
        home = ref.home
        return self.layout.loop(home.namespace, home.workflow_id, home.chain, ref.call, ref.name)


def _succeeds(new: Position, stored: Position) -> bool:
    if stored.run != new.run:
        return True
    if 0 < new.attempt < stored.attempt:
        raise ConflictError(
            f"attempt {stored.attempt} of this activity goes on with its items, so the position of "
            f"attempt {new.attempt} is not saved; this attempt has timed out, let it end"
        )
    return stored.writer != new.writer or stored.number < new.number


def _position(address: Address, state: dict[str, Any]) -> Position:
    try:
        return Position(**state)
    except TypeError as error:
        raise DamagedObjectError(
            f"the object {address.key} is no position of a loop ({error}); move it away to begin "
            "with the first item"
        ) from error
