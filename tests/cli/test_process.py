"""The command line as a process: its entry point, closed pipes, Ctrl-C."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from command_line import command, command_line

from temporal_state import cli as package
from temporal_state.cli._import import chunks

PIPE = subprocess.PIPE


async def ended(process):
    """What a forked process has printed, once it has ended."""
    return await asyncio.to_thread(process.communicate, timeout=30)


async def test_the_entry_point_is_the_one_that_is_installed(root, filled):
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert 'temporal-state = "temporal_state.cli:main"' in project.read_text()
    assert callable(package.main)
    call, env = command(root, "list", "--json")
    process = await asyncio.create_subprocess_exec(*call, stdout=PIPE, stderr=PIPE, env=env)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[0])["workflow_id"] == "order-9"
    for found in entry_points(group="console_scripts", name="temporal-state"):
        assert found.value == "temporal_state.cli:main"


@pytest.fixture
def pipe(tmp_path):
    """A pipe with a name, and programs that make it a process's standard output, or input."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    into = f"import os, sys; os.dup2(os.open({str(path)!r}, os.O_WRONLY), 1)\n"
    out_of = f"import os; os.dup2(os.open({str(path)!r}, os.O_RDONLY), 0)\n"
    return path, f"{into}sys.stdout = open(1, 'w', closefd=False)", out_of


async def test_export_and_import_are_joined_by_a_pipe(children, root, filled, tmp_path, pipe):
    _, into, out_of = pipe
    export = command_line(children, root, "export", before=into)
    to = command_line(children, tmp_path / "other", "import", "--json", before=out_of)
    out, err = await ended(to)
    assert to.returncode == 0, err
    assert json.loads(out)["documents"] == 3
    assert "exported 3 documents" in (await ended(export))[1]
    assert export.returncode == 0


async def test_a_pipe_that_is_closed_early_is_no_error(children, root, filled, pipe):
    for n in range(40):
        await filled.documents.replace(f"large-{n}", {"text": "x" * 50_000})
    path, into, _ = pipe
    export = command_line(children, root, "export", before=into)

    def first_line() -> str:
        with path.open() as reader:
            return reader.readline()

    assert json.loads(await asyncio.to_thread(first_line))["kind"] == "record"
    _, err = await ended(export)
    assert (export.returncode, err) == (141, "")


async def test_ctrl_c_ends_follow_with_130(children, root, filled):
    process = command_line(children, root, "follow", "order-9", "--every", "0.05", "--json")
    while not process.output_so_far().endswith("\n"):
        await asyncio.sleep(0.005)
    assert json.loads(process.output_so_far())["workflow_id"] == "order-9"
    os.kill(process.pid, signal.SIGINT)
    _, err = await ended(process)
    assert (process.returncode, err) == (130, "temporal-state: interrupted\n")


async def test_ctrl_c_during_an_import_says_how_far_it_came_and_it_can_go_on(
    children, tmp_path, pipe
):
    path, _, out_of = pipe
    process = command_line(children, tmp_path / "other", "import", "-", before=out_of)
    folder = tmp_path / "other/persistent-artifacts/apps/tests/notes"
    with await asyncio.to_thread(path.open, "w") as writer:
        for i in range(100):
            line = {"kind": "document", "type": "notes", "id": f"n{i}", "value": {"i": i}}
            writer.write(f"{json.dumps(line)}\n")
        writer.flush()  # and the input stays open
        while len([*folder.glob("*")] if folder.exists() else []) < 60:
            await asyncio.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, err = await ended(process)
    assert process.returncode == 130
    count = int(re.search(r"imported (\d+) documents", err)[1])
    assert "temporal-state: interrupted" in err
    whole = [json.loads(p.read_text())["i"] for p in folder.glob("*/config.json")]
    assert len(whole) == count


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "temporal_state.cli._app", raising=False)
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"needs typer; .*pip install 'temporal-state\[cli\]'"):
        package.main()


async def test_lines_keep_their_numbers(tmp_path):
    file = tmp_path / "lines"
    file.write_text("".join(f"{n}\n" for n in range(1, 100)))
    found = [line async for some in chunks(str(file)) for line in some]
    assert found == [(n, f"{n}\n".encode()) for n in range(1, 100)]
