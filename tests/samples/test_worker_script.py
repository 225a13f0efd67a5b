"""worker.py as a user meets it: help, errors of one line, and a clean end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "worker.py"
NOBODY_LISTENS = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in os.environ:
        if name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)


@pytest.fixture
def run(tmp_path, children, monkeypatch):
    def run_one(*arguments, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return children.command(tmp_path, "worker", *arguments)

    return run_one


def error_of(result):
    code, _, errors = result
    assert code == 1
    assert len(errors.splitlines()) == 1, errors
    return errors


@pytest.fixture
def start(tmp_path):
    """Start the script with a dev server; stopped at the end, since killed it would leave that."""
    started = []

    def start_one(*arguments, cwd=None):
        process = subprocess.Popen(
            [sys.executable, SCRIPT, "--dev", "--store", tmp_path / "store", *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline()

    yield start_one
    for process in started:
        process.terminate()
        process.wait(timeout=30)


def test_help_names_every_option(run):
    code, out, _ = run("--help")
    assert code == 0
    for option in ("--dev", "--store", "--app", "--task-queue", "--import"):
        assert option in out


def test_unreachable_server_is_one_line(run, tmp_path):
    error = error_of(run("--store", str(tmp_path), TEMPORAL_ADDRESS=NOBODY_LISTENS))
    assert NOBODY_LISTENS in error
    assert "TEMPORAL_ADDRESS" in error
    assert "--dev" in error


def test_unusable_store_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    assert "file" in error_of(run("--dev", "--store", str(tmp_path / "file")))


def test_bad_configuration_is_one_line(run, tmp_path):
    config = tmp_path / "temporal.toml"
    config.write_text("garbage = [")
    error = error_of(run("--store", str(tmp_path / "store"), TEMPORAL_CONFIG_FILE=str(config)))
    assert "unclosed array" in error


@pytest.mark.parametrize(
    ("module", "said"), [("no_such_module", "no_such_module"), ("json", "nothing to serve")]
)
def test_module_without_anything_to_serve_is_one_line(run, module, said):
    assert said in error_of(run("--import", module))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_dev_server_serves_until_a_signal(start, number):
    process, line = start()
    assert "127.0.0.1:" in line
    assert "'temporal-state'" in line
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    # A dev server that comes up slowly logs on its own that it is not healthy yet.
    ours = [line for line in errors.splitlines() if not line.startswith("time=")]
    assert (output, ours) == ("", [])
    assert process.returncode == 0


def test_imported_modules_are_found_in_the_present_folder(start, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from temporalio import activity\n\n@activity.defn\ndef threaded(): pass\n"
    )
    process, line = start("--import", "mine", "--task-queue", "mine", cwd=tmp_path)
    assert "'mine'" in line
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_unknown_namespace_is_one_line(start, run, tmp_path):
    _, line = start()
    address = next(word for word in line.split() if word.startswith("127.")).rstrip(",")
    result = run(
        "--store", str(tmp_path), TEMPORAL_ADDRESS=address, TEMPORAL_NAMESPACE="no-such-namespace"
    )
    assert "no-such-namespace" in error_of(result)
