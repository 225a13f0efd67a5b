"""How workflow code performs an operation: as a local activity, recorded, retried, applied once.

Local, because an operation takes about a millisecond and a remote activity costs three events and
two round trips more. Which operation is local is part of the history of every workflow that uses
it, so it never changes.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from temporal_state.documents import dumps
from temporal_state.errors import TooLargeError
from temporal_state.temporal._failures import from_activity_error
from temporal_state.temporal._run import WorkflowRun
from temporal_state.temporal._wire import ACTIVITY_PREFIX, Request

_RETRY_POLICY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5)
)


async def perform_in_workflow(request: Request) -> Any:
    """Schedule the operation, wait for it, and return its JSON result.

    Raises:
        TooLargeError: The argument would not pass through Temporal; nothing was scheduled.
        StateError: What the operation raised, as the same class.
    """
    settings = WorkflowRun.current().settings
    size = len(dumps(asdict(request)))  # type: ignore[call-overload]
    if size > settings.max_payload:
        raise TooLargeError(
            f"the argument of {request.operation} has {size} bytes of JSON, the limit is "
            f"{settings.max_payload}; call it from an activity, or keep large data elsewhere"
        )
    try:
        return await workflow.execute_local_activity(
            ACTIVITY_PREFIX + request.operation,
            request,
            start_to_close_timeout=settings.attempt_timeout,
            schedule_to_close_timeout=settings.operation_timeout,
            retry_policy=_RETRY_POLICY,
        )
    except ActivityError as error:
        raise from_activity_error(error, request.operation) from error
