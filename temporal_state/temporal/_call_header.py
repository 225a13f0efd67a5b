"""What workflow code tells an activity about the call, so that both agree on what it is."""

from dataclasses import dataclass
from datetime import datetime

from temporalio.api.common.v1 import Payload

from temporal_state.documents import from_text, loads, to_text
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._wire import json_payload


@dataclass(frozen=True)
class CallHeader:
    """One call of an activity, as the workflow that makes it sees it.

    Attributes:
        chain: The run id that the whole chain shares: the own document is found by it.
        content: The name of the call by its content, the same in a run that resumes this one.
        step: The same for this run and its resets only: changes and steps are named by it.
        now: The workflow's time when it made the call.
        started: When the run started, which tells where its record lies; ``None`` if that was
            not told.
        lineage: Where the run comes from.
        recorded: Whether the run is recorded.
    """

    chain: str
    content: str
    step: str
    now: datetime
    started: datetime | None
    lineage: Lineage
    recorded: bool = True

    def to_payload(self) -> Payload:
        """Return the header's value."""
        value = {
            "chain": self.chain,
            "content": self.content,
            "step": self.step,
            "now": to_text(self.now),
            "started": to_text(self.started) if self.started else None,
            **({} if self.recorded else {"recorded": False}),
            **self.lineage.to_json(),
        }
        return json_payload(value)

    @classmethod
    def from_payload(cls, payload: Payload) -> "CallHeader":
        """Return the header that `to_payload` wrote."""
        value = loads(payload.data)
        return cls(
            value["chain"],
            value["content"],
            value["step"],
            from_text(value["now"]),
            from_text(value["started"]) if value.get("started") else None,
            Lineage.from_json(value),
            value.get("recorded", True),
        )
