"""Which changes a document has applied, so that a repeated one is not applied again.

Temporal runs code more than once: retries, failed workflow tasks, crashes, resets. A token names a
change by its content, and lies in the same object as the effect, so both are written or neither.

No token younger than the retry horizon is ever forgotten. Older ones go, oldest first, when the
window outgrows its size, and the floor remembers the newest of them: a change as old as that which
is not in the window may or may not have been applied, so it is refused, never applied again.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporal_state.errors import TokenExpiredError

RETRY_HORIZON = timedelta(hours=24)
WINDOW = 256


@dataclass(frozen=True, slots=True)
class Token:
    """The name of one change, and when Temporal scheduled it."""

    key: str
    scheduled: datetime


@dataclass(slots=True)
class TokenWindow:
    """Applied tokens: scheduling time in milliseconds since 1970, and the result if it has one."""

    applied: dict[str, list[Any]] = field(default_factory=dict)
    floor: int | None = None

    @classmethod
    def from_json(cls, tokens: dict[str, list[Any]], floor: int | None) -> "TokenWindow":
        """Return the window that `to_json` wrote."""
        return cls(dict(tokens), floor)

    def to_json(self) -> tuple[dict[str, list[Any]], int | None]:
        """Return the tokens and the floor as JSON values."""
        return self.applied, self.floor

    def is_applied(self, token: Token) -> bool:
        """Return whether the change has been applied.

        Raises:
            TokenExpiredError: That is no longer known.
        """
        if token.key in self.applied:
            return True
        if self.floor is not None and _milliseconds(token.scheduled) <= self.floor:
            raise TokenExpiredError(
                f"a change scheduled at {token.scheduled.isoformat()} is older than the applied "
                f"changes still known (since {_time(self.floor).isoformat()}), so it is not "
                "applied; start the operation anew, or open the backend with a longer "
                "retry_horizon"
            )
        return False

    def result(self, token: Token) -> Any:
        """Return what the applied change returned."""
        return (*self.applied[token.key], None)[1]

    def add(self, token: Token, result: Any, *, now: datetime, horizon: timedelta) -> None:
        """Remember that the change is applied, and forget what is old enough to be forgotten."""
        entry = [_milliseconds(token.scheduled)]
        self.applied[token.key] = entry if result is None else [*entry, result]
        excess = len(self.applied) - WINDOW
        if excess <= 0:
            return
        youngest_to_go = _milliseconds(now - horizon)
        by_age = sorted((entry[0], key) for key, entry in self.applied.items())
        for time, key in by_age[:excess]:
            if time >= youngest_to_go:
                break
            del self.applied[key]
            self.floor = max(time, self.floor or time)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
