"""``list``, ``show``, ``steps`` and ``history``: what the records say of runs."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import typer

from temporal_state.cli._models import CheckpointShape, RunDetails, RunShape, StepShape
from temporal_state.cli._options import (
    RunId,
    Since,
    Until,
    WorkflowId,
    WorkflowType,
    json_object,
    moment,
)
from temporal_state.cli._run_tables import (
    CHECKPOINT_COLUMNS,
    RUN_COLUMNS,
    STEP_COLUMNS,
    checkpoint_row,
    print_open,
    print_run,
    print_values,
    run_row,
    step_row,
)
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import value_text
from temporal_state.cli._timeline import draw
from temporal_state.errors import NotRecordedError
from temporal_state.runs import Run

PAGE = 1000
OPEN = {"scheduled", "started"}


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("list")(list_runs)
    app.command("show")(show)
    app.command("steps")(steps)
    app.command("history")(history)


def list_runs(
    ctx: typer.Context,
    *,
    status: Annotated[
        list[str] | None, typer.Option(help="Only runs with this status; give several for more.")
    ] = None,
    workflow_type: WorkflowType = None,
    workflow_id: Annotated[
        str | None, typer.Option("--id", help="Only runs of this workflow id.")
    ] = None,
    parent: Annotated[
        str | None, typer.Option(help="Only runs that a run of this workflow id has started.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="Only runs whose metadata contains this.")
    ] = None,
    since: Since = None,
    until: Until = None,
    ended_since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs that ended from then on.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most that many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
) -> None:
    """List runs, the newest first."""

    async def work(session: Session) -> None:
        now = session.backend.clock()
        filters = {
            "status": status or None,
            "workflow_type": workflow_type,
            "workflow_id": workflow_id,
            "parent": parent,
            "metadata": None if metadata is None else json_object(metadata, "--metadata"),
            "since": moment(since, now),
            "until": moment(until, now),
            "ended_since": moment(ended_since, now),
            "namespace": session.namespace,
        }
        count, more = 0, False
        async for runs, is_more in _pages(session, filters, None if everything else limit):
            if session.out.json:
                session.out.lines(map(RunShape.of, runs))
            else:
                session.out.table(RUN_COLUMNS, map(run_row, runs))
            count, more = count + len(runs), is_more
        if not count:
            await session.note_empty()
        elif more:
            session.out.say(f"there are more than these {count}; give --limit or --all")

    perform(ctx, work)


async def _pages(
    session: Session, filters: dict[str, Any], limit: int | None
) -> AsyncIterator[tuple[Sequence[Run], bool]]:
    cursor = None
    while True:
        size = PAGE if limit is None else min(limit, PAGE)
        page = await session.backend.runs.list(**filters, limit=size, cursor=cursor)
        limit, cursor = None if limit is None else limit - len(page), page.cursor
        yield page, cursor is not None
        if cursor is None or limit == 0:
            return


def show(ctx: typer.Context, workflow_id: WorkflowId, *, run_id: RunId = None) -> None:
    """Show one run: how far it is, what it was given, what became of it, and its document."""

    async def work(session: Session) -> None:
        run = await known_run(session, workflow_id, run_id)
        document = await session.backend.runs.document(
            workflow_id, run_id=run.run_id, namespace=session.namespace
        )
        if session.out.json:
            session.out.document(RunDetails.with_document(run, document))
        else:
            print_run(session.out, run)
            if run.open:
                found = await session.backend.runs.steps(
                    workflow_id, run_id=run.run_id, namespace=session.namespace
                )
                print_open(session.out, (step for step in found if step.status in OPEN))
            print_values(session.out, run)
            if document:
                session.out.text(f"document  {value_text(document, 10_000)}")

    perform(ctx, work)


def steps(
    ctx: typer.Context,
    workflow_id: WorkflowId,
    *,
    run_id: RunId = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Draw them as bars over time.")
    ] = False,
) -> None:
    """List the steps of a run, in the order in which they were scheduled."""

    async def work(session: Session) -> None:
        run = await known_run(session, workflow_id, run_id)
        found = await session.backend.runs.steps(
            workflow_id, run_id=run.run_id, namespace=session.namespace
        )
        if session.out.json:
            session.out.lines(map(StepShape.of, found))
        elif timeline:
            console = session.out.console
            for line in draw(
                run,
                found,
                width=min(console.width, 120) if not console.is_terminal else console.width,
                now=session.backend.clock(),
                unicode=console.encoding.startswith("utf"),
            ):
                session.out.text(line)
        else:
            session.out.table(STEP_COLUMNS, map(step_row, found))

    perform(ctx, work)


def history(ctx: typer.Context, workflow_id: WorkflowId, *, run_id: RunId = None) -> None:
    """List the checkpoints of a run, the oldest first."""

    async def work(session: Session) -> None:
        run = await known_run(session, workflow_id, run_id)
        found = await session.backend.runs.history(
            workflow_id, run_id=run.run_id, namespace=session.namespace
        )
        if session.out.json:
            session.out.lines(map(CheckpointShape.of, found))
        else:
            session.out.table(CHECKPOINT_COLUMNS, map(checkpoint_row, found))

    perform(ctx, work)


async def known_run(session: Session, workflow_id: str, run_id: str | None) -> Run:
    """Return a run; raise `NotRecordedError` if there is none."""
    run = await session.backend.runs.get(workflow_id, run_id=run_id, namespace=session.namespace)
    if run is not None:
        return run
    await session.note_empty()
    which = "a run" if run_id is None else f"run {run_id!r}"
    raise NotRecordedError(
        f"there is no record of {which} of workflow {workflow_id!r} in namespace "
        f"{session.namespace!r} of {session.place}; 'temporal-state list' names those kept"
    )
