"""State that belongs to no run: watermarks, cursors of connectors, switches.

Each entry is a document of type ``system``, so it can be looked at and changed as any other.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporal_state.documents._engine import Caller
from temporal_state.documents._json import plain
from temporal_state.errors import InvalidDocumentError

if TYPE_CHECKING:
    from temporal_state.documents._documents import Documents

SYSTEM = "system"
_VALUE = "value"


@dataclass(frozen=True, slots=True)
class SystemValue:
    """One entry of the system state.

    Attributes:
        value: A JSON value of the caller's own.
        updated_at: When it was set last; ``None`` if another tool wrote the file.
    """

    value: Any
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class SystemState:
    """The system state of one application (and tenant)."""

    documents: "Documents"

    def on_behalf_of(self, caller: Caller) -> "SystemState":
        """Return the same state for another caller."""
        return replace(self, documents=self.documents.on_behalf_of(caller))

    async def set(self, key: str, value: Any) -> None:
        """Set an entry, new or not, to any JSON value."""
        await self.documents.replace(key, {_VALUE: plain(value, f"$.{_VALUE}")}, SYSTEM)

    async def get(self, key: str) -> SystemValue | None:
        """Return an entry and when it was set, or ``None``.

        Raises:
            InvalidDocumentError: The document was written by other means, and has no value.
        """
        found = await self.documents.read(key, SYSTEM)
        if found is None:
            return None
        if _VALUE not in found.value:
            raise InvalidDocumentError(
                f"document {SYSTEM}/{key} has no {_VALUE!r}, so it is no entry of the system state;"
                " set it, or read it as a document"
            )
        return SystemValue(found.value[_VALUE], found.updated)
