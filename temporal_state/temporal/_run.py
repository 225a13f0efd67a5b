"""What we know of one workflow run while its code runs on this worker.

It hangs on the run's own event loop, as the SDK's own context does: that is the one thing that all
code of a run shares (main routine, handlers, tasks) and that no other run can reach.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow

from temporal_state.documents import Layout
from temporal_state.errors import ContextError
from temporal_state.temporal._budget import MarkerBudget
from temporal_state.temporal._follower import Notes
from temporal_state.temporal._names import Occurrences, digest, digest_of_arguments
from temporal_state.temporal._runner import NOTES
from temporal_state.temporal._wire import CallHeader

_ATTRIBUTE = "__temporal_state_run"


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """What workflow code needs to know of its worker's plugin.

    Attributes:
        url: Where the store lies, as it was given.
        layout: Where the application's objects lie in it.
        max_payload: Most bytes of JSON of an operation's argument or result.
        attempt_timeout: How long one attempt of an operation may take.
        operation_timeout: How long an operation may take with all its retries.
    """

    url: str
    layout: Layout
    max_payload: int
    attempt_timeout: timedelta
    operation_timeout: timedelta


@dataclass(slots=True)
class WorkflowRun:
    """One run in this worker's cache; rebuilt by replay when it was evicted."""

    settings: WorkflowSettings
    calls: Occurrences = field(default_factory=Occurrences)
    budget: MarkerBudget = field(default_factory=MarkerBudget)

    def attach(self) -> None:
        """Make this the current run for all code on the running event loop."""
        setattr(asyncio.get_running_loop(), _ATTRIBUTE, self)

    @property
    def notes(self) -> Notes | None:
        """What passes between this code and the run's follower; ``None`` if it has none."""
        function = workflow.extern_functions().get(NOTES)
        return None if function is None else function()

    @staticmethod
    def current() -> "WorkflowRun":
        """Return the run whose code is calling.

        Raises:
            ContextError: This worker has no `StatePlugin`.
        """
        run = getattr(asyncio.get_running_loop(), _ATTRIBUTE, None)
        if isinstance(run, WorkflowRun):
            return run
        raise ContextError(
            "this workflow's worker has no StatePlugin, so it cannot reach the store; create the "
            "worker (or its client) with plugins=[StatePlugin(url)]"
        )

    def header(self, activity: str, arguments: Any) -> CallHeader:
        """Return what the activity that is about to be scheduled shall know of this call."""
        info = workflow.info()
        content = digest(
            info.original_execution_run_id,
            activity,
            digest_of_arguments(workflow.payload_converter(), arguments),
        )
        step = digest(content, str(self.calls.next(content)))
        return CallHeader(
            lineage=info.original_execution_run_id,
            chain=info.first_execution_run_id,
            step=step,
            now=workflow.now(),
            started=info.workflow_start_time if self.notes is not None else None,
        )
