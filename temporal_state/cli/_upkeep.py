"""``reconcile``, ``cleanup`` and ``schedule``: records kept true, stores kept tidy."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Annotated

import typer

from temporal_state.cli._failures import CommandError
from temporal_state.cli._models import (
    ChangedRun,
    CleanupShape,
    ReconcileShape,
    RefusedRun,
    RunName,
    ScheduleShape,
)
from temporal_state.cli._options import DryRun, RunId, span
from temporal_state.cli._output import Output
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import duration_text, short, time_text
from temporal_state.errors import NotRecordedError
from temporal_state.runs import CLOSED, Retention
from temporal_state.temporal import MaintenanceSchedule, Reconcile, Reconciliation, Recording
from temporal_state.temporal import reconcile as reconcile_runs

ScheduleId = Annotated[str, typer.Option("--id", help="The schedule's id.")]
DEFAULT_ID = "temporal-state-maintenance"


class Captured(Enum):
    """What is kept of values, as ``Recording.capture`` says it."""

    NONE = "none"
    RESULTS = "results"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("reconcile")(reconcile)
    app.command("cleanup")(cleanup)
    group = typer.Typer(help="Have Temporal maintain the store regularly.")
    group.command("install")(install)
    group.command("show")(show)
    group.command("pause")(pause)
    group.command("unpause")(unpause)
    group.command("remove")(remove)
    app.add_typer(group, name="schedule")


def reconcile(
    ctx: typer.Context,
    workflow_id: Annotated[
        str | None, typer.Argument(metavar="[WORKFLOW_ID]", help="Only this workflow.")
    ] = None,
    *,
    run_id: RunId = None,
    older_than: Annotated[
        str, typer.Option(help="Only records without news for so long: 90s, 15m, 2h.")
    ] = "0s",
    missing: Annotated[
        bool, typer.Option("--missing", help="Make records also of runs that have none.")
    ] = False,
    calls_per_second: Annotated[float, typer.Option(help="At most so many calls of Temporal.")] = (
        10.0
    ),
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 1000,
    capture: Annotated[
        Captured,
        typer.Option(help="What is kept of values that only the history has; results, or all."),
    ] = Captured.NONE,
) -> None:
    """Make the records of runs say what Temporal says of them.

    What the workers' plugin keeps of values, and what it redacts, is not known here.
    """

    async def work(session: Session) -> None:
        client = await session.client()
        last = Reconciliation()

        def note(so_far: Reconciliation) -> None:
            nonlocal last
            last = so_far
            bar.update(task, completed=so_far.looked_at)

        with session.out.progress("records") as bar:
            task = bar.add_task("reconciling", total=None)
            try:
                found = await reconcile_runs(
                    client,
                    session.backend,
                    workflow_id,
                    run_id,
                    older_than=span(older_than),
                    calls_per_second=calls_per_second,
                    limit=limit,
                    missing=missing,
                    recording=Recording(capture=capture.value),
                    progress=note,
                )
            except asyncio.CancelledError:
                session.out.say(
                    f"looked at {last.looked_at} records, {len(last.changed)} were changed"
                )
                raise
        shape = _shape(found)
        if session.out.json:
            session.out.document(shape)
        else:
            _print(session.out, shape)
        if shape.errors:
            raise CommandError(f"{len(shape.errors)} runs could not be reconciled; see each reason")

    perform(ctx, work)


def _shape(found: Reconciliation) -> ReconcileShape:
    return ReconcileShape(
        looked_at=found.looked_at,
        running=found.running,
        changed=[
            ChangedRun(
                workflow_id=change.workflow_id,
                run_id=change.run_id,
                before=change.before,
                after=change.after,
                steps=change.steps,
            )
            for change in found.changed
        ],
        unknown=[RunName(workflow_id=id, run_id=run_id) for id, run_id in found.unknown],
        errors=[
            RefusedRun(workflow_id=id, run_id=run_id, reason=why)
            for id, run_id, why in found.errors
        ],
        complete=found.cursor is None,
    )


def _print(out: Output, shape: ReconcileShape) -> None:
    for change in shape.changed:
        out.text(f"{change.workflow_id}  {change.before or 'no record'} → {change.after}")
    for unknown in shape.unknown:
        out.say(f"Temporal does not know run {unknown.run_id} of {unknown.workflow_id}")
    for error in shape.errors:
        out.say(f"not reconciled: {error.workflow_id}: {short(error.reason, 300)}")
    out.say(
        f"looked at {shape.looked_at} records: {len(shape.changed)} changed, "
        f"{shape.running} running"
    )
    if not shape.complete:
        out.say("there are more; do it again, or give --limit")


def cleanup(
    ctx: typer.Context,
    *,
    older_than: Annotated[str, typer.Option(help="Runs that ended so long ago: 12h, 30d, 4w.")],
    status: Annotated[
        list[str] | None, typer.Option(help="Only those that ended so; several for more.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most that many.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Delete closed runs with all that belongs to them; never a running one, never a snapshot."""
    age = span(older_than)
    if unknown := {*(status or [])} - CLOSED:
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))}: no end of a run; give {', '.join(sorted(CLOSED))}"
        )
    ages = dict.fromkeys(status or CLOSED, age)

    async def work(session: Session) -> None:
        clean = partial(
            session.backend.maintenance.cleanup,
            older_than=ages,
            namespace=session.namespace,
            limit=limit,
        )
        count = await clean(dry_run=True)
        if not dry_run and count:
            session.out.confirm(f"delete {count} runs for good?")
            count = await _delete(session, clean, count)
        if session.out.json:
            session.out.document(CleanupShape(runs=count, dry_run=dry_run))
        else:
            session.out.say(f"{count} runs {'would be deleted' if dry_run else 'were deleted'}")

    perform(ctx, work)


