"""The pauses of local activities between two attempts: a timer, then the same call anew.

After a long pause the SDK schedules a local activity as if it were another one, and a pause may be
cancelled like any timer, which cancels the call. So that the call stays one step, its pause is
known by how long it lasts.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from temporal_state.temporal._events import Closed, Place, Scheduled


@dataclass(slots=True)
class Pauses:
    """Which of a run's steps pause now, by the key of the call."""

    _steps: dict[str | None, int] = field(default_factory=dict)
    _timers: dict[Place, str | None] = field(default_factory=dict)
    _given_up: list[str | None] = field(default_factory=list)
    _without_timer: list[tuple[timedelta, str | None]] = field(default_factory=list)

    def begin(self, lasting: timedelta, key: str | None, number: int) -> None:
        """Take in that the call of step ``number`` will be made again."""
        self._steps[key] = number
        self._without_timer.append((lasting, key))

    def end(self, event: Scheduled) -> int | None:
        """Return the step that a scheduled call goes on with, if it is one that paused."""
        if event.lasting is None:
            return self._steps.pop(event.key, None)
        for pause in self._without_timer:
            if pause[0] == event.lasting:
                self._without_timer.remove(pause)
                self._timers[event.place] = pause[1]
                break
        return None

    def closed(self, event: Closed) -> None:
        """Take in what has ended: of a pause whose timer was cancelled, the call is given up."""
        key = self._timers.pop(event.place, None)
        if key is not None and event.status == "cancelled":
            self._given_up.append(key)

    def given_up(self) -> list[int]:
        """Return the steps that will not be called again; ask at the end of each task.

        A pause that has no timer by then was cancelled before it could begin.
        """
        keys = [*self._given_up, *(key for _, key in self._without_timer)]
        self._given_up.clear()
        self._without_timer.clear()
        return [self._steps.pop(key) for key in keys if key in self._steps]
