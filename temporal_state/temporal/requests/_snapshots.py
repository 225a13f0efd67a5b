"""Snapshots of documents, and of the own document of the calling run."""

from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

from temporal_state.runs import Snapshot, to_plain
from temporal_state.temporal.requests._base import Request, Scope, request

if TYPE_CHECKING:
    from temporal_state.runs import Snapshots


@request
class CreateSnapshot(Request):
    """Keep the state of a document or run under a name. Returns its fields, but for the state.

    Attributes:
        name: Its name.
        id: The id of the document, and ...
        type: ... its type.
        workflow_id: Or whose run's own document; without both, the calling run's.
        run_id: Which run of that workflow; by default the newest.
        namespace: Temporal's namespace; by default the calling run's.
        metadata: What else to note.
        replace: Whether to replace one of this name.
    """

    operation = "snapshots.create"
    changes = True
    _: KW_ONLY
    name: str
    id: str | None = None
    type: str = "workflows"
    workflow_id: str | None = None
    run_id: str | None = None
    namespace: str | None = None
    metadata: dict[str, Any] | None = None
    replace: bool = False

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        made = await self._made(scope, scope.backend.snapshots.on_behalf_of(scope.caller))
        return {**to_plain(made), "state": None}

    async def _made(self, scope: Scope, snapshots: "Snapshots") -> Snapshot:
        metadata, replace, call = self.metadata, self.replace, scope.call_name()
        if self.id is None and self.workflow_id is None:
            run, home = scope.recorded_run("a snapshot without id and workflow_id"), scope.own()
            return await snapshots.create_of(
                self.name,
                run.ref,
                home,
                run.workflow_type,
                metadata=metadata,
                replace=replace,
                call=call,
            )
        return await snapshots.create(
            self.name,
            document=None if self.id is None else (self.id, self.type),
            run=self.workflow_id,
            run_id=self.run_id,
            namespace=self.namespace or scope.namespace,
            metadata=metadata,
            replace=replace,
            call=call,
        )


@request
class LoadSnapshot(Request):
    """Read a snapshot. Returns its fields, or nothing when there is none."""

    operation = "snapshots.load"
    _: KW_ONLY
    name: str

    def reading(self) -> "Request":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.snapshots.load(self.name)
        return scope.fitting(to_plain(found), f"snapshot {self.name!r} is too large")


@request
class ListSnapshots(Request):
    """List snapshots without their states. Returns ``{"items": [...], "cursor": ...}``."""

    operation = "snapshots.list"
    _: KW_ONLY
    prefix: str = ""
    limit: int = 100
    cursor: str | None = None

    def reading(self) -> "Request":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        page = await scope.backend.snapshots.list(
            prefix=self.prefix, limit=self.limit, cursor=self.cursor
        )
        items = [{**to_plain(one), "state": None} for one in page]
        result = {"items": items, "cursor": page.cursor}
        return scope.fitting(result, f"a page of {self.limit} snapshots is too large")


@request
class RestoreSnapshot(Request):
    """Write a snapshot back as a new version of its document. Returns ``{"version": ...}``."""

    operation = "snapshots.restore"
    changes = True
    _: KW_ONLY
    name: str
    actor: str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        snapshots = scope.backend.snapshots.on_behalf_of(scope.caller)
        return {"version": (await snapshots.restore(self.name, actor=self.actor)).version}


@request
class DeleteSnapshot(Request):
    """Delete a snapshot. Returns whether there was one."""

    operation = "snapshots.delete"
    changes = True
    _: KW_ONLY
    name: str
    actor: str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.snapshots.delete(self.name, actor=self.actor)
