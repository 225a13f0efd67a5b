"""What a follower has seen, how it is looked at, and what is known of its run from the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.workflow import Info

from temporal_state.documents import to_text
from temporal_state.runs import Json
from temporal_state.temporal._capture import CaptureSettings
from temporal_state.temporal._events import Event
from temporal_state.temporal._lineage import Lineage


@dataclass(frozen=True, slots=True)
class ObserverSettings:
    """How runs are followed.

    Attributes:
        capture: Which values are kept.
        every: A checkpoint after so many closed steps, ...
        interval: ... and after this long, if any step was closed since.
        worker: The identity of this worker.
        on_retry: Whether an attempt by the workflow's retry policy takes over from the one before.
    """

    capture: CaptureSettings
    every: int
    interval: timedelta
    worker: str
    on_retry: bool = False


class Seen(NamedTuple):
    """One activation, what the workflow answered, and what its code had noted by then.

    The commands themselves are there if one of them is to be told something.
    """

    act: WorkflowActivation
    events: Sequence[Event | None]
    commands: Sequence[WorkflowCommand]
    lineage: Lineage
    time: datetime
    progress: Json | None
    metadata: Json


def fixed_header(info: Info) -> Json:
    """Return the part of a run's header that stays as it is."""
    return {
        "kind": "workflow",
        "namespace": info.namespace,
        "workflow_id": info.workflow_id,
        "run_id": info.run_id,
        "workflow_type": info.workflow_type,
        "task_queue": info.task_queue,
        "attempt": info.attempt,
        "chain": info.first_execution_run_id,
        "original": info.original_execution_run_id,
        "continued_from": info.continued_run_id,
        "cron": info.cron_schedule,
        "parent": vars(info.parent) if info.parent else None,
        "started": to_text(info.workflow_start_time),
        "lost": 0,
    }
