"""Our errors on their way through Temporal, and back.

They leave an activity or workflow as an `ApplicationError` whose type is the class's name, not
retryable where a retry cannot help. Workflow code gets the class back, so that one ``except``
clause reads the same in a script, an activity and a workflow.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import exceptions
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from temporal_state import errors
from temporal_state.errors import StateError, StoreTimeoutError

CLASSES: dict[str, type[StateError]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, StateError)
}


@contextmanager
def as_application_errors() -> Iterator[None]:
    """Raise our errors as what Temporal carries."""
    try:
        yield
    except StateError as error:
        raise to_application_error(error) from error


def to_application_error(error: StateError, *, final: bool = False) -> ApplicationError:
    """Return the error as Temporal carries it; ``final`` if there is no time to try again."""
    return ApplicationError(
        str(error),
        *error.details,
        type=type(error).__name__,
        non_retryable=final or not error.retryable,
    )


def from_failure(error: FailureError, what: str) -> StateError | None:
    """Return the error that failed one of our activities; ``None`` if it was none of ours.

    A local activity that fails for good raises its own error, not an `ActivityError` (seen in
    SDK 1.35), so both forms are understood.
    """
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and cause.type in CLASSES:
        return CLASSES[cause.type].restored(cause.message, cause.details)
    if isinstance(cause, exceptions.TimeoutError):
        return StoreTimeoutError(
            f"{what} got no answer from the store in time, retries included; whether a change was "
            "made is unknown: read again"
        )
    return None
