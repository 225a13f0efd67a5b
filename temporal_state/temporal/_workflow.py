"""How workflow code performs an operation: as an activity, recorded, retried, applied once.

A local one, because an operation takes about a millisecond and a regular activity costs three
events and two round trips more. Only large results come by a regular one (see `_budget`), and
operations that say so themselves.
"""

from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import FailureError

from temporal_state.documents import dumps
from temporal_state.errors import TooLargeError
from temporal_state.temporal._failures import from_failure
from temporal_state.temporal._run import WorkflowRun, WorkflowSettings
from temporal_state.temporal._wire import ACTIVITY_PREFIX, LARGE, from_raw, retry_policy, to_raw
from temporal_state.temporal.requests import Request


async def perform_in_workflow(request: Request) -> Any:
    """Schedule the operation, wait for it, and return its JSON result.

    Raises:
        TooLargeError: The argument would not pass through Temporal; nothing was scheduled.
        StateError: What the operation raised, as the same class.
    """
    run = WorkflowRun.current()
    _check_size(request, run.settings.max_payload)
    reading = request.reading()
    try:
        if request.regular:
            return await _regular(request, run.settings)
        if reading is None:
            return await _local(request, run.settings)
        result = await run.budget.spend(
            lambda: _local(request, run.settings), lambda: _regular(request, run.settings)
        )
        return await _regular(reading, run.settings) if result == LARGE else result
    except FailureError as error:
        ours = from_failure(error, request.operation)
        if ours is None:
            raise
        raise ours from error


def _check_size(request: Request, limit: int) -> None:
    size = len(dumps(vars(request)))
    if size > limit:
        raise TooLargeError(
            f"the argument of {request.operation} has {size} bytes of JSON, the limit is {limit}; "
            "keep large data elsewhere, and store where it lies"
        )


async def _local(request: Request, settings: WorkflowSettings) -> Any:
    return from_raw(
        await workflow.execute_local_activity(
            _name(request),
            to_raw(vars(request)),
            result_type=RawValue,
            start_to_close_timeout=settings.attempt_timeout,
            schedule_to_close_timeout=settings.operation_timeout,
            retry_policy=retry_policy(settings.operation_timeout),
        )
    )


async def _regular(request: Request, settings: WorkflowSettings) -> Any:
    attempt = settings.operation_timeout if request.lengthy else settings.attempt_timeout
    return from_raw(
        await workflow.execute_activity(
            _name(request),
            to_raw(vars(request)),
            result_type=RawValue,
            start_to_close_timeout=attempt,
            schedule_to_close_timeout=settings.operation_timeout,
            retry_policy=retry_policy(settings.operation_timeout),
        )
    )


def _name(request: Request) -> str:
    return ACTIVITY_PREFIX + request.operation
