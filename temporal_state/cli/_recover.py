"""``recover``: resumes all the runs that a crash or a bug has left behind."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from temporal_state.cli._failures import CommandError
from temporal_state.cli._models import RecoverShape, RefusedRun, RunName
from temporal_state.cli._options import DryRun, Limit, Since, Until, WorkflowType, moment, span
from temporal_state.cli._output import Output, status_text
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import short, time_text
from temporal_state.runs import Run
from temporal_state.temporal import Recover, Recovery
from temporal_state.temporal import recover as recover_runs

LOST = "lost"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("recover")(recover)


def recover(
    ctx: typer.Context,
    *,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="failed, timed_out, terminated, cancelled or lost; several for more. By default "
            "all but cancelled."
        ),
    ] = None,
    workflow_type: WorkflowType = None,
    task_queue: Annotated[str | None, typer.Option(help="Only runs on this task queue.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    timeout: Annotated[str, typer.Option(help="How long all of it may take, such as 15m.")] = "5m",
    dry_run: DryRun = False,
) -> None:
    """Resume the newest run of each workflow that failed, timed out, was terminated or is lost."""

    async def work(session: Session) -> None:
        now = session.backend.clock()
        chosen: dict[str, Any] = {
            "workflow_type": workflow_type,
            "task_queue": task_queue,
            "since": moment(since, now),
            "until": moment(until, now),
            "limit": limit,
            "timeout": span(timeout),
        }
        if status:
            chosen["status"] = tuple(dict.fromkeys(status))
        runs = await _candidates(session, Recover(**chosen))
        if not session.out.json:
            _print_candidates(session.out, runs)
        found = Recovery(complete=True)
        if runs and not dry_run:
            session.out.confirm(f"resume those of these {len(runs)} runs that are dead?")
            found = await _recover(session, chosen, len(runs))
        shape = _shape(runs, found)
        if session.out.json:
            session.out.document(shape)
        elif not dry_run:
            _print(session.out, shape)
        if not shape.complete:
            raise CommandError(f"not all runs were looked at within {timeout}; do it again")
        if shape.refused:
            raise CommandError(f"{len(shape.refused)} runs were not resumed, each for its reason")

    perform(ctx, work)


async def _candidates(session: Session, chosen: Recover) -> Sequence[Run]:
    """Return the runs that come into question; which of them are dead, Temporal knows."""
    found: list[Run] = []
    for status in chosen.status:
        found += await session.backend.runs.list(
            status="running" if status == LOST else status,
            workflow_type=chosen.workflow_type,
            kind="workflow",
            since=chosen.since,
            until=chosen.until,
            limit=chosen.limit,
            namespace=session.namespace,
        )
    return [run for run in found if chosen.task_queue in {None, run.task_queue}]


async def _recover(session: Session, chosen: dict[str, Any], total: int) -> Recovery:
    client = await session.client()
    last = Recovery()

    def note(so_far: Recovery) -> None:
        nonlocal last
        last = so_far
        bar.update(task, completed=so_far.looked_at)

    with session.out.progress("runs") as bar:
        task = bar.add_task("resuming", total=total)
        try:
            return await recover_runs(
                client, session.backend, namespace=session.namespace, progress=note, **chosen
            )
        except asyncio.CancelledError:
            session.out.say(
                f"looked at {last.looked_at} of {total} runs: {len(last.resumed)} were resumed; do "
                "it again for the others, none is resumed twice"
            )
            raise


def _shape(runs: Sequence[Run], found: Recovery) -> RecoverShape:
    return RecoverShape(
        candidates=[RunName(workflow_id=run.workflow_id, run_id=run.run_id) for run in runs],
        resumed=[
            RunName(workflow_id=handle.id, run_id=handle.first_execution_run_id or "")
            for handle in found.resumed
        ],
        refused=[
            RefusedRun(workflow_id=run.workflow_id, run_id=run.run_id, reason=reason)
            for run, reason in found.refused
        ],
        complete=found.complete,
    )


def _print_candidates(out: Output, runs: Sequence[Run]) -> None:
    rows = (
        (
            run.workflow_id,
            run.run_id,
            run.workflow_type,
            status_text(run.status),
            time_text(run.started),
        )
        for run in runs
    )
    out.table(("workflow id", "run id", "type", "status", "started"), rows)


def _print(out: Output, shape: RecoverShape) -> None:
    for run in shape.resumed:
        out.say(f"resumed {run.workflow_id} as run {run.run_id}")
    for refused in shape.refused:
        out.say(f"not resumed: {refused.workflow_id}: {short(refused.reason, 300)}")
    out.say(f"{len(shape.resumed)} resumed, {len(shape.refused)} refused")
