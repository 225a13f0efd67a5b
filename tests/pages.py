"""Pages of documentation: their blocks run as they stand.

    python tests/pages.py README.md localhost:7233

runs the blocks of Python of a page, one after the other, in the present folder:

- one that begins with ``# name.py`` is written to that file, and then run: by Python if it has a
  main part, by pytest if its name begins with ``test_``, else not, since others import it;
- any other one is run in one namespace for all, with ``await`` allowed, as in
  ``python -m asyncio``.

What a block prints must be what its lines ``#> ...`` say, to the letter.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

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
    """Run all blocks of Python; exit at the first that fails."""
    sys.path.insert(0, "")
    namespace: dict[str, Any] = {"__name__": "__console__"}
    for block in blocks(page, "python"):
        block.text = block.text.replace(SERVER, server)
        try:
            if block.file is None:
                printed = await run_here(block, namespace)
            else:
                printed = await asyncio.to_thread(run_file, block, block.file)
        except Exception:
            traceback.print_exc()
            sys.exit(f"the block at line {block.line} fails")
        if printed != block.expected:
            sys.exit(f"the block at line {block.line} prints:\n{printed}not:\n{block.expected}")


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


def run_in(folder: Path, page: Path, server: str) -> subprocess.CompletedProcess[str]:
    """Run a page's blocks in a folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, __file__, str(page), server],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment() -> dict[str, str]:
    """The package of this checkout, also where another one is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    asyncio.run(run_page(Path(sys.argv[1]).read_text(), sys.argv[2]))
