"""Calls the command line in this process, and knows what it may print."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from typer import testing
from typer.testing import CliRunner

from temporal_state.cli._app import app

# To build the command line takes longer than most of its commands.
testing._get_command = cache(testing._get_command)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SETTINGS = (
    *("STATE_URL", "STATE_APP", "STATE_TENANT", "STATE_JSON", "STATE_YES", "STATE_TRANSFORM"),
    *("STATE_CATALOG", "STATE_DEBUG", "NAMESPACE", "ADDRESS", "PROFILE"),
)
OF_THE_USER = [*(f"TEMPORAL_{name}" for name in SETTINGS), "COLUMNS", "FORCE_COLOR", "NO_COLOR"]


@dataclass(frozen=True)
class Answer:
    """What a command printed, and the code that it ended with."""

    code: int
    out: str
    err: str

    def json(self, model):
        """The one JSON document on standard output, valid by a model."""
        (line,) = self.lines(model)
        return line

    def lines(self, model):
        """The JSON documents on standard output, all valid by a model; nothing else is there."""
        assert self.out.endswith("\n") or not self.out
        for line in self.out.splitlines():
            model.model_validate_json(line)
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Cli:
    """Calls the command line on one store; fails on another exit code than the one expected."""

    root: Path

    async def __call__(self, *args, code=0, input=None, store=None, env=None) -> Answer:
        arguments = ["--store", str(store or self.root), "--app", "tests", *map(str, args)]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=input, env=env)
        answer = Answer(result.exit_code, result.stdout, result.stderr)
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert code in {None, answer.code}, answer
        assert ("Traceback" in answer.err) == ("--debug" in args)
        if code:
            assert answer.err.splitlines()[-1].startswith("temporal-state: "), answer
        return answer


def command(root, *args) -> tuple[list[str], dict[str, str]]:
    """The command line as a process of its own: its arguments and its environment."""
    call = [sys.executable, "-m", "temporal_state.cli", "--store", str(root), "--app", "tests"]
    project = str(Path(__file__).parents[2])
    return [*call, *map(str, args)], os.environ | {"PYTHONPATH": project}


MAIN = """
from temporal_state.cli import main
main()
"""


def command_line(children, root, *args, before="", given=()):
    """The command line as a process that was forked from one that has imported it.

    Args:
        children: Starts it.
        root: The store.
        *args: Its arguments.
        before: A program that runs before it, and takes ...
        given: ... these arguments from the front.
    """
    call = ("--store", root, "--app", "tests", *args)
    return children.start(before + MAIN, *given, *call)
