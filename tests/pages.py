"""Pages of documentation: their blocks run as they stand.

    python tests/pages.py README.md localhost:7233

runs the blocks of Python of a page, one after the other, in the present folder:

- one that begins with ``# name.py`` is written to that file, and then run: by Python if it has a
  main part, by pytest if its name begins with ``test_``, else it is imported, as others do;
- any other one is run in one namespace for all, with ``await`` allowed, as in
  ``python -m asyncio``.

What a block prints must be what its lines ``#> ...`` say, to the letter.

The lines ``$ temporal-state ...`` of a block of ``console`` are run where they stand, and so are
``$ export NAME=value`` and a ``; echo $?``. What they print must be what the page says, but for
what no two runs have in common: times, durations, ids of runs, sizes, versions, the folder, bars,
and where lines are broken.
"""

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from children import Children

ROOT = Path(__file__).parents[1]
SERVER = "localhost:7233"
"""Where the pages' examples expect a server; the tests put their own one's address there."""


@dataclass
class Block:
    """A fenced block: its language, its text, and the line of the page where the text begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        first = re.match(r"# (\w+\.py)\n", self.text)
        return first and first[1]

    @property
    def expected(self) -> str:
        return "".join(f"{line}\n" for line in re.findall(r"^ *#> (.*)$", self.text, re.MULTILINE))


def blocks(page: str, language: str) -> list[Block]:
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [
        Block(match[1], match[2], page.count("\n", 0, match.start(2)) + 1)
        for match in found
        if match[1] == language
    ]


def without_blocks(page: str) -> str:
    return re.sub(r"^```(\w*)\n(.*?)^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def rows(page: str, first: str) -> Iterator[list[str]]:
    """Yield the rows of the table whose first heading begins so."""
    table = re.search(rf"^\| {re.escape(first)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table is not None, f"no table {first!r}"
    for line in table[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


async def run_page(page: str, server: str) -> None:
    """Run all blocks of Python and of commands; exit at the first that fails."""
    sys.path.insert(0, "")
    namespace: dict[str, Any] = {"__name__": "__console__"}
    os.environ["TEMPORAL_ADDRESS"] = server
    found = [*blocks(page, "python"), *blocks(page, "console")]
    for block in sorted(found, key=lambda block: block.line):
        block.text = block.text.replace(SERVER, server)
        expected = block.expected
        try:
            if block.language == "console":
                printed = masked(await asyncio.to_thread(run_commands, block.text))
                expected = masked(block.text)
            elif block.file is None:
                printed = await run_here(block, namespace)
            else:
                printed = await asyncio.to_thread(run_file, block, block.file)
        except Exception:
            traceback.print_exc()
            sys.exit(f"the block at line {block.line} fails")
        if printed != expected:
            sys.exit(f"the block at line {block.line} prints:\n{printed}not:\n{expected}")


def run_commands(text: str) -> str:
    """Run the commands of a block; return what a terminal would show of them."""
    shown = []
    for line in text.splitlines():
        if line.startswith("$ "):
            shown += [f"{line}\n", run_command(line.removeprefix("$ "))]
    return "".join(shown)


def run_command(line: str) -> str:
    """Run one command as its entry point does; return what it prints to both streams."""
    line, _, asked = line.partition("; ")
    name, *arguments = shlex.split(line, comments=True)
    if name == "export":
        os.environ.update(argument.split("=", 1) for argument in arguments)
        return ""
    assert (name, asked) in {("temporal-state", ""), ("temporal-state", "echo $?")}, line
    from typer.testing import CliRunner

    from temporal_state.cli._app import app

    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "112"})
    if result.exit_code and not asked:
        raise RuntimeError(f"{line} ends with {result.exit_code}: {result.output}")
    return result.output + (f"{result.exit_code}\n" if asked else "")


MASKS = {
    r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b": "RUN",
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z": "TIME",
    r"\b(\d+ min )?[\d.,]+ (ms|s|bytes)\b": "SIZE",
    r'("(?:seconds|average_seconds)"):[\d.]+': r"\1:SIZE",
    r"\b\d+\.\d+\.\d+\b": "VERSION",
    r"file:///\S*/local/": "file:///LOCAL/",
    r"[ ─█▶]*[─█▶][ ─█▶]*": " BAR ",
    r"\s+": " ",
}
"""What no two runs have in common, and what it is compared as."""


def masked(text: str) -> str:
    for pattern, mask in MASKS.items():
        text = re.sub(pattern, mask, text)
    return text.replace(" $ ", "\n$ ")


async def run_here(block: Block, namespace: dict[str, Any]) -> str:
    code = compile(block.text, f"line {block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = FunctionType(code, namespace)()
        if inspect.iscoroutine(result):
            await result
    return printed.getvalue()


def run_file(block: Block, name: str) -> str:
    Path(name).write_text(block.text)
    if name.startswith("test_"):
        # -p is what the entry point does where the package is installed.
        output_of("-m", "pytest", "-q", "-p", "pytest_temporal_state", name)
    elif "__main__" in block.text:
        return output_of(name)
    else:
        importlib.import_module(Path(name).stem)
    return ""


def output_of(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{arguments} ends with {result.returncode}: {result.stdout}")
    return result.stdout


PROGRAM = """
import asyncio, os, sys
from pathlib import Path
tests, folder, page, server = sys.argv[1:]
sys.path.insert(0, tests)
import pages
os.chdir(folder)
asyncio.run(pages.run_page(Path(page).read_text(), server))
"""


def run_in(folder: Path, page: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Run a page's blocks in a folder, in a process of its own."""
    children = Children()
    try:
        process = children.start(PROGRAM, Path(__file__).parent, folder, page, server)
        out, err = process.communicate(timeout=120)
    finally:
        children.stop()
    return subprocess.CompletedProcess([], process.returncode or 0, out, err)


def environment() -> dict[str, str]:
    """The package of this checkout, also where another one is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    asyncio.run(run_page(Path(sys.argv[1]).read_text(), sys.argv[2]))
