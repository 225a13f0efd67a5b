"""``snapshot create``, ``list`` and ``delete``, and ``restore``."""

from typing import Annotated

import typer

from temporal_state.cli._models import DocumentShape, SnapshotName, SnapshotShape
from temporal_state.cli._options import DocumentType, Limit, RunId
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import time_text, value_text
from temporal_state.documents import StateType
from temporal_state.errors import NotRecordedError
from temporal_state.runs import Snapshot

Name = Annotated[str, typer.Argument(metavar="NAME", help="The snapshot's name.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Keep the state of documents and runs under a name.")
    group.command("create")(create)
    group.command("list")(list_snapshots)
    group.command("delete")(delete)
    app.add_typer(group, name="snapshot")
    app.command("restore")(restore)


def create(
    ctx: typer.Context,
    name: Name,
    *,
    document: Annotated[str | None, typer.Option(help="Of the document with this id.")] = None,
    type: DocumentType = StateType.WORKFLOWS,
    run: Annotated[str | None, typer.Option(help="Of a run of the workflow with this id.")] = None,
    run_id: RunId = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a snapshot of this name.")
    ] = False,
) -> None:
    """Keep the present state of a document or of a run."""
    if (document is None) == (run is None):
        raise typer.BadParameter("give --document or --run, one of the two")

    async def work(session: Session) -> None:
        snapshot = await session.backend.snapshots.create(
            name,
            document=None if document is None else (document, type),
            run=run,
            run_id=run_id,
            namespace=session.namespace,
            replace=replace,
        )
        if session.out.json:
            session.out.document(SnapshotShape.of(snapshot))
        else:
            session.out.say(f"kept {_source(snapshot)} as {name}")

    perform(ctx, work)


def list_snapshots(
    ctx: typer.Context,
    *,
    prefix: Annotated[str, typer.Option(help="Only names that start so.")] = "",
    limit: Limit = 100,
) -> None:
    """List snapshots by name."""

    async def work(session: Session) -> None:
        found = await session.backend.snapshots.list(prefix=prefix, limit=limit)
        if session.out.json:
            session.out.lines(map(SnapshotShape.of, found))
        else:
            rows = ((s.name, time_text(s.time), _source(s), value_text(s.state)) for s in found)
            session.out.table(("name", "time", "of", "state"), rows)
        if found.cursor is not None:
            session.out.say("there are more; give --prefix or --limit")

    perform(ctx, work)


def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a snapshot."""

    async def work(session: Session) -> None:
        session.out.confirm(f"delete the snapshot {name}?")
        if not await session.backend.snapshots.delete(name, actor=session.actor):
            raise NotRecordedError(f"there was no snapshot {name!r}; nothing was deleted")
        if session.out.json:
            session.out.document(SnapshotName(name=name))
        else:
            session.out.say(f"deleted the snapshot {name}")

    perform(ctx, work)


def restore(ctx: typer.Context, name: Name) -> None:
    """Write a snapshot's state back, as a new version of its document."""

    async def work(session: Session) -> None:
        snapshot = await session.backend.snapshots.load(name)
        if snapshot is None:
            raise NotRecordedError(
                f"there is no snapshot {name!r}; 'temporal-state snapshot list' names those kept"
            )
        session.out.confirm(
            f"replace {_source(snapshot)} by its state of {time_text(snapshot.time)}?"
        )
        document = await session.backend.snapshots.restore(name, actor=session.actor)
        if session.out.json:
            session.out.document(DocumentShape.of(document))
        else:
            session.out.say(f"restored {_source(snapshot)}, now version {document.version}")

    perform(ctx, work)


def _source(snapshot: Snapshot) -> str:
    if snapshot.document is not None:
        return f"document {snapshot.document['type']}/{snapshot.document['id']}"
    run = snapshot.run or {}
    return f"run {run.get('run_id')} of {run.get('workflow_id')}"