async def _delete(session: Session, clean: Callable[..., Awaitable[int]], total: int) -> int:
    done = 0

    def note(deleted: int) -> None:
        nonlocal done
        done = deleted
        bar.update(task, completed=deleted)

    with session.out.progress("runs") as bar:
        task = bar.add_task("deleting", total=total)
        try:
            return await clean(actor=session.actor, progress=note)
        except asyncio.CancelledError:
            session.out.say(
                f"{done} of {total} runs were deleted, or one more; the audit names each, and the "
                "others are deleted when it is done again"
            )
            raise


def install(
    ctx: typer.Context,
    *,
    task_queue: Annotated[str, typer.Option(help="Of workers whose plugin has maintenance=True.")],
    every: Annotated[str, typer.Option(help="How often: 15m, 1h, 1d.")] = "1h",
    runs: Annotated[
        str | None, typer.Option("--keep-runs", help="Delete runs that ended so long ago: 90d.")
    ] = None,
    checkpoints: Annotated[
        int | None, typer.Option("--keep-checkpoints", min=1, help="Keep so many of each run.")
    ] = None,
    id: ScheduleId = DEFAULT_ID,
) -> None:
    """Install the schedule, or change the one that is there."""
    retention = Retention(runs=None if runs is None else span(runs), checkpoints=checkpoints)

    async def work(session: Session) -> None:
        schedule = MaintenanceSchedule(await session.client(), id)
        await schedule.install(
            task_queue=task_queue, every=span(every), retention=retention, reconcile=Reconcile()
        )
        await _tell(session, schedule)

    perform(ctx, work)


def show(ctx: typer.Context, *, id: ScheduleId = DEFAULT_ID) -> None:
    """Show what Temporal says of the schedule."""

    async def work(session: Session) -> None:
        await _tell(session, MaintenanceSchedule(await session.client(), id))

    perform(ctx, work)


def pause(
    ctx: typer.Context,
    *,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    id: ScheduleId = DEFAULT_ID,
) -> None:
    """Start nothing until it is unpaused."""

    async def work(session: Session) -> None:
        schedule = MaintenanceSchedule(await session.client(), id)
        await schedule.pause(note)
        await _tell(session, schedule)

    perform(ctx, work)


def unpause(
    ctx: typer.Context,
    *,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    id: ScheduleId = DEFAULT_ID,
) -> None:
    """Start maintenance again when it is due."""

    async def work(session: Session) -> None:
        schedule = MaintenanceSchedule(await session.client(), id)
        await schedule.unpause(note)
        await _tell(session, schedule)

    perform(ctx, work)


def remove(ctx: typer.Context, *, id: ScheduleId = DEFAULT_ID) -> None:
    """Delete the schedule; what it keeps tidy stays as it is."""

    async def work(session: Session) -> None:
        schedule = MaintenanceSchedule(await session.client(), id)
        session.out.confirm(f"delete the schedule {id}?")
        if not await schedule.delete():
            raise _none(id)
        if session.out.json:
            session.out.document(ScheduleShape(id=id, installed=False))
        else:
            session.out.say(f"deleted the schedule {id}")

    perform(ctx, work)


async def _tell(session: Session, schedule: MaintenanceSchedule) -> None:
    state = await schedule.describe()
    if state is None:
        raise _none(schedule.id)
    if session.out.json:
        session.out.document(ScheduleShape.of(state))
        return
    rows = {
        "schedule": state.id,
        "every": duration_text(state.every),
        "paused": (state.note or "yes") if state.paused else "no",
        "runs": str(state.runs),
        "last": time_text(state.last),
        "next": time_text(state.next),
    }
    for name, fact in rows.items():
        session.out.text(f"{name:<9} {fact}")


def _none(id: str) -> NotRecordedError:
    return NotRecordedError(
        f"there is no schedule {id!r} in this namespace; 'temporal-state schedule install' makes it"
    )
