"""What is kept of runs, and for how long: rules, which `_maintenance` applies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporal_state.errors import InvalidValueError
from temporal_state.runs._merge import Json
from temporal_state.runs._records import CLOSED, LAST_ENDS, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept, and for how long.

    Attributes:
        runs: Closed runs go so long after their end: all, or those of each status that is named. A
            status with no time at all goes at once: ``{"completed": timedelta(0)}``.
        checkpoints: So many of each run's checkpoints stay, the newest, and those with a name.
        on_end: Closed runs of these statuses go as soon as nothing may need them; see `EndedRuns`.
        stale: Runs that are recorded by hand fail when there was no news of them for so long.
        namespace: Temporal's namespace; by default that of maintenance, or of the backend.
    """

    runs: timedelta | Mapping[str, timedelta] | None = None
    checkpoints: int | None = None
    stale: timedelta | None = None
    namespace: str | None = None
    on_end: Collection[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.on_end, str) or {*self.on_end} - LAST_ENDS:
            raise InvalidValueError(
                f"on_end={self.on_end!r} is no list of ends; give some of "
                f"{', '.join(sorted(LAST_ENDS))}"
            )
        if not isinstance(self.runs, timedelta | Mapping | None):
            raise InvalidValueError(f"runs={self.runs!r} is no age; give a timedelta")
        for status, age in self.ages().items():
            known = status in CLOSED and isinstance(age, timedelta)
            if not known or age < timedelta(0):
                raise InvalidValueError(
                    f"runs={{{status!r}: {age}}}: give an age of 0 or more for "
                    f"{', '.join(sorted(CLOSED))}"
                )
        if self.checkpoints is not None and self.checkpoints < 1:
            raise InvalidValueError(f"checkpoints={self.checkpoints}: at least the newest stays")

    def ages(self) -> Mapping[str, timedelta]:
        """Return how long the runs of each status are kept; of others, for ever."""
        if self.runs is None:
            return {}
        return dict.fromkeys(CLOSED, self.runs) if isinstance(self.runs, timedelta) else self.runs

    def is_over(self, run: Run, now: datetime) -> bool:
        """Return whether a run has been closed for as long as it is kept."""
        age = self.ages().get(run.status)
        if age is None or run.ended is None:
            return False
        # An end that nobody has confirmed may be taken back as long as there is news.
        last = run.ended if run.confirmed else max(run.ended, run.updated)
        return now - last >= age and (run.confirmed or age > timedelta(0))

    def is_stale(self, run: Run, now: datetime) -> bool:
        """Return whether a run is recorded by hand, open, and without news for too long."""
        by_hand = run.kind not in {"workflow", "activity"} and run.clock == 0
        if self.stale is None or run.status != "running" or not by_hand:
            return False
        return now - run.updated >= self.stale

    def to_json(self) -> Json:
        """Return it as it travels; times in seconds."""
        return {
            "runs": {status: age.total_seconds() for status, age in self.ages().items()},
            "checkpoints": self.checkpoints,
            "stale": None if self.stale is None else self.stale.total_seconds(),
            "namespace": self.namespace,
            "on_end": sorted(self.on_end),
        }

    @classmethod
    def from_json(cls, value: Json) -> "Retention":
        """Return what `to_json` wrote."""
        stale = value.get("stale")
        return cls(
            runs={k: timedelta(seconds=v) for k, v in value.get("runs", {}).items()} or None,
            checkpoints=value.get("checkpoints"),
            stale=None if stale is None else timedelta(seconds=stale),
            namespace=value.get("namespace"),
            on_end=value.get("on_end", ()),
        )
