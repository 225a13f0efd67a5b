"""The run that another takes over from, and the document it goes on with, by name.

A run that is resumed starts children and continues as new, and each of those goes on with its
counterpart in the old chain. Workflow code cannot look those up, so it names the way to them, from
the run that was resumed; who has the store at hand goes that way.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from temporal_state.runs._merge import Json
from temporal_state.runs._own import ChainRef

CONTINUED = "continued:"
"""In a way, before a number: so many times on to the run that continued one as new.

One part for any number, so that a chain without end has a short way. Other parts are the content of
a child call.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """The run whose recorded results are taken over.

    Attributes:
        namespace: Of the run that was resumed.
        workflow_id: Of the run that was resumed.
        run_id: Of the run that was resumed.
        before: Only the results of its steps with a number below this; ``None`` for all.
        way: From that run to this one's counterpart: contents of child calls, or `CONTINUED` with
            a number.
    """

    namespace: str
    workflow_id: str
    run_id: str
    before: int | None = None
    way: tuple[str, ...] = ()

    def then(self, part: str) -> "Source":
        """Return the source one part further along the way."""
        return replace(self, way=(*self.way, part))

    def continued(self) -> "Source":
        """Return the source of the run that continues as new the one whose source this is."""
        times = times_continued(self.way[-1]) if self.way else 0
        way = self.way[:-1] if times else self.way
        return replace(self, way=(*way, f"{CONTINUED}{times + 1}"))

    def __post_init__(self) -> None:
        names = (self.namespace, self.workflow_id, self.run_id, *self.way)
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{self!r} names no run")
        for part in self.way:
            times_continued(part)
        if self.before is not None and not isinstance(self.before, int):
            raise ValueError(f"{self!r} has no step number")


def times_continued(part: str) -> int:
    """Return how often a part of a way says to go on to a continued run; 0 if it is a child."""
    return int(part.removeprefix(CONTINUED)) if part.startswith(CONTINUED) else 0


Home: TypeAlias = ChainRef | Source
"""Whose own document it is: a chain's, or that of the chain of the run that is found so."""


def to_json(value: Home) -> Json:
    """Return a source or chain as JSON."""
    return {name: list(v) if name == "way" else v for name, v in asdict(value).items()}


def source_from(value: Any) -> Source | None:
    """Return the source in JSON that may have one."""
    return None if value is None else Source(**{**value, "way": tuple(value["way"])})


def home_from(value: Any) -> Home | None:
    """Return the source or chain in JSON that may have one."""
    if value is None or "chain" not in value:
        return source_from(value)
    if not all(isinstance(name, str) for name in value.values()):
        raise ValueError(f"{value!r} names no chain")
    return ChainRef(**value)
