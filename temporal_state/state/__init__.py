"""The state of the run at hand: its own document, in workflow and activity code alike.

    from temporal_state import state

    doc = await state.update(status="loading", total=3)
    cursor = await state.get("cursor", 0)

The document belongs to the chain of runs: retries, continued, cron and reset runs share it, and an
unrelated later run of the same workflow id starts empty (`previous` reads the one before). Code
that shares state by an id of its own choosing uses `StateStore`, and `keys`, `system` and
`credentials` for what is no document of its own.

Each function raises `ContextError` where there is no run: in a script, and in an activity that no
workflow with the plugin started.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from temporal_state.documents import (
    Document,
    check_items,
    check_key_name,
    check_state,
    plain,
    plain_object,
    to_model,
)
from temporal_state.runs import Checkpoint, Source, from_plain
from temporal_state.state import runs, snapshots
from temporal_state.state._context import lineage_here, perform_here
from temporal_state.state._items import Items, SyncItems, resumable
from temporal_state.state._record import annotate, checkpoint, evaluate, progress, span
from temporal_state.state._store import StateStore, build_state_store_path, seconds
from temporal_state.state._transaction import transaction
from temporal_state.temporal import BEFORE_ACK, NEVER_REUSE, STEP_NAME, UNRECORDED
from temporal_state.temporal.requests import (
    Append,
    Get,
    Increment,
    LastCheckpoint,
    Merge,
    Patch,
    Previous,
    Read,
    Replace,
    Set,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Items",
    "StateStore",
    "SyncItems",
    "annotate",
    "append",
    "before_ack",
    "build_state_store_path",
    "checkpoint",
    "credentials",
    "evaluate",
    "get",
    "increment",
    "keys",
    "last_checkpoint",
    "load",
    "never_reuse",
    "patch",
    "previous",
    "progress",
    "read",
    "replace",
    "resumable",
    "resumed_from",
    "runs",
    "save",
    "set",
    "snapshots",
    "span",
    "step_name",
    "sync",
    "system",
    "transaction",
    "unrecorded",
    "update",
]

M = TypeVar("M", bound="BaseModel")
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


async def read() -> Document | None:
    """Return the run's own document with its version and times, or ``None``.

    The version is what ``if_version=`` of a later change takes: the change raises
    `VersionConflictError`, and changes nothing, if the document has another version by then.
    Version 0 is a document that is absent.
    """
    return Read.document_in(await perform_here(Read()))


async def set(
    key: str, value: Any, *, ttl: timedelta | None = None, if_version: int | None = None
) -> None:
    """Set one key of the run's own document; after ``ttl`` the key is gone."""
    key, value = check_key_name(key), plain(value, f"$.{key}")
    await perform_here(Set(key=key, value=value, ttl_seconds=seconds(ttl), if_version=if_version))


async def update(
    changes: Mapping[str, Any] | None = None,
    /,
    *,
    ttl: timedelta | None = None,
    if_version: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Merge into the run's own document, and return the whole of it.

    Args:
        changes: Keys and values to set.
        ttl: How long these keys live; by default until they are changed.
        if_version: Only if the document has this version; see `read`.
        **more: Further keys and values; one called ``ttl`` or ``if_version`` goes into
            ``changes``.
    """
    value = check_state({**(changes or {}), **more})
    request = Merge(value=value, ttl_seconds=seconds(ttl), if_version=if_version)
    document: dict[str, Any] = await perform_here(request)
    return document


async def replace(
    value: Mapping[str, Any], *, ttl: timedelta | None = None, if_version: int | None = None
) -> dict[str, Any]:
    """Make ``value`` the run's whole own document; after ``ttl`` it is gone."""
    request = Replace(value=check_state(value), ttl_seconds=seconds(ttl), if_version=if_version)
    document: dict[str, Any] = await perform_here(request)
    return document


async def patch(change: Mapping[str, Any], *, if_version: int | None = None) -> dict[str, Any]:
    """Apply a JSON Merge Patch to the run's own document, and return the whole of it.

    Args:
        change: A key with ``None`` is removed, an object is merged into the object that is there
            by the same rule, any other value replaces what is there.
        if_version: Only if the document has this version; see `read`.
    """
    request = Patch(value=check_state(change), if_version=if_version)
    document: dict[str, Any] = await perform_here(request)
    return document


async def increment(key: str, by: float = 1, *, if_version: int | None = None) -> int | float:
    """Add to the number under one key of the run's own document, and return the sum.

    From workflow code this is a regular activity: its arguments are durable before it runs, so
    that it counts once also where the code that repeats it would compute another amount.

    Args:
        key: The key, which keeps its lifetime; a missing one counts as 0.
        by: What to add; negative to subtract.
        if_version: Only if the document has this version; see `read`.

    Raises:
        InvalidValueError: What is there is no number, or the sum is none that JSON holds exactly.
    """
    request = Increment(key=check_key_name(key), by=plain(by, "by"), if_version=if_version)
    total: int | float = await perform_here(request)
    return total


async def append(
    key: str,
    *values: Any,
    items: Sequence[Any] = (),
    limit: int | None = None,
    if_version: int | None = None,
) -> int:
    """Append to the array under one key of the run's own document, and return its new length.

    From workflow code this is a regular activity, as `increment` is.

    Args:
        key: The key, which keeps its lifetime; a missing one counts as an empty array.
        *values: What to append, one by one.
        items: What to append after those, as a list.
        limit: Keep only that many, the newest.
        if_version: Only if the document has this version; see `read`.

    Raises:
        InvalidValueError: What is there is no array, or a value is none that JSON can hold.
    """
    new = check_items(values, items)
    request = Append(key=check_key_name(key), items=new, limit=limit, if_version=if_version)
    return int(await perform_here(request))


async def previous() -> dict[str, Any]:
    """Return the own document of the nearest earlier chain of this workflow id that has one.

    ``{}`` when there is none.
    """
    document: dict[str, Any] = await perform_here(Previous())
    return document


async def last_checkpoint() -> Checkpoint | None:
    """Return the newest checkpoint before this run, with the document at that moment.

    It is one of its chain's runs before it, by which it was continued or retried; of the first run
    of a chain, of the run that it resumes; else ``None``. In workflow code it is read once, and
    stays what it was when the run is replayed.
    """
    found = await perform_here(LastCheckpoint(number=lineage_here().checkpoints))
    return None if found is None else from_plain(Checkpoint, found)


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


async def save(value: M, *, if_version: int | None = None) -> M:
    """Merge the fields of a pydantic model into the run's own document; return the whole."""
    document = await update(plain_object(value), if_version=if_version)
    return to_model(type(value), document, "of this run")


# They are made of what is above.
from temporal_state.state import credentials, keys, sync, system  # noqa: E402
