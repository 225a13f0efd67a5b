"""The state of the run at hand: its own document, in workflow and activity code alike.

    from temporal_state import state

    doc = await state.update(status="loading", total=3)
    cursor = await state.get("cursor", 0)

The document belongs to the chain of runs: retries, continued, cron and reset runs share it, and an
unrelated later run of the same workflow id starts empty (`previous` reads the one before). Code
that shares state by an id of its own choosing uses `StateStore`.

Each function raises `ContextError` where there is no run: in a script, and in an activity that no
workflow with the plugin started.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, overload

from pydantic import BaseModel

from temporal_state.documents import check_key_name, check_state, plain, plain_object, to_model
from temporal_state.runs import Source
from temporal_state.state._context import lineage_here, perform_here, report_progress
from temporal_state.state._store import StateStore, build_state_store_path, seconds
from temporal_state.temporal import BEFORE_ACK, NEVER_REUSE, STEP_NAME, UNRECORDED
from temporal_state.temporal.requests import Get, Merge, Previous, Replace, Set

__all__ = [
    "StateStore",
    "before_ack",
    "build_state_store_path",
    "get",
    "load",
    "never_reuse",
    "previous",
    "progress",
    "replace",
    "resumed_from",
    "save",
    "set",
    "step_name",
    "sync",
    "unrecorded",
    "update",
]

M = TypeVar("M", bound=BaseModel)
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


@overload
async def get() -> dict[str, Any]: ...


@overload
async def get(key: str, default: Any = None) -> Any: ...


async def get(key: str | None = None, default: Any = None) -> Any:
    """Return what lies under ``key`` in the run's own document, else ``default``.

    Without a key, return the whole document, ``{}`` when there is none.
    """
    if key is None:
        return await perform_here(Get())
    found = await perform_here(Get(keys=[check_key_name(key)]))
    return found.get(key, default)


async def set(key: str, value: Any, *, ttl: timedelta | None = None) -> None:
    """Set one key of the run's own document; after ``ttl`` the key is gone."""
    value = plain(value, f"$.{key}")
    await perform_here(Set(key=check_key_name(key), value=value, ttl_seconds=seconds(ttl)))


async def update(
    changes: Mapping[str, Any] | None = None,
    /,
    *,
    ttl: timedelta | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Merge into the run's own document, and return the whole of it.

    Args:
        changes: Keys and values to set.
        ttl: How long these keys live; by default until they are changed.
        **more: Further keys and values; a key called ``ttl`` goes into ``changes``.
    """
    value = check_state({**(changes or {}), **more})
    document: dict[str, Any] = await perform_here(Merge(value=value, ttl_seconds=seconds(ttl)))
    return document


async def replace(value: Mapping[str, Any], *, ttl: timedelta | None = None) -> dict[str, Any]:
    """Make ``value`` the run's whole own document; after ``ttl`` it is gone."""
    request = Replace(value=check_state(value), ttl_seconds=seconds(ttl))
    document: dict[str, Any] = await perform_here(request)
    return document


async def previous() -> dict[str, Any]:
    """Return the own document of the nearest earlier chain of this workflow id that has one.

    ``{}`` when there is none.
    """
    document: dict[str, Any] = await perform_here(Previous())
    return document


def progress(done: float, total: float | None = None, message: str | None = None) -> None:
    """Say how far this run (or, in an activity, this step) is; nothing waits, nothing is scheduled.

    What is said goes into the automatic record, so it is lost where there is none.

    Args:
        done: How much is done, in any unit.
        total: Of how much, if that is known.
        message: A few words for people.
    """
    report_progress(plain({"done": done, "total": total, "message": message}, "progress"))


def unrecorded(workflow_class: C) -> C:
    """Mark a workflow class whose runs are not to be recorded."""
    setattr(workflow_class, UNRECORDED, True)
    return workflow_class


def never_reuse(activity: F) -> F:
    """Mark an activity that runs again in a resumed run, even if it had completed."""
    setattr(activity, NEVER_REUSE, True)
    return activity


def before_ack(activity: F) -> F:
    """Mark an activity whose result is recorded before Temporal learns that it has completed.

    An attempt that is repeated because that news was lost returns the result instead of running.
    It costs a write for each; `Recording.before_ack` asks for it for all activities of a worker.
    """
    setattr(activity, BEFORE_ACK, True)
    return activity


def step_name(name: str) -> str:
    """Return the ``activity_id`` of a step that is the same whatever its input.

    A resumed run takes the result of a step over if the activity's type and input are the same; of
    a step with a name, if type and name are: its input may have changed.
    """
    return STEP_NAME + name


def resumed_from() -> Source | None:
    """Return the run that the calling run (or activity's run) takes over from, if it was resumed.

    The source of a child workflow names the resumed run that its parent takes over from.
    """
    return lineage_here().source


async def load(model: type[M]) -> M:
    """Return the run's own document as a pydantic model.

    Raises:
        InvalidDocumentError: It does not fit; names the fields, not their values.
    """
    return to_model(model, await get(), "of this run")


async def save(value: M) -> M:
    """Merge the fields of a pydantic model into the run's own document; return the whole."""
    document = await update(plain_object(value))
    return to_model(type(value), document, "of this run")


from temporal_state.state import sync  # noqa: E402 it is made of the functions above
