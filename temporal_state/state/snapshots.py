"""Snapshots by the names of `StateBackend.snapshots`, in workflow and activity code too.

await state.snapshots.create("before-load")           # of this run's own document
await state.snapshots.restore("before-load")
"""

from collections.abc import Mapping
from typing import Any

from temporal_state.documents import StateType, check_id, check_type, plain_object
from temporal_state.runs import Listed, Snapshot, from_plain
from temporal_state.state._context import perform_here
from temporal_state.temporal.requests import (
    CreateSnapshot,
    DeleteSnapshot,
    ListSnapshots,
    LoadSnapshot,
    RestoreSnapshot,
)

__all__ = ["create", "delete", "list", "load", "restore"]


async def create(
    name: str,
    *,
    document: tuple[str, str] | str | None = None,
    run: str | None = None,
    run_id: str | None = None,
    namespace: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Snapshot:
    """Keep the present state of a document or a run under a name; see `Snapshots.create`.

    With neither ``document`` nor ``run``, it is of the calling run's own document. The snapshot is
    returned without its state, which `load` reads.
    """
    id, type = document if isinstance(document, tuple) else (document, StateType.WORKFLOWS)
    request = CreateSnapshot(
        name=check_id(name, "snapshot"),
        id=id,
        type=check_type(type),
        workflow_id=run,
        run_id=run_id,
        namespace=namespace,
        metadata=None if metadata is None else plain_object(dict(metadata), "metadata"),
        replace=replace,
    )
    return _snapshot(await perform_here(request))


async def load(name: str) -> Snapshot | None:
    """Return a snapshot with its state, or ``None`` if there is none."""
    found = await perform_here(LoadSnapshot(name=check_id(name, "snapshot")))
    return None if found is None else _snapshot(found)


async def list(
    *, prefix: str = "", limit: int = 100, cursor: str | None = None
) -> Listed[Snapshot]:
    """Return snapshots without their states, a page at a time; see `Snapshots.list`."""
    page = await perform_here(ListSnapshots(prefix=prefix, limit=limit, cursor=cursor))
    return Listed([_snapshot(one) for one in page["items"]], page["cursor"])


async def restore(name: str, *, actor: str | None = None) -> int:
    """Write a snapshot back as a new version of its document; return the version."""
    request = RestoreSnapshot(name=check_id(name, "snapshot"), actor=actor)
    return int((await perform_here(request))["version"])


async def delete(name: str, *, actor: str | None = None) -> bool:
    """Delete a snapshot; return whether there was one."""
    request = DeleteSnapshot(name=check_id(name, "snapshot"), actor=actor)
    return bool(await perform_here(request))


def _snapshot(value: Mapping[str, Any]) -> Snapshot:
    return from_plain(Snapshot, {**value, "state": value["state"] or {}})
