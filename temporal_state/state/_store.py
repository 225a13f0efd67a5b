"""`StateStore`: documents by id, called the same way in workflows, activities and scripts.

The first three methods, their parameter names and their results are those of the state store that
Temporal applications in Python already use, to the letter.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporal_state.documents import (
    KEY_PREFIX,
    DeletedState,
    Document,
    Page,
    StateType,
    check_id,
    check_items,
    check_key_name,
    check_state,
    check_type,
    plain,
    plain_object,
    to_model,
)
from temporal_state.state._context import location, perform_here
from temporal_state.temporal.requests import (
    Append,
    Delete,
    DeleteExecutionState,
    Exists,
    Get,
    Increment,
    List,
    Merge,
    Patch,
    Read,
    Replace,
    Set,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


class StateStore:
    """Documents of JSON, found by type and id, shared by all code that knows the id.

    Every method raises `PathTraversalError` (a ``ValueError``) for an id that tries to escape,
    before any I/O; `InvalidValueError` (a ``ValueError``) for values that JSON cannot hold; and
    `StoreError` (an ``OSError``) when the store fails. An unreadable store is never ``{}``.
    """

    @classmethod
    async def get_state(cls, id: str, type: str) -> dict[str, Any]:
        """Return the state, ``{}`` when there is none."""
        state: dict[str, Any] = await perform_here(Get(id=check_id(id), type=check_type(type)))
        return state

    @classmethod
    async def read_state(cls, id: str, type: str) -> Document | None:
        """Return the state with its version and times, or ``None`` when there is none.

        The version is what ``if_version=`` of a later change takes: the change raises
        `VersionConflictError`, and changes nothing, if the document has another version by then.
        Version 0 is a document that is absent, or a plain file of another tool.
        """
        request = Read(id=check_id(id), type=check_type(type))
        return Read.document_in(await perform_here(request))

    @classmethod
    async def save_state(
        cls,
        key: str,
        value: Any,
        id: str,
        type: str,
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> None:
        """Set one key of the state, keep the others.

        Args:
            key: The top-level key.
            value: Any JSON value, or what pydantic's JSON mode makes one.
            id: The document's id.
            type: A `StateType`, or a type of your own.
            ttl: How long the key lives; by default until it is changed.
            if_version: Only if the document has this version; see `read_state`.
        """
        await perform_here(
            Set(
                key=check_key_name(key),
                value=plain(value, f"$.{key}"),
                id=check_id(id),
                type=check_type(type),
                ttl_seconds=seconds(ttl),
                if_version=if_version,
            )
        )

    @classmethod
    async def save_state_object(
        cls,
        id: str,
        value: Mapping[str, Any],
        type: str,
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Set each key of ``value``, keep the others; return the whole state.

        Args:
            id: The document's id.
            value: What to merge into the state.
            type: A `StateType`, or a type of your own.
            ttl: How long the keys of ``value`` live; by default until they are changed.
            if_version: Only if the document has this version; see `read_state`.
        """
        state: dict[str, Any] = await perform_here(
            Merge(
                value=check_state(value),
                id=check_id(id),
                type=check_type(type),
                ttl_seconds=seconds(ttl),
                if_version=if_version,
            )
        )
        return state

    @classmethod
    async def replace_state(
        cls,
        id: str,
        value: Mapping[str, Any],
        type: str,
        *,
        ttl: timedelta | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any]:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        state: dict[str, Any] = await perform_here(
            Replace(
                value=check_state(value),
                id=check_id(id),
                type=check_type(type),
                ttl_seconds=seconds(ttl),
                if_version=if_version,
            )
        )
        return state

    @classmethod
    async def patch_state(
        cls, id: str, change: Mapping[str, Any], type: str, *, if_version: int | None = None
    ) -> dict[str, Any]:
        """Apply a JSON Merge Patch to the state; return the whole; see `state.patch`."""
        state: dict[str, Any] = await perform_here(
            Patch(
                value=check_state(change),
                id=check_id(id),
                type=check_type(type),
                if_version=if_version,
            )
        )
        return state

    @classmethod
    async def increment_state(
        cls, key: str, id: str, type: str, *, by: float = 1, if_version: int | None = None
    ) -> int | float:
        """Add to the number under one key; return the sum; see `state.increment`."""
        total: int | float = await perform_here(
            Increment(
                key=check_key_name(key),
                by=plain(by, "by"),
                id=check_id(id),
                type=check_type(type),
                if_version=if_version,
            )
        )
        return total

    @classmethod
    async def append_state(
        cls,
        key: str,
        items: Sequence[Any],
        id: str,
        type: str,
        *,
        limit: int | None = None,
        if_version: int | None = None,
    ) -> int:
        """Append to the array under one key; return its new length; see `state.append`."""
        length: int = await perform_here(
            Append(
                key=check_key_name(key),
                items=check_items((), items),
                id=check_id(id),
                type=check_type(type),
                limit=limit,
                if_version=if_version,
            )
        )
        return length

    @classmethod
    async def delete_state(cls, id: str, type: str, *, if_version: int | None = None) -> bool:
        """Delete the document; return whether there was one."""
        request = Delete(id=check_id(id), type=check_type(type), if_version=if_version)
        return bool(await perform_here(request))

    @classmethod
    async def state_exists(cls, id: str, type: str) -> bool:
        """Return whether there is a document that has not expired."""
        return bool(await perform_here(Exists(id=check_id(id), type=check_type(type))))

    @classmethod
    async def list_states(
        cls, type: str, prefix: str = "", *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        """Return the ids of a type that start with ``prefix``, a page at a time.

        Args:
            type: The type of the documents.
            prefix: What their ids start with; empty for all.
            limit: At most that many ids, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        page = await perform_here(List(check_type(type), prefix, limit, cursor))
        return Page(page["ids"], page["cursor"])

    @classmethod
    async def delete_execution_state(
        cls,
        id: str,
        *,
        types: Sequence[str] = (StateType.WORKFLOWS,),
        key_prefix: str = KEY_PREFIX,
    ) -> DeletedState:
        """Delete what is kept for an execution, and return how much there was.

        Args:
            id: The execution's id.
            types: The types of documents of which the one with this id goes.
            key_prefix: The key with this name goes, and those whose names go on with a colon;
                ``{id}`` stands for the id. So ``exec:1`` leaves ``exec:10``.
        """
        request = DeleteExecutionState(
            check_id(id), types=[check_type(type) for type in types], key_prefix=key_prefix
        )
        return DeletedState(**await perform_here(request))

    @classmethod
    async def load_state(cls, id: str, model: type[M], type: str) -> M:
        """Return the state as a pydantic model.

        Raises:
            InvalidDocumentError: It does not fit; names the fields, not their values.
        """
        return to_model(model, await cls.get_state(id, type), f"{type}/{id}")

    @classmethod
    async def save_model(cls, id: str, value: M, type: str, *, if_version: int | None = None) -> M:
        """Merge the fields of a pydantic model into the state; return the whole as that model."""
        change = plain_object(value)
        state = await cls.save_state_object(id, change, type, if_version=if_version)
        return to_model(value.__class__, state, f"{type}/{id}")


def build_state_store_path(id: str, state_type: str) -> str:
    """Return where a document lies: a path for local files, otherwise a URL.

    Args:
        id: The document's id.
        state_type: A `StateType`, or a type of your own.

    Raises:
        PathTraversalError: ``id`` tries to escape from its place.

    Example:
        >>> build_state_store_path("workflow-123", StateType.WORKFLOWS)
        './local/tmp/persistent-artifacts/apps/default/workflows/workflow-123/config.json'
    """
    return location(check_id(id), check_type(state_type))


def seconds(ttl: timedelta | None) -> float | None:
    """Return a lifetime as requests carry it."""
    return None if ttl is None else ttl.total_seconds()


__all__ = ["StateStore", "StateType", "build_state_store_path"]
