"""What a run is told when it starts: whose results it takes over, whose document it goes on with.

Told by a header, since workflow code cannot look anything up: whoever resumes a run writes it, and
a run that was told hands it on to its children and to the run that it continues as. A later run of
a cron schedule inherits its first run's header but is new work; so is what a retry of such a run
does. A reset goes on taking over: the run that it takes over from is still another one.

A header that cannot be read is not passed over: whoever wrote it wanted nothing done twice. Its run
goes on, but each of its activities is refused, and so are those of its children.
"""

import logging
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.bridge.proto.workflow_activation import InitializeWorkflow
from temporalio.workflow import Info

from temporal_state.documents import loads
from temporal_state.runs import Home, Json, Source, home_from, source_from, to_json
from temporal_state.temporal._wire import HEADER, json_payload

log = logging.getLogger("temporal_state")

_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
_RETRY = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY


def attempt_before(start: InitializeWorkflow, info: Info) -> Source | None:
    """Return the attempt before, if a run is one more by its workflow's retry policy."""
    if start.continued_initiator != _RETRY or start.cron_schedule:
        return None
    return Source(info.namespace, info.workflow_id, start.continued_from_execution_run_id)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a run comes from, beyond what Temporal knows.

    Attributes:
        source: The run whose results it takes over.
        home: Whose own document it goes on with; ``None`` is its own chain's.
        checkpoints: The number of the last checkpoint of the run that it continues.
        damaged: Whether what it was told cannot be read.
        trace_root: Of a run that resumes another: the trace of the first one.
    """

    source: Source | None = None
    home: Home | None = None
    checkpoints: int = 0
    damaged: bool = False
    trace_root: str | None = None

    @classmethod
    def of(cls, start: InitializeWorkflow, former: Source | None = None) -> "Lineage":
        """Return what a run was told.

        Args:
            start: With which it begins.
            former: The attempt before, if this is a workflow retry that takes over from it.
        """
        if HEADER not in start.headers:
            return NOTHING_TOLD if former is None else cls(former)
        try:
            told = cls.from_payload(start.headers[HEADER])
        except Exception:
            log.exception("the header of a run of %s cannot be read", start.workflow_type)
            return cls(damaged=True)
        if former is not None:
            root = told.trace_root
            return cls(former, told.home, told.checkpoints, told.damaged, root)
        new_work = start.continued_initiator == _CRON or (
            start.continued_initiator == _RETRY and start.cron_schedule != ""
        )
        if new_work:
            return cls(None, told.home, told.checkpoints, told.damaged)
        return told

    def of_child(self, content: str) -> "Lineage | None":
        """Return what the child that a call with this content starts is told, if anything."""
        if self.source is None:
            return Lineage(damaged=True) if self.damaged else None
        source = self.source.then(content)
        return Lineage(source, source)

    def of_continued(self, checkpoints: int) -> "Lineage":
        """Return what the run that continues this one is told."""
        source = None if self.source is None else self.source.continued()
        return Lineage(source, self.home, checkpoints, self.damaged)

    def to_payload(self) -> Payload:
        """Return the header's value."""
        return json_payload({**self.to_json(), "checkpoints": self.checkpoints})

    def to_json(self) -> Json:
        """Return all but the checkpoints, as far as there is something."""
        known = {"source": self.source, "home": self.home}
        told: Json = {name: to_json(value) for name, value in known.items() if value is not None}
        if self.trace_root is not None:
            told["trace_root"] = self.trace_root
        return {**told, "damaged": True} if self.damaged else told

    @classmethod
    def from_payload(cls, payload: Payload) -> "Lineage":
        """Return what `to_payload` wrote."""
        return cls.from_json(loads(payload.data))

    @classmethod
    def from_json(cls, value: Any) -> "Lineage":
        """Return what `to_json` wrote; other fields are not looked at."""
        if value.keys().isdisjoint(_TOLD):
            return NOTHING_TOLD  # nearly all runs, and one is read for each activity
        source, home = source_from(value.get("source")), home_from(value.get("home"))
        checkpoints, damaged = value.get("checkpoints", 0), value.get("damaged", False)
        return cls(source, home, int(checkpoints), bool(damaged), value.get("trace_root"))


_TOLD = frozenset({"source", "home", "checkpoints", "damaged", "trace_root"})
NOTHING_TOLD = Lineage()
