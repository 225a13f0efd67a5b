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
        metadata: What the code noted since the follower last looked.
    """

    progress: Json | None = None
    metadata: Json = field(default_factory=dict)

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Take in what the code notes."""
        self.metadata = {**self.metadata, **metadata}

    def take(self) -> tuple[Json | None, Json]:
        """Return the progress, and what was noted since this was last asked."""
        metadata = self.metadata
        if metadata:
            self.metadata = {}
        return self.progress, metadata


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
