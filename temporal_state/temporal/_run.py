"""What we know of one workflow run while its code runs on this worker.

It hangs on the run's own event loop, as the SDK's own context does: that is the one thing that all
code of a run shares (main routine, handlers, tasks) and that no other run can reach.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow

from temporal_state.documents import Layout
from temporal_state.errors import ContextError
from temporal_state.temporal._budget import MarkerBudget
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._notes import LINEAGE, NOTES, Notes, with_metadata

_ATTRIBUTE = "__temporal_state_run"
_METADATA = "__temporal_state_metadata"


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
    _budget: MarkerBudget | None = None

    @property
    def budget(self) -> MarkerBudget:
        """The bytes that its local activities have returned."""
        if self._budget is None:
            self._budget = MarkerBudget()
        return self._budget

    def attach(self) -> None:
        """Make this the current run for all code on the running event loop."""
        setattr(asyncio.get_running_loop(), _ATTRIBUTE, self)

    @staticmethod
    def notes_here() -> Notes | None:
        """Return what passes between the calling code and its follower, if it has one."""
        function = workflow.extern_functions().get(NOTES)
        return None if function is None else function()

    @staticmethod
    def annotate_here(metadata: Mapping[str, Any]) -> None:
        """Note metadata of the run whose code is calling.

        Raises:
            TooLargeError: It is too large together with what was noted, recorded or not.
        """
        loop = asyncio.get_running_loop()
        setattr(loop, _METADATA, with_metadata(getattr(loop, _METADATA, {}), metadata))
        notes = WorkflowRun.notes_here()
        if notes is not None:
            notes.annotate(metadata)

    @staticmethod
    def lineage_here() -> Lineage:
        """Return where the calling code's run comes from."""
        function = workflow.extern_functions().get(LINEAGE)
        return Lineage() if function is None else function()

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
