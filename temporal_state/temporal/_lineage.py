"""What a run is told when it starts: whose results it takes over, whose document it goes on with.

Told by a header, since workflow code cannot look anything up: whoever resumes a run writes it, and
a run that was told hands it on to its children and to the run that it continues as. A later run of
a cron schedule inherits its first run's header but is new work; so is what a retry of such a run
does. A reset goes on taking over: the run that it takes over from is still another one.
"""

from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow

from temporal_state.documents import loads
from temporal_state.runs import CONTINUED, Home, Json, Source, home_from, source_from, to_json
from temporal_state.temporal._wire import HEADER, json_payload

_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
_RETRY = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a run comes from, beyond what Temporal knows.

    Attributes:
        source: The run whose results it takes over.
        home: Whose own document it goes on with; ``None`` is its own chain's.
        checkpoints: The number of the last checkpoint of the run that it continues.
    """

    source: Source | None = None
    home: Home | None = None
    checkpoints: int = 0

    @classmethod
    def of(cls, start: InitializeWorkflow) -> "Lineage":
        """Return what a run was told."""
        if HEADER not in start.headers:
            return cls()
        told = cls.from_payload(start.headers[HEADER])
        new_work = start.continued_initiator == _CRON or (
            start.continued_initiator == _RETRY and start.cron_schedule != ""
        )
        return cls(None if new_work else told.source, told.home, told.checkpoints)

    def of_child(self, content: str) -> "Lineage | None":
        """Return what the child that a call with this content starts is told, if anything."""
        if self.source is None:
            return None
        source = self.source.then(content)
        return Lineage(source, source)

    def of_continued(self, checkpoints: int) -> "Lineage":
        """Return what the run that continues this one is told."""
        source = None if self.source is None else self.source.then(CONTINUED)
        return Lineage(source, self.home, checkpoints)

    def to_payload(self) -> Payload:
        """Return the header's value."""
        return json_payload({**self.to_json(), "checkpoints": self.checkpoints})

    def to_json(self) -> Json:
        """Return source and home, as far as there are any."""
        known = {"source": self.source, "home": self.home}
        return {name: to_json(value) for name, value in known.items() if value is not None}

    @classmethod
    def from_payload(cls, payload: Payload) -> "Lineage":
        """Return what `to_payload` wrote."""
        return cls.from_json(loads(payload.data))

    @classmethod
    def from_json(cls, value: Any) -> "Lineage":
        """Return what `to_json` wrote; other fields are not looked at."""
        source, home = source_from(value.get("source")), home_from(value.get("home"))
        return cls(source, home, value.get("checkpoints", 0))
