"""``adopt``: brings in what another tool wrote."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import typer

from temporal_state.cli._failures import CommandError
from temporal_state.cli._models import AdoptionShape
from temporal_state.cli._options import DryRun
from temporal_state.cli._output import Output
from temporal_state.cli._session import Session, perform


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("adopt")(adopt)


def adopt(
    ctx: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[ROOT]", help="Where; by default the store's own folder."),
    ] = None,
    *,
    from_app: Annotated[
        str | None, typer.Option(help="The application's folder there; by default --app.")
    ] = None,
    unquoted: Annotated[
        bool, typer.Option("--unquoted", help="Folders there are named with %-escapes.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Bring in documents that another tool wrote as plain files; those stay as they are."""

    async def work(session: Session) -> None:
        if source is not None and not source.is_dir():
            raise CommandError(f"{source} is no folder; give the root of the other tool's files")
        with session.out.progress("documents") as bar:
            task = bar.add_task("adopting", total=None)
            found = await session.backend.adopt(
                source,
                app=from_app,
                id_of=unquote if unquoted else str,
                dry_run=dry_run,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        shape = AdoptionShape(
            dry_run=dry_run,
            adopted=found.adopted,
            unchanged=found.unchanged,
            conflicting=found.conflicting,
            refused=found.refused,
        )
        if session.out.json:
            session.out.document(shape)
        else:
            _print(session.out, shape)
        if found.conflicting or found.refused:
            count = len(found.conflicting) + len(found.refused)
            raise CommandError(f"{count} documents were not adopted; each is named with its reason")

    perform(ctx, work, creates=not dry_run and source is not None)


def _print(out: Output, shape: AdoptionShape) -> None:
    verb = "would be adopted" if shape.dry_run else "adopted"
    rows = [(name, verb, "") for name in shape.adopted]
    rows += [(name, "unchanged", "") for name in shape.unchanged]
    rows += [(name, "conflicting", why) for name, why in shape.conflicting.items()]
    rows += [(name, "refused", why) for name, why in shape.refused.items()]
    out.table(("document", "outcome", "reason"), rows)
