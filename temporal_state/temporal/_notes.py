"""What passes between the code of a workflow and its follower, without an event.

The code writes, the follower reads after each activation. Code that is replayed writes the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from temporal_state.documents import dumps
from temporal_state.errors import TooLargeError
from temporal_state.runs import Json

NOTES = "temporal_state_notes"
"""The extern function by which workflow code reaches its follower's notes."""

LINEAGE = "temporal_state_lineage"
"""The extern function by which workflow code learns where its run comes from."""

MAX_METADATA = 16 * 1024
"""Most bytes of JSON that a run, or an attempt of an activity, may note: each header has it all."""


@dataclass(slots=True)
class Notes:
    """What a run's code says of the run.

    Attributes:
        progress: What the code last reported.
        checkpoints: The number of the last checkpoint.
        metadata: All that the code noted.
        noted: Keys that it noted since the follower last looked.
        metadata_at: The clock and the time of each key.
    """

    progress: Json | None = None
    checkpoints: int = 0
    metadata: Json = field(default_factory=dict)
    noted: dict[str, None] = field(default_factory=dict)
    metadata_at: dict[str, list[Any]] = field(default_factory=dict)

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Take in what the code notes."""
        self.metadata |= metadata
        self.noted |= dict.fromkeys(metadata)

    def header(self, clock: int, time: str) -> Json:
        """Return the metadata as a header has it; what is new was noted at this time."""
        for key in self.noted:
            self.metadata_at[key] = [clock, time]
        self.noted.clear()
        if not self.metadata:
            return {}
        return {"metadata": dict(self.metadata), "metadata_at": dict(self.metadata_at)}


def with_metadata(known: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """Return all metadata of one run or attempt.

    Raises:
        TooLargeError: It is too large.
    """
    merged = {**known, **new}
    size = len(dumps(merged))
    if size > MAX_METADATA:
        raise TooLargeError(
            f"the metadata noted here has {size} bytes of JSON with {', '.join(map(repr, new))}, "
            f"the limit is {MAX_METADATA}; note what tells runs apart, keep the rest in a document"
        )
    return merged
