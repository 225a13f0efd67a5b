"""Which changes a document has applied, so that a repeated one is not applied again.

Temporal runs code more than once: retries, failed workflow tasks, crashes, resets. A token names a
change by its content, and lies in the same object as the effect, so both are written or neither.

The changes of one step (an activity with all its attempts, or one call of workflow code) are kept
and forgotten together, so a step at work never loses a part of them. None that was touched within
the retry horizon is ever forgotten. Older ones go when the window outgrows its size, and the floor
remembers the newest touch: a step as old as that which is not in the window may or may not have
made its change, so it is refused, never applied again.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporal_state.errors import TokenExpiredError

RETRY_HORIZON = timedelta(hours=24)
WINDOW = 256


@dataclass(frozen=True, slots=True)
class Token:
    """The name of one change.

    Attributes:
        step: What makes the change, by a name that stays when it is repeated.
        scheduled: When Temporal scheduled the step.
        change: Which of its changes it is; empty if it makes only one.
        first: Whether nobody can have made the change before: the step's first attempt.
    """

    step: str
    scheduled: datetime
    change: str = ""
    first: bool = False


@dataclass(slots=True)
class TokenWindow:
    """Applied changes with their results, by step, and when the step was last at work.

    Times are milliseconds since 1970.
    """

    steps: dict[str, Any] = field(default_factory=dict)
    floor: int | None = None

    @classmethod
    def from_json(cls, tokens: dict[str, Any], floor: int | None) -> "TokenWindow":
        """Return the window that `to_json` wrote; raises ``ValueError`` for anything else."""
        if not isinstance(tokens, dict) or not all(map(_is_step, tokens.values())):
            raise ValueError("its tokens are no applied changes by step")
        if floor is not None and type(floor) is not int:
            raise ValueError(f"the floor of its tokens is {floor!r}")
        return cls(tokens, floor)

    def to_json(self) -> tuple[dict[str, Any], int | None]:
        """Return the tokens and the floor as JSON values."""
        return self.steps, self.floor

    def __len__(self) -> int:
        return sum(len(changes) for _, changes in self.steps.values())

    def touched(self) -> datetime | None:
        """Return when the last change was applied; ``None`` if none is remembered."""
        times = [touched for touched, _ in self.steps.values()]
        return _time(max(times)) if times else None

    def is_applied(self, token: Token) -> bool:
        """Return whether the change has been applied.

        Raises:
            TokenExpiredError: That is no longer known.
        """
        if token.step in self.steps:
            return token.change in self.steps[token.step][1]
        if token.first or self.floor is None or _milliseconds(token.scheduled) > self.floor:
            return False
        raise TokenExpiredError(
            f"a change scheduled at {token.scheduled.isoformat()} is older than the applied "
            f"changes still known (since {_time(self.floor).isoformat()}), so it is not applied; "
            "start the operation anew, or open the backend with a longer retry_horizon"
        )

    def result(self, token: Token) -> Any:
        """Return what the applied change returned."""
        return self.steps[token.step][1][token.change]

    def add(self, token: Token, result: Any, *, now: datetime, horizon: timedelta) -> None:
        """Remember that the change is applied, and forget what is old enough to be forgotten."""
        entry = self.steps.setdefault(token.step, [0, {}])
        entry[0] = max(entry[0], _milliseconds(now))
        entry[1][token.change] = result
        excess = len(self.steps) - WINDOW
        if excess > 0:
            self._forget(excess, _milliseconds(now - horizon))

    def _forget(self, excess: int, before: int) -> None:
        by_age = sorted((touched, step) for step, (touched, _) in self.steps.items())
        for touched, step in by_age[:excess]:
            if touched >= before:
                break
            del self.steps[step]
            self.floor = max(touched, self.floor or touched)


def _is_step(entry: Any) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [int, dict]


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
