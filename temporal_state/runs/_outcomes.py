"""What a resumed run needs of the steps of another: which completed, and with what result.

They are read while the first activities of the resumed run wait, on the event loop of a worker that
has other things to do, and there may be ten thousand. So nothing of them is decoded, and no large
result is read, before a step asks for its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from temporal_state.runs._merge import Json

OUTCOME_BYTES = 640
"""About what an outcome takes in memory beside its result: itself, its key, two texts, a dict."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step stands.

    Attributes:
        number: The step's.
        id: The activity id or child workflow id.
        completed: Whether it completed.
        result: As it is kept; a large one lies apart.
    """

    number: int
    id: str
    completed: bool
    result: Json | None

    @property
    def size(self) -> int:
        """About how many bytes it takes in memory."""
        result = self.result or {}
        return OUTCOME_BYTES + len(result.get("text") or result.get("base64") or "")


def outcomes_in(part: Json, last: int | None) -> Mapping[str, Outcome]:
    """Return the outcomes in one object with steps, by the key of the call, up to step ``last``."""
    steps = sorted((int(n), step) for n, step in part.get("steps", {}).items())
    return {
        step["call"]["key"]: _outcome(number, step)
        for number, step in steps
        if (last is None or number <= last) and "call" in step and step["call"].get("key")
    }


def _outcome(number: int, step: Json) -> Outcome:
    end = step.get("end", {})
    return Outcome(number, step["call"]["id"], end.get("status") == "completed", end.get("result"))
