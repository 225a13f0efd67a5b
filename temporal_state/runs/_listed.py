"""What lists return: some things, and where to go on."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from temporal_state.documents import aware, check_cursor
from temporal_state.errors import InvalidValueError

T = TypeVar("T")

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page of a list.

    Attributes:
        items: What was found.
        cursor: Give it to the same call to go on; ``None``: that was all.
    """

    items: list[T]
    cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def check_limit(limit: int) -> int:
    """Return ``limit`` if a page may have it."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidValueError(f"limit={limit} is not 1 to {MAX_PAGE}; choose one that is")
    return limit


def place_after(prefix: str, cursor: str | None, begin: str = "") -> str:
    """Return behind which place a list below a prefix goes on, or begins.

    Raises:
        InvalidValueError: ``cursor`` is none.
    """
    if cursor:
        return check_cursor(cursor, f"{prefix}{cursor}")
    return f"{prefix}{begin}" if begin else ""


def check_window(since: datetime | None, until: datetime | None) -> None:
    """Refuse a window of time whose ends cannot be compared."""
    for name, time in (("since", since), ("until", until)):
        if time is not None:
            aware(time, name)
