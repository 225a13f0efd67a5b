"""The pages are true: blocks run as they stand, tables say what the code does, links lead on."""

import asyncio
import builtins
import enum
import inspect
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest
import typer
from pages import ROOT, SERVER, blocks, codes, environment, rows, run_in, without_blocks

import temporal_state
from docs import pictures
from temporal_state import (
    InvalidValueError,
    Limits,
    Reconcile,
    Recording,
    Recover,
    Retention,
    StateBackend,
    StatePlugin,
    configure,
    errors,
    install_schedule,
    reconcile,
    recover,
    state,
    testing,
)
from temporal_state.cli._app import app
from temporal_state.cli._failures import Code
from temporal_state.documents import Layout, plain
from temporal_state.runs import RunRef
from temporal_state.runs._refs import RunLayout
from temporal_state.storage import encode_name
from temporal_state.temporal import ACTIVITIES

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if blocks(page.read_text(), "python")]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
async def test_every_block_of_python_runs_and_prints_what_it_says(dev, tmp_path, page):
    target = dev.client.service_client.config.target_host
    result = await asyncio.to_thread(run_in, tmp_path, page, target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(path.name for path in tmp_path.glob("*.py")) == sorted(
        block.file for block in blocks(page.read_text(), "python") if block.file
    )
    if page.name == "command-line.md":
        await dev.client.get_workflow_handle("import-8").terminate()  # it was resumed
    if page.name == "layout.md":
        check_the_file_of_a_document(tmp_path / "local/tmp", page.read_text())


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
        "# loads.py\nfrom temporal_state import no_such_name\n",
    ],
)
def test_a_block_that_does_not_hold_is_noticed(tmp_path, broken):
    page = tmp_path / "page.md"
    page.write_text(f"```python\nprint(1)\n#> 1\n```\n\n```python\n{broken}\n```\n")
    result = run_in(tmp_path, page, SERVER)
    assert result.returncode == 1
    assert "the block at line 7 " in result.stderr


@pytest.mark.parametrize(
    "broken",
    [
        "$ temporal-state list\n",
        "$ temporal-state keys; echo $?\n5\n",
        "$ ls\n",
        "temporal-state\n",
    ],
)
def test_a_command_that_does_not_hold_is_noticed(tmp_path, broken):
    page = tmp_path / "page.md"
    before = "$ temporal-state set x '{}'\nworkflows/x has version 1\n"
    page.write_text(f"```console\n{before}{broken}```\n")
    result = run_in(tmp_path, page, SERVER)
    assert result.returncode == 1
    assert "the block at line 2 " in result.stderr


def test_blocks_share_one_namespace_and_the_files_before_them(tmp_path):
    page = tmp_path / "page.md"
    texts = ["# mine.py\nONE = 1\n", "from mine import ONE\n", "print(ONE)\n#> 1\n"]
    page.write_text("\n".join(f"```python\n{text}```\n" for text in texts))
    assert run_in(tmp_path, page, SERVER).returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_there(page):
    targets = re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE)
    text = page.read_text()
    commands = [line for block in blocks(text, "sh") for line in block.text.splitlines()]
    commands += re.findall(r"`(python -m (?:samples|benchmarks)\.[^`]*)`", text)
    for command in commands:
        assert is_known(command, targets), command
    assert set(re.findall(r"`make (\w+)`", text)) <= set(targets)


def is_known(command: str, targets: list[str]) -> bool:
    module = re.fullmatch(r"python -m (samples|benchmarks)\.(\w+)[ \d]*", command)
    if module is not None:
        return (ROOT / module[1] / f"{module[2]}.py").exists()
    return command == "pip install '.[cli]'" or command.removeprefix("make ") in targets


