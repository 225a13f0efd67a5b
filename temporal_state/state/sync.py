"""The functions of `temporal_state.state` without ``await``, for threaded activities.

They run on the event loop of the activity's worker, with the activity's own context, so tokens,
times and the own document are the same as in an async activity.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from temporalio import activity, workflow

from temporal_state import state
from temporal_state.documents import Document, Page, SystemValue
from temporal_state.errors import ContextError
from temporal_state.runs import Checkpoint
from temporal_state.state._context import attempt_here
from temporal_state.state._items import SyncItems
from temporal_state.state._sources import Check, SyncSource
from temporal_state.temporal import CURRENT_CALL

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "annotate",
    "append",
    "call",
    "get",
    "increment",
    "keys",
    "last_checkpoint",
    "load",
    "patch",
    "previous",
    "progress",
    "read",
    "replace",
    "resumable",
    "save",
    "set",
    "span",
    "system",
    "update",
]

T = TypeVar("T")
M = TypeVar("M", bound="BaseModel")

annotate = state.annotate
progress = state.progress
span = state.span


def call(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns, such as ``call(StateStore.get_state(...))``.

    A cancellation of the activity waits until it is done.

    Raises:
        ContextError: Not called from a threaded activity.
    """
    try:
        loop = _loop()
    except ContextError:
        coroutine.close()
        raise
    with activity.shield_thread_cancel_exception():
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


@overload
def get() -> dict[str, Any]: ...


@overload
def get(key: str, default: Any = None) -> Any: ...


def get(key: str | None = None, default: Any = None) -> Any:
    """See `state.get`."""
    return call(state.get() if key is None else state.get(key, default))


def read() -> Document | None:
    """See `state.read`."""
    return call(state.read())


def set(
    key: str, value: Any, *, ttl: timedelta | None = None, if_version: int | None = None
) -> None:
    """See `state.set`."""
    call(state.set(key, value, ttl=ttl, if_version=if_version))


def update(
    changes: Mapping[str, Any] | None = None,
    /,
    *,
    ttl: timedelta | None = None,
    if_version: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """See `state.update`."""
    return call(state.update(changes, ttl=ttl, if_version=if_version, **more))


def replace(
    value: Mapping[str, Any], *, ttl: timedelta | None = None, if_version: int | None = None
) -> dict[str, Any]:
    """See `state.replace`."""
    return call(state.replace(value, ttl=ttl, if_version=if_version))


def patch(change: Mapping[str, Any], *, if_version: int | None = None) -> dict[str, Any]:
    """See `state.patch`."""
    return call(state.patch(change, if_version=if_version))


def increment(key: str, by: float = 1, *, if_version: int | None = None) -> int | float:
    """See `state.increment`."""
    return call(state.increment(key, by, if_version=if_version))


def append(
    key: str,
    *values: Any,
    items: Sequence[Any] = (),
    limit: int | None = None,
    if_version: int | None = None,
) -> int:
    """See `state.append`."""
    return call(state.append(key, *values, items=items, limit=limit, if_version=if_version))


def previous() -> dict[str, Any]:
    """See `state.previous`."""
    return call(state.previous())


def last_checkpoint() -> Checkpoint | None:
    """See `state.last_checkpoint`."""
    return call(state.last_checkpoint())


def load(model: type[M]) -> M:
    """See `state.load`."""
    return call(state.load(model))


def save(value: M, *, if_version: int | None = None) -> M:
    """See `state.save`."""
    return call(state.save(value, if_version=if_version))


class keys:  # noqa: N801 it stands for a module
    """The functions of `state.keys` without ``await``."""

    @staticmethod
    def set(name: str, value: Any, *, ttl: timedelta | None = None) -> None:
        """See `state.keys.set`."""
        call(state.keys.set(name, value, ttl=ttl))

    @staticmethod
    def get(name: str) -> Any:
        """See `state.keys.get`."""
        return call(state.keys.get(name))

    @staticmethod
    def exists(name: str) -> bool:
        """See `state.keys.exists`."""
        return call(state.keys.exists(name))

    @staticmethod
    def delete(name: str) -> bool:
        """See `state.keys.delete`."""
        return call(state.keys.delete(name))

    @staticmethod
    def expire(*, limit: int = 1000) -> int:
        """See `state.keys.expire`."""
        return call(state.keys.expire(limit=limit))

    @staticmethod
    def list(prefix: str = "", *, limit: int = 100, cursor: str | None = None) -> Page:
        """See `state.keys.list`."""
        return call(state.keys.list(prefix, limit=limit, cursor=cursor))


class system:  # noqa: N801 it stands for a module
    """The functions of `state.system` without ``await``."""

    @staticmethod
    def set(key: str, value: Any) -> None:
        """See `state.system.set`."""
        call(state.system.set(key, value))

    @staticmethod
    def get(key: str) -> SystemValue | None:
        """See `state.system.get`."""
        return call(state.system.get(key))


def resumable(
    items: SyncSource[T],
    *,
    every: int = 100,
    interval: timedelta = timedelta(seconds=5),
    name: str | None = None,
    initial: Any = None,
    check: Check = "length",
) -> SyncItems[T]:
    """Return items for ``for``; see `state.resumable`."""
    _loop()
    return SyncItems(
        attempt_here(),
        items,
        wait=call,
        every=every,
        interval=interval,
        name=name,
        initial=initial,
        check=check,
    )


def _loop() -> asyncio.AbstractEventLoop:
    if workflow.in_workflow():
        raise ContextError("workflow code cannot wait without await; use state, not state.sync")
    current = CURRENT_CALL.get(None) if activity.in_activity() else None
    if current is None:
        raise ContextError(
            "state.sync works in threaded activities of a worker with the StatePlugin; in an "
            "activity of a process pool pass what it needs as arguments and results, and save it "
            "in the workflow or in an async activity"
        )
    if _running() is current.loop:
        raise ContextError("an async activity must not block its worker's loop; await state's own")
    return current.loop


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
