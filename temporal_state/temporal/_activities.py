"""Every operation as an activity, so that workflow code of any language can call it.

Called as a local activity, one returns `LARGE` instead of a result over 64 KB; see `_budget`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity

from temporal_state.documents import dumps
from temporal_state.errors import StateError
from temporal_state.temporal._budget import INLINE
from temporal_state.temporal._call import CURRENT_CALL
from temporal_state.temporal._failures import to_application_error
from temporal_state.temporal._operations import perform
from temporal_state.temporal._wire import (
    ACTIVITY_PREFIX,
    LARGE,
    Delete,
    Exists,
    Get,
    List,
    Merge,
    Previous,
    Replace,
    Request,
    Set,
)


@activity.defn(name=f"{ACTIVITY_PREFIX}get")
async def get(request: Get) -> dict[str, Any]:
    """Return a document's state, or of it what lies under the keys asked for."""
    result: dict[str, Any] = await _perform(request)
    return result


@activity.defn(name=f"{ACTIVITY_PREFIX}exists")
async def exists(request: Exists) -> bool:
    """Return whether there is a document."""
    return bool(await _perform(request))


@activity.defn(name=f"{ACTIVITY_PREFIX}list")
async def list_ids(request: List) -> dict[str, Any]:
    """Return a page of ids."""
    result: dict[str, Any] = await _perform(request)
    return result


@activity.defn(name=f"{ACTIVITY_PREFIX}previous")
async def previous(request: Previous) -> dict[str, Any]:
    """Return the own document of the chain of runs before the calling one."""
    result: dict[str, Any] = await _perform(request)
    return result


@activity.defn(name=f"{ACTIVITY_PREFIX}set")
async def set_key(request: Set) -> None:
    """Set one key of a document."""
    await _perform(request)


@activity.defn(name=f"{ACTIVITY_PREFIX}merge")
async def merge(request: Merge) -> dict[str, Any]:
    """Merge into a document; return the whole of it."""
    result: dict[str, Any] = await _perform(request)
    return result


@activity.defn(name=f"{ACTIVITY_PREFIX}replace")
async def replace(request: Replace) -> dict[str, Any]:
    """Replace a document; return the whole of it."""
    result: dict[str, Any] = await _perform(request)
    return result


@activity.defn(name=f"{ACTIVITY_PREFIX}delete")
async def delete(request: Delete) -> bool:
    """Delete a document; return whether there was one."""
    return bool(await _perform(request))


ACTIVITIES: Sequence[Callable[..., Any]] = (
    get,
    exists,
    list_ids,
    previous,
    set_key,
    merge,
    replace,
    delete,
)


async def _perform(request: Request) -> Any:
    call = CURRENT_CALL.get()
    try:
        result = await perform(call.backend, request, call.caller(request), call.own())
    except StateError as error:
        raise to_application_error(error, final=call.is_out_of_time()) from error
    if call.info.is_local and request.reading() is not None and len(dumps(result)) > INLINE:
        return LARGE
    return result