def test_the_readme_begins_with_the_two_commands():
    commands = [
        line for block in blocks(README.read_text(), "sh") for line in block.text.split("\n")
    ]
    assert {"make demo", "make test"} < set(commands)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_every_extra_that_is_named_is_there(page):
    text = without_blocks(page.read_text())
    named = re.findall(r"`((?:tests|temporal_state|samples|benchmarks)/[\w/.]+|worker\.py)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert set(re.findall(r"pip install '\.\[([\w-]+)\]'", text)) <= set(extras)
    if page.name == "stores.md":
        assert {extra for extra in extras if f"`{extra}`" in text} == set(extras)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_page_or_a_heading(page):
    for target in re.findall(r"\]\(([^)]*)\)", without_blocks(page.read_text())):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not heading or heading in headings_of(there.read_text()), target


def headings_of(page: str) -> set[str]:
    found = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in found}


def words_in(svg: str) -> set[str]:
    """The words of a picture; numbers, times and units are of one run only."""
    shown = " ".join(text for text in ET.fromstring(svg).itertext())
    return set(re.findall(r"[A-Za-z_.\-]{4,}", shown))


async def test_the_pictures_are_what_a_terminal_shows_of_real_runs(dev, tmp_path):
    made = await pictures.pictures(dev.client, tmp_path, pictures.PACKAGE / "runs")
    kept = {path.stem: path.read_text() for path in pictures.PICTURES.iterdir()}
    assert made.keys() == kept.keys()
    for name, svg in kept.items():
        assert words_in(svg) == words_in(made[name])
        assert not re.search(r"url\((?!#)|href|@font-face|@import", svg), "it loads something"
        assert any(f"](pictures/{name}.svg)" in page.read_text() for page in PAGES)


