"""README.md is true: its blocks run as they stand, and its tables say what the code does.

    python tests/test_readme.py README.md localhost:7233

runs the blocks of a page, one after the other, in the present folder:

- one that begins with ``# name.py`` is written to that file, and then run: by Python if it has a
  main part, by pytest if its name begins with ``test_``, else not, since others import it;
- any other one is run in one namespace for all, with ``await`` allowed, as in
  ``python -m asyncio``.

What a block prints must be what its lines ``#> ...`` say, to the letter.
"""

import ast
import asyncio
import builtins
import contextlib
import enum
import inspect
import io
import json
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import FunctionType
from typing import Any
from uuid import UUID

import pytest

from temporal_state import InvalidValueError, Limits, Recording, StateBackend, StatePlugin, errors
from temporal_state.documents import plain
from temporal_state.storage import encode_name

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SERVER = "localhost:7233"
"""Where the page's examples expect a server; the tests put their own one's address there."""


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
        output_of("-m", "pytest", "-q", name)
    elif "__main__" in block.text:
        return output_of(name)
    return ""


def output_of(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{arguments} ends with {result.returncode}: {result.stdout}")
    return result.stdout


def run_in(folder: Path, page: Path, server: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, str(page), server],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def page() -> str:
    return README.read_text()


async def test_every_block_of_python_runs_and_prints_what_it_says(dev, tmp_path, page):
    assert len(blocks(page, "python")) >= 8
    target = dev.client.service_client.config.target_host
    result = await asyncio.to_thread(run_in, tmp_path, README, target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(path.name for path in tmp_path.glob("*.py")) == sorted(
        block.file for block in blocks(page, "python") if block.file
    )
    check_the_file_of_a_document(tmp_path / "local/tmp", page)


def check_the_file_of_a_document(root: Path, page: str) -> None:
    """Compare the page's example of a document's file with the one that its blocks have made."""
    (shown,) = (json.loads(block.text) for block in blocks(page, "json"))
    meta = shown["$temporal_state"]
    backend = StateBackend.open(root, app="billing")
    made = json.loads(Path(backend.path(meta["id"], meta["type"])).read_text())
    changing = ("rev", "created", "updated")
    for key in changing:
        assert len(meta[key]) == len(made["$temporal_state"][key])
        meta[key] = made["$temporal_state"][key]
    assert json.dumps(shown) == json.dumps(made)


@pytest.mark.parametrize(
    "broken",
    [
        "1 / 0",
        "no python at all",
        "import no_such_module",
        "print(1)\n#> 2",
        "print(1)",
        "#> 1",
        "async def fails():\n    raise OSError\nawait fails()",
        "# script.py\nif __name__ == '__main__':\n    raise SystemExit(3)",
        "# test_it.py\ndef test_it():\n    assert False",
        "# test_it.py\n",
    ],
)
def test_a_block_that_does_not_hold_is_noticed(tmp_path, broken):
    page = tmp_path / "page.md"
    page.write_text(f"```python\nprint(1)\n#> 1\n```\n\n```python\n{broken}\n```\n")
    result = run_in(tmp_path, page, SERVER)
    assert result.returncode == 1
    assert "the block at line 7 " in result.stderr


def test_blocks_share_one_namespace_and_the_files_before_them(tmp_path):
    page = tmp_path / "page.md"
    texts = ["# mine.py\nONE = 1\n", "from mine import ONE\n", "print(ONE)\n#> 1\n"]
    page.write_text("\n".join(f"```python\n{text}```\n" for text in texts))
    assert run_in(tmp_path, page, SERVER).returncode == 0


def test_every_command_is_a_target_of_the_makefile_or_installs_this_package(page):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [line for block in blocks(page, "sh") for line in block.text.splitlines()]
    assert {"make demo", "make test"} < set(commands)
    for command in commands:
        assert command == "pip install ." or command.removeprefix("make ") in targets, command
    assert set(re.findall(r"`make (\w+)`", page)) <= set(targets)


def test_every_file_that_is_named_is_there(page):
    named = re.findall(r"`((?:tests|temporal_state)/[\w/.]+|\w+\.py)`", page)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_heading_that_is_linked_is_there(page):
    headings = {
        line.lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= headings


def rows(page: str, first: str) -> Iterator[list[str]]:
    """Yield the rows of the table whose first heading begins so."""
    table = re.search(rf"^\| {re.escape(first)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    for line in table[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_errors_is_that_of_the_code(page):
    listed = {}
    for cell, _, retryable in rows(page, "error"):
        names, _, base = cell.partition(" (")
        for name in codes(names):
            listed[name] = retryable
            for text in codes(base):
                parent = getattr(errors, text, None) or getattr(builtins, text)
                assert parent in getattr(errors, name).__bases__
    actual = {name: getattr(errors, name).retryable for name in errors.__all__}
    assert listed == {name: "yes" if retryable else "no" for name, retryable in actual.items()}


def test_the_limits_are_the_defaults(page):
    texts = [text for row in rows(page, "limit") for text in codes(row[1])]
    settings = [text for text in texts if text.endswith(")")]
    assert len(settings) == 6
    for text in settings:
        name, argument, value = re.fullmatch(r"(\w+)\((\w+)=(.*)\)", text).groups()
        made = {"Limits": Limits, "Recording": Recording, "StatePlugin": StatePlugin}[name]
        default = inspect.signature(made).parameters[argument].default
        assert eval(value, {"timedelta": timedelta}) == default, text


def test_the_encoded_id_is_what_an_id_becomes(page):
    (id, segment) = re.search(r"`([^`]+)` is `(![^`]+)`", page).groups()
    assert encode_name(id) == segment


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int


NAMES = {
    value.__name__: value
    for value in (Color, Point, date, datetime, time, timedelta, Decimal, UUID)
} | {"UTC": UTC}


def test_the_table_of_values_is_what_documents_hold(page):
    kept = refused = 0
    for given, stored in rows(page, "Python"):
        values = [eval(text, dict(NAMES)) for text in codes(given)]
        if stored.startswith("refused"):
            refused += len(values)
            for value in values:
                with pytest.raises(InvalidValueError):
                    plain(value)
            continue
        kept += len(values)
        expected = [json.loads(text) for text in codes(stored)] or values
        assert [plain(value) for value in values] == expected
    assert (kept, refused) == (16, 8)


if __name__ == "__main__":
    asyncio.run(run_page(Path(sys.argv[1]).read_text(), sys.argv[2]))
