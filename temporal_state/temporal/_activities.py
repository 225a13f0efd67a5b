"""Every operation as an activity, so that workflow code of any language can call it.

Each takes one JSON object, the fields of its request in `requests`, and returns JSON. Called as a
local activity, one returns `LARGE` instead of a result over 64 KB; see `_budget`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity
from temporalio.common import RawValue

from temporal_state.documents import dumps
from temporal_state.errors import InvalidValueError, StateError
from temporal_state.temporal._budget import INLINE
from temporal_state.temporal._call import CURRENT_CALL
from temporal_state.temporal._failures import to_application_error
from temporal_state.temporal._wire import ACTIVITY_PREFIX, LARGE, NEVER_REUSE, from_raw, to_raw
from temporal_state.temporal.requests import REQUESTS, Request


def _activity(kind: type[Request]) -> Callable[[RawValue], Any]:
    @activity.defn(name=ACTIVITY_PREFIX + kind.operation)
    async def operation(request: RawValue) -> RawValue:
        call = CURRENT_CALL.get()
        try:
            return to_raw(await _perform(_request(kind, request)))
        except StateError as error:
            raise to_application_error(error, final=call.is_out_of_time()) from error

    operation.__doc__ = kind.__doc__
    if kind.never_reused:
        setattr(operation, NEVER_REUSE, True)
    return operation


def _request(kind: type[Request], raw: RawValue) -> Request:
    fields = from_raw(raw) or {}
    try:
        return kind(**fields)
    except TypeError as error:
        raise InvalidValueError(
            f"the argument of {kind.operation} does not have the fields of {kind.__name__} "
            f"({error}); give a JSON object that does"
        ) from error


async def _perform(request: Request) -> Any:
    call = CURRENT_CALL.get()
    result = await request.perform(call.scope(request))
    if call.info.is_local and request.reading() is not None and len(dumps(result)) > INLINE:
        return LARGE
    return result


ACTIVITIES: Sequence[Callable[..., Any]] = tuple(_activity(kind) for kind in REQUESTS)