def test_every_page_can_be_found():
    linked = set(re.findall(r"\]\(([\w-]+\.md)", text_of("docs/README.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


COMMANDS = text_of("docs/command-line.md")


def test_every_command_of_the_command_line_is_on_its_page_and_runs_there():
    shown = "\n".join(block.text for block in blocks(COMMANDS, "console"))
    listed = {name for row in rows(COMMANDS, "command") for name in codes(row[0])}
    top = typer.main.get_command(app)
    assert listed == set(top.commands)
    for name, command in top.commands.items():
        for part in getattr(command, "commands", {"": None}):
            assert f"$ temporal-state {name} {part}".rstrip() in shown, (name, part)


def test_every_option_of_the_command_line_is_on_its_page_with_its_variable():
    listed = {}
    for option, variable, _ in rows(COMMANDS, "option"):
        listed |= dict.fromkeys(codes(option), *codes(variable))
    found = {
        name: option.envvar for option in typer.main.get_command(app).params for name in option.opts
    }
    found["--no-color"] = "NO_COLOR"
    assert listed == {name: variable for name, variable in found.items() if "complet" not in name}


def test_every_exit_code_is_on_the_page_of_the_command_line():
    listed = [int(row[0]) for row in rows(COMMANDS, "code")]
    assert listed == [*Code]


def test_every_exported_name_and_every_option_is_on_a_page():
    words = {word for page in PAGES for word in re.findall(r"\w+", page.read_text())}
    modules = (temporal_state, state, testing)
    named = {name for module in modules for name in module.__all__}
    parts = [value for value in vars(state).values() if inspect.ismodule(value)]
    named |= {name for part in parts for name in getattr(part, "__all__", ())}
    options = (Limits, Recording, Reconcile, Recover, Retention, StatePlugin, StateBackend.open)
    calls = (reconcile, recover, install_schedule, configure, state.resumable)
    for call in (*options, *calls):
        named |= inspect.signature(call).parameters.keys()
    assert named - words == set()


def test_every_promise_is_proven_by_modules_that_are_there():
    promises = list(rows(README.read_text(), "promise"))
    assert [promise.split()[0] for promise, _ in promises] == [f"P{n}" for n in range(1, 10)]
    for _, proofs in promises:
        assert codes(proofs)
        for module in codes(proofs):
            assert "def test_" in text_of(module)


def test_the_figures_are_such_as_are_measured():
    figures = [row[0] for row in rows(README.read_text(), "figure")]
    measured = text_of("benchmarks/RESULTS.md")
    assert [figure for figure in figures if f"| {figure} |" not in measured] == []
    assert len(figures) == 8


def test_the_table_of_errors_is_that_of_the_code():
    listed = {}
    for cell, _, retryable in rows(text_of("docs/errors.md"), "error"):
        names, _, base = cell.partition(" (")
        for name in codes(names):
            listed[name] = retryable
            for text in codes(base):
                parent = getattr(errors, text, None) or getattr(builtins, text)
                assert parent in getattr(errors, name).__bases__
    actual = {name: getattr(errors, name).retryable for name in errors.__all__}
    assert listed == {name: "yes" if retryable else "no" for name, retryable in actual.items()}


def test_the_limits_are_the_defaults():
    page = text_of("docs/values.md")
    texts = [text for row in rows(page, "limit") for text in codes(row[1])]
    settings = [text for text in texts if text.endswith(")")]
    assert len(settings) == 7
    for text in settings:
        name, argument, value = re.fullmatch(r"(\w+)\((\w+)=(.*)\)", text).groups()
        made = {"Limits": Limits, "Recording": Recording, "StatePlugin": StatePlugin}[name]
        default = inspect.signature(made).parameters[argument].default
        assert eval(value, {"timedelta": timedelta}) == default, text


def test_the_options_of_recording_are_there():
    named = {name for row in rows(text_of("docs/recording.md"), "option") for name in codes(row[0])}
    assert named == set(inspect.signature(Recording).parameters)


def test_the_encoded_id_is_what_an_id_becomes():
    (id, segment) = re.search(r"`([^`]+)` is `(![^`]+)`", text_of("docs/layout.md")).groups()
    assert encode_name(id) == segment


def test_the_layout_is_that_of_the_code():
    (block, *_) = blocks(text_of("docs/layout.md"), "")
    shown = {line.split()[0] for line in block.text.splitlines()}
    layout = Layout("app")
    ref = RunRef("{namespace}", "{workflow_id}", "{run_id}", datetime(2026, 11, 21, tzinfo=UTC))
    made = {
        layout.document("{id}", "type").key.replace("/type/", "/{type}/"),
        layout.keys.address("{name}").key,
        layout.transaction("{transaction}"),
        layout.own_document("{namespace}", "{workflow_id}", "{chain}").key,
        layout.chains("{namespace}", "{workflow_id}").key,
        RunLayout(layout)
        .run(ref)
        .replace("2026-11", "{month}")
        .replace("20261121t000000000000", "{start}"),
    }
    decoded = {key.replace("=7b", "{").replace("=7d", "}") for key in made}
    assert {key.removeprefix(f"{layout.base}/") for key in decoded} <= shown


def test_names_that_never_change_are_those_of_the_code():
    named = {
        code
        for row in rows(text_of("docs/compatibility.md"), "what")
        for code in codes(row[1])
        if code.startswith("temporal_state.")
    }
    known = {activity.__temporal_activity_definition.name for activity in ACTIVITIES}
    assert len(named) == 2
    assert named < known


def test_the_reference_has_every_public_name(tmp_path):
    command = [sys.executable, DOCS / "reference.py", tmp_path]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    for module in (temporal_state, state, testing):
        page = (tmp_path / f"{module.__name__}.md").read_text()
        for name in module.__all__:
            assert f"\n## {name}\n" in page or inspect.ismodule(getattr(module, name)), name
    (signature,) = re.findall(
        r"### StateBackend.transact\n\n```python\n(.*?)\n```",
        (tmp_path / "temporal_state.md").read_text(),
        re.DOTALL,
    )
    assert signature.startswith("async def transact(\n    function: Callable[[Transaction], ")


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


def test_the_table_of_values_is_what_documents_hold():
    kept = refused = 0
    for given, stored in rows(text_of("docs/values.md"), "Python"):
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
