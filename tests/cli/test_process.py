"""The command line as a process: its entry point, closed pipes, Ctrl-C."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from command_line import command

from temporal_state import cli as package
from temporal_state.cli._import import chunks

PIPE = subprocess.PIPE


async def started(root, *args, stdin=subprocess.DEVNULL):
    call, env = command(root, *args)
    return await asyncio.create_subprocess_exec(
        *call, stdin=stdin, stdout=PIPE, stderr=PIPE, env=env
    )


async def test_the_entry_point_is_the_one_that_is_installed(root, filled):
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert 'temporal-state = "temporal_state.cli:main"' in project.read_text()
    assert callable(package.main)
    process = await started(root, "list", "--json")
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[0])["workflow_id"] == "order-9"
    for found in entry_points(group="console_scripts", name="temporal-state"):
        assert found.value == "temporal_state.cli:main"


async def test_export_and_import_are_joined_by_a_pipe(root, filled, tmp_path):
    call, env = command(root, "export")
    into, _ = command(tmp_path / "other", "import", "--json")
    quoted = [" ".join(f"'{part}'" for part in part) for part in (call, into)]
    process = await asyncio.create_subprocess_shell(
        " | ".join(quoted), stdout=PIPE, stderr=PIPE, env=env
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["documents"] == 3
    assert b"exported 3 documents" in err


async def test_a_pipe_that_is_closed_early_is_no_error(root, filled):
    for n in range(40):
        await filled.documents.replace(f"large-{n}", {"text": "x" * 50_000})
    call, env = command(root, "export")
    quoted = " ".join(f"'{part}'" for part in call)
    process = await asyncio.create_subprocess_shell(
        f"{quoted} | head -n 1; echo ${{PIPESTATUS[0]}}",
        stdout=PIPE,
        stderr=PIPE,
        env=env,
        executable="/bin/bash",
    )
    out, err = await process.communicate()
    first, code = out.splitlines()
    assert json.loads(first)["kind"] == "record"
    assert code == b"141"
    assert err == b""


async def test_ctrl_c_ends_follow_with_130(root, filled):
    process = await started(root, "follow", "order-9", "--every", "0.05", "--json")
    assert json.loads(await process.stdout.readline())["workflow_id"] == "order-9"
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert err == b"temporal-state: interrupted\n"


async def test_ctrl_c_during_an_import_says_how_far_it_came_and_it_can_go_on(
    root, filled, tmp_path
):
    process = await started(tmp_path / "other", "import", "-", stdin=PIPE)
    lines = [
        json.dumps({"kind": "document", "type": "notes", "id": f"n{i}", "value": {"i": i}})
        for i in range(100)
    ]
    process.stdin.write("".join(f"{line}\n" for line in lines).encode())
    await process.stdin.drain()
    folder = tmp_path / "other/persistent-artifacts/apps/tests/notes"
    while len([*folder.glob("*")] if folder.exists() else []) < 60:  # the input stays open
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    err = (await asyncio.wait_for(process.communicate(), 20))[1].decode()
    assert process.returncode == 130
    count = int(re.search(r"imported (\d+) documents", err)[1])
    assert "temporal-state: interrupted" in err
    whole = [json.loads(p.read_text())["i"] for p in folder.glob("*/config.json")]
    assert len(whole) == count


async def test_ctrl_c_during_an_export_leaves_no_part_of_a_file(root, filled, tmp_path):
    slow = tmp_path / "out.ndjson"
    slow.write_text("former")
    for n in range(300):
        await filled.documents.replace(f"many-{n}", {"text": "x" * 1000})
    process = await started(root, "export", slow, "--yes")
    while not [*tmp_path.glob("*.partial")] and process.returncode is None:
        await asyncio.sleep(0.005)
    process.send_signal(signal.SIGINT)
    err = (await asyncio.wait_for(process.communicate(), 20))[1].decode()
    assert process.returncode == 130, err
    assert "was not written" in err
    assert slow.read_text() == "former"
    assert not [*tmp_path.glob("*.partial")]


async def test_a_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['typer'] = None; from temporal_state.cli import main; main()"
    _, env = command(tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=PIPE, stderr=PIPE, env=env
    )
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"pip install 'temporal-state[cli]'" in err


async def test_lines_keep_their_numbers(tmp_path):
    file = tmp_path / "lines"
    file.write_text("".join(f"{n}\n" for n in range(1, 100)))
    found = [line async for some in chunks(str(file)) for line in some]
    assert found == [(n, f"{n}\n".encode()) for n in range(1, 100)]
