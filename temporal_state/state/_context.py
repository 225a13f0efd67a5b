"""One call, three contexts: the single place that asks where it is called from."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporalio import activity, workflow

from temporal_state.documents import Caller, Layout
from temporal_state.errors import ContextError
from temporal_state.storage import join_location
from temporal_state.temporal import (
    CURRENT_CALL,
    ActivityCall,
    Lineage,
    WorkflowRun,
    perform_in_workflow,
)
from temporal_state.temporal.requests import Request, Scope

if TYPE_CHECKING:
    from temporal_state.backend import StateBackend

# The process's default store is imported where it is used: never in workflow code, whose import of
# this module should cost little, and on a worker only where the plugin is not.


async def perform_here(request: Request) -> Any:
    """Perform an operation as the calling code's context demands.

    In workflow code by an activity; in an activity on its worker's store; elsewhere on the
    process's default store, as in an activity of a worker without our plugin.
    """
    request.check()
    if workflow.in_workflow():
        return await perform_in_workflow(request)
    if (call := _call()) is not None:
        return await request.perform(call.scope(request))
    from temporal_state._default import open_default_backend  # noqa: PLC0415 as above

    return await request.perform(Scope(await open_default_backend(), Caller(), None))


def now_here() -> datetime:
    """Return the present time by the clock of the calling code."""
    if workflow.in_workflow():
        return workflow.now()
    return call.now() if (call := _call()) is not None else _backend().documents.engine.now()


def recorded_call(what: str) -> ActivityCall:
    """Return the activity that the calling code runs for, whether or not it is recorded.

    Raises:
        ContextError: None is known here.
    """
    call = CURRENT_CALL.get(None)
    if call is None:
        raise ContextError(
            f"{what} belongs to a run or a step, and none is known here: call this in a workflow "
            "or activity whose worker has the StatePlugin; elsewhere use StateBackend.runs"
        )
    return call


def lineage_here() -> Lineage:
    """Return where the calling run comes from; nothing is known of it outside of Temporal."""
    if workflow.in_workflow():
        return WorkflowRun.lineage_here()
    call = CURRENT_CALL.get(None) if activity.in_activity() else None
    return call.header.lineage if call is not None and call.header is not None else Lineage()


def attempt_here() -> ActivityCall:
    """Return the attempt of an activity that the calling code runs for.

    Raises:
        ContextError: It runs for none.
    """
    call = _call() if activity.in_activity() and not workflow.in_workflow() else None
    if call is None:
        raise ContextError(
            "a resumable loop belongs to an activity, and none whose worker has the StatePlugin is "
            "known here: call this in one; workflow code resumes by itself, and needs no such loop"
        )
    return call


def is_on_loop(call: ActivityCall) -> bool:
    """Return whether the calling code runs on the event loop of the activity's worker."""
    try:
        return asyncio.get_running_loop() is call.loop
    except RuntimeError:
        return False


def _call() -> ActivityCall | None:
    if not activity.in_activity():
        return None
    call = CURRENT_CALL.get(None)
    from temporal_state._default import is_configured  # noqa: PLC0415 as above

    if call is None and not is_configured():
        # Its worker's store is meant; another one would take the change and hide it.
        raise ContextError(
            "this activity's worker has no StatePlugin, or it runs in a process pool, where the "
            "plugin's store cannot be reached: save its result in the workflow or in an async "
            "activity, or call configure(url) in this process"
        )
    return call


def location(id: str, type: str) -> str:
    """Return where a document lies in the store that the calling code uses."""
    url, layout = _store_here()
    return join_location(url, layout.document(id, type).key)


def _store_here() -> tuple[str, Layout]:
    if workflow.in_workflow():
        settings = WorkflowRun.current().settings
        return settings.url, settings.layout
    if (call := _call()) is not None:
        return call.backend.url, call.backend.layout
    backend = _backend()
    return backend.url, backend.layout


def _backend() -> "StateBackend":
    from temporal_state._default import default_backend  # noqa: PLC0415 as above

    return default_backend()
