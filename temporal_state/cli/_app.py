"""All commands, and the options that every one of them has, before or after its name."""

import os
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from temporal_state.cli import (
    _catalog,
    _diff,
    _doctor,
    _documents,
    _export,
    _follow,
    _import,
    _maintain,
    _recover,
    _resume,
    _runs,
    _snapshots,
    _upkeep,
)
from temporal_state.cli._failures import Code
from temporal_state.cli._settings import DEFAULT_ADDRESS, DEFAULT_NAMESPACE, Settings
from temporal_state.cli._text import harmless

NAME = "temporal-state"
EPILOG = (
    "The options of 'temporal-state --help', such as --store, --app and --json, may also stand "
    "after the command."
)


class Commands(TyperGroup):
    """Takes its own options anywhere, and reports mistakes in one line."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run what the arguments say, and exit."""
        given = sys.argv[1:] if args is None else args
        options["standalone_mode"] = False
        try:
            code = super().main(self._own_first(given or ["--help"]), *rest, **options)
        except typer.TyperException as error:
            message = harmless(error.format_message()).rstrip(".")
            sys.stderr.write(f"{NAME}: {message}; see '{NAME} --help'\n")
            sys.exit(Code.USAGE)
        except typer.Abort:
            sys.exit(Code.FAILED)
        sys.exit(int(code or 0))

    def _own_first(self, args: Sequence[str]) -> list[str]:
        takes_value = {
            name: not getattr(option, "is_flag", False)
            for option in self.params
            for name in option.opts
        }
        own: list[str] = []
        others: list[str] = []
        left = iter(args)
        for arg in left:
            name, equals, _ = arg.partition("=")
            if arg == "--":
                others += [arg, *left]
            elif name in takes_value:
                own.append(arg)
                own += islice(left, 1 if takes_value[name] and not equals else 0)
            else:
                others.append(arg)
        return [*own, *others]


app = typer.Typer(
    name=NAME,
    cls=Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


@app.callback()
def take_options(
    ctx: typer.Context,
    *,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", envvar="TEMPORAL_STATE_URL", help="The store: a path or URL."
        ),
    ] = None,
    app_name: Annotated[
        str | None, typer.Option("--app", envvar="TEMPORAL_STATE_APP", help="The application.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(envvar="TEMPORAL_STATE_TENANT", help="One tenant of it.")
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            envvar="TEMPORAL_NAMESPACE",
            help="Temporal's namespace; by default as the temporal CLI is set up, else "
            f"{DEFAULT_NAMESPACE}.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="TEMPORAL_ADDRESS",
            help="Temporal's address; by default as the temporal CLI is set up, else "
            f"{DEFAULT_ADDRESS}.",
        ),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            envvar="TEMPORAL_STATE_TRANSFORM",
            metavar="MODULE:NAME",
            help="What the store's objects are encrypted or compressed by.",
        ),
    ] = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            envvar="TEMPORAL_STATE_CATALOG",
            metavar="PLACE",
            help="The index of runs: a folder, memory:// or postgresql://...",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", envvar="TEMPORAL_STATE_JSON", help="Answer in JSON, for scripts."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", envvar="TEMPORAL_STATE_YES", help="Ask nothing.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colours; so does NO_COLOR.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TEMPORAL_STATE_DEBUG", help="Errors in full.")
    ] = False,
) -> None:
    """State that outlives the workflow: documents and records of runs, in a store you own."""
    ctx.obj = Settings(
        store=store or None,
        app=app_name or None,
        tenant=tenant or None,
        namespace=namespace or None,
        address=address or None,
        transform=transform or None,
        catalog=catalog or None,
        json=json,
        yes=yes,
        color=not no_color,
        debug=debug,
    )


for _family in (
    _runs,
    _diff,
    _follow,
    _catalog,
    _documents,
    _snapshots,
    _resume,
    _recover,
    _maintain,
    _upkeep,
    _export,
    _import,
    _doctor,
):
    _family.register(app)


def run() -> None:
    """Run the command line in this process, which it ends."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        leave(int(end.code or 0))


def leave(code: int) -> None:
    """End the process; at once where something still waits for input that may never come."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = Code.PIPE_CLOSED
    if code in {Code.INTERRUPTED, Code.PIPE_CLOSED}:
        os._exit(code)
    sys.exit(code)
