"""What is asked of Temporal about runs: at a bounded pace, and past the SDK's own words.

The SDK's descriptions and lists fail for a status that they do not know, such as that of a paused
run; so the service is asked.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from temporal_state.temporal._history import History
from temporal_state.temporal._history_events import Subject

RUNNING, PAUSED = 1, 8
ENDS = {
    2: "completed",
    3: "failed",
    4: "cancelled",
    5: "terminated",
    6: "continued_as_new",
    7: "timed_out",
}
"""Statuses of Temporal, as records name them."""


@dataclass(slots=True)
class Pace:
    """Lets so many calls pass in a second, evenly."""

    per_second: float = 10
    calls: int = 0
    _next: float = 0

    async def turn(self) -> None:
        """Wait until the next call may be made."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next)
        self._next = at + 1 / self.per_second
        self.calls += 1
        await asyncio.sleep(at - now)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Asks about the runs of a client's namespace."""

    client: Client
    pace: Pace

    async def history(self, workflow_id: str, run_id: str) -> History | None:
        """Return what the history of a run says; ``None`` if the server does not know it."""
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        history = History(Subject(self.client.namespace, workflow_id))
        events = handle.fetch_history_events()
        while history.now.clock == 0 or events.next_page_token:
            await self.pace.turn()
            try:
                await events.fetch_next_page()
            except RPCError as error:
                if _is_unknown(error):
                    return None
                raise
            for event in events.current_page or ():
                history.see(event)
        return history

    async def listed(self, query: str) -> AsyncIterator[WorkflowExecutionInfo]:
        """Yield the runs that a query finds, as far as the server has listed them by now."""
        # Not by the SDK's own list, whose statuses do not have all that a server says.
        token = b""
        while True:
            await self.pace.turn()
            request = ListWorkflowExecutionsRequest(
                namespace=self.client.namespace, query=query, page_size=200, next_page_token=token
            )
            try:
                page = await self.client.workflow_service.list_workflow_executions(
                    request, retry=True
                )
            except RPCError as error:
                if error.status == RPCStatusCode.UNIMPLEMENTED:
                    return  # the time-skipping server's; each run is asked for on its own
                raise
            for info in page.executions:
                yield info
            token = page.next_page_token
            if not token:
                return

    async def described(self, workflow_id: str, run_id: str) -> WorkflowExecutionInfo | None:
        """Return what the server says of a run, by default the newest; ``None``: unknown."""
        # Not by the SDK's own call, whose statuses do not have all that a server says.
        request = DescribeWorkflowExecutionRequest(namespace=self.client.namespace)
        request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
        await self.pace.turn()
        try:
            found = await self.client.workflow_service.describe_workflow_execution(
                request, retry=True
            )
        except RPCError as error:
            if _is_unknown(error):
                return None
            raise
        return found.workflow_execution_info


def _is_unknown(error: RPCError) -> bool:
    # An id that was made by hand may be none that Temporal takes.
    return error.status in {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}
