"""``diff``: what changed from one checkpoint of a run to another."""

from typing import Annotated

import typer
from rich.text import Text

from temporal_state.cli._models import DiffShape
from temporal_state.cli._options import RunId, WorkflowId
from temporal_state.cli._output import Output
from temporal_state.cli._runs import known_run
from temporal_state.cli._session import Session, perform
from temporal_state.cli._text import count_text, duration_text, harmless, value_text
from temporal_state.runs import CheckpointDiff


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("diff")(diff)


def diff(
    ctx: typer.Context,
    workflow_id: WorkflowId,
    first: Annotated[int, typer.Argument(metavar="A", help="The number of a checkpoint.")],
    second: Annotated[int, typer.Argument(metavar="B", help="The number of another.")],
    *,
    run_id: RunId = None,
) -> None:
    """Show what changed in a run's document from one checkpoint to another."""

    async def work(session: Session) -> None:
        run = await known_run(session, workflow_id, run_id)
        found = await session.backend.runs.diff(
            workflow_id, first, second, run_id=run.run_id, namespace=session.namespace
        )
        if session.out.json:
            session.out.document(DiffShape.of(found))
        else:
            _print(session.out, found)

    perform(ctx, work)


def _print(out: Output, found: CheckpointDiff) -> None:
    for path, value in found.removed.items():
        out.text(_line("-", "red", path, value_text(value)))
    for path, value in found.added.items():
        out.text(_line("+", "green", path, value_text(value)))
    for path, (before, after) in found.changed.items():
        out.text(_line("~", "yellow", path, f"{value_text(before)} → {value_text(after)}"))
    progress = "" if found.progress is None else f", progress by {count_text(found.progress)}"
    out.say(f"{found.steps} steps{progress}, {duration_text(found.time)} apart")


def _line(sign: str, style: str, path: str, text: str) -> Text:
    return Text(f"{sign} {harmless(path) or '(all)'}  {text}", style=style)
