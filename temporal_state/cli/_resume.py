"""``resume``: starts a run again, after it has shown what that will do."""

from typing import Annotated, Any

import typer

from temporal_state.cli._documents import read
from temporal_state.cli._failures import CommandError
from temporal_state.cli._models import ResumeShape
from temporal_state.cli._options import DryRun, RunId, WorkflowId, parse
from temporal_state.cli._output import Output, status_text
from temporal_state.cli._session import Session, perform
from temporal_state.errors import InvalidValueError
from temporal_state.temporal import ResumePlan, plan_resume
from temporal_state.temporal import resume as resume_run

_KINDS = {
    "taken_over": "taken over: the recorded result is returned",
    "repeated": "runs again: it completed, but no result of it was kept",
    "executed": "executed: it had not completed, or is to be done again",
    "children": "started again: its steps are resumed by the same rule",
}


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("resume")(resume)


def resume(
    ctx: typer.Context,
    workflow_id: WorkflowId,
    *,
    run_id: RunId = None,
    from_step: Annotated[
        int | None, typer.Option(min=1, help="Do steps from this number on again in any case.")
    ] = None,
    args: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Another input: a JSON array, @FILE or -."),
    ] = None,
    lost: Annotated[
        bool,
        typer.Option("--lost", help="Also if neither the record nor Temporal knows of its end."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Start a run again, such that only what had not completed is executed."""

    async def work(session: Session) -> None:
        client = await session.client()
        given = None if args is None else _arguments(parse(await read(args)))
        plan = await plan_resume(
            client,
            session.backend,
            workflow_id,
            run_id,
            namespace=session.namespace,
            from_step=from_step,
            lost=lost,
        )
        if not session.out.json:
            _print_plan(session.out, plan)
        started = None
        if not dry_run:
            session.out.confirm(f"resume {workflow_id}?")
            handle = await resume_run(
                client,
                session.backend,
                workflow_id,
                plan.run.run_id,
                namespace=session.namespace,
                from_step=from_step,
                lost=lost,
                args=given,
            )
            started = handle.first_execution_run_id
            if started is None:
                raise CommandError(f"Temporal did not say which run of {workflow_id!r} it started")
        if session.out.json:
            session.out.document(ResumeShape.of(plan, started))
        elif started is not None:
            _say_started(session.out, plan, started)

    perform(ctx, work)


def _say_started(out: Output, plan: ResumePlan, started: str) -> None:
    workflow_id = plan.run.workflow_id
    out.say(f"started run {started}; 'temporal-state follow {workflow_id}'")
    if plan.run.ended is None:
        out.say(
            "the record of the former run still says that it is running; "
            f"'temporal-state reconcile {workflow_id} --run-id {plan.run.run_id}' mends that"
        )


def _arguments(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise InvalidValueError("--args is no JSON array; give one, with an item per argument")
    return given


def _print_plan(out: Output, plan: ResumePlan) -> None:
    out.say(f"run {plan.run.run_id} of {plan.run.workflow_id} ({plan.run.status})")
    rows = [
        (step.number, step.kind, step.name, step.status, kind)
        for kind in _KINDS
        for step in getattr(plan, kind)
    ]
    out.table(
        ("#", "kind", "name", "status", "on resuming"),
        (
            (str(number), kind, name, status_text(status), _KINDS[becomes])
            for number, kind, name, status, becomes in sorted(rows)
        ),
    )
    counts = ", ".join(f"{len(getattr(plan, kind))} {kind.replace('_', ' ')}" for kind in _KINDS)
    out.say(counts)
