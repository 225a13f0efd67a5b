"""Each sample by its one line, in a folder of its own, with what it must print."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTED_ELSEWHERE = {"demo"}
NO_SAMPLES = {"inventory", "inventory_files", "progress", "record", "recount", "worker_process"}
"""What the demo is made of."""

PRINTED = {
    "hello": ["{'greeting': 'Hello, world!', 'greeted': 'world'}"],
    "nightly": [
        "night 1: 29 new bytes",
        "night 2: 33 new bytes",
        "customers: ['ada', 'grace']",
    ],
    "resume": [
        "extract 2026-11-21",
        "publish 1000 rows",
        "the run failed",
        "taken over: ['extract']",
        "executed: ['publish']",
        "publish 1000 rows",
        "1000 rows published",
    ],
    "items": [
        *(f"attempt 1: {number}" for number in range(1, 5)),
        *(f"attempt 2: {number}" for number in range(5, 9)),
        "sum: 36",
    ],
    "credentials": [
        r"refused: \$\.password holds a raw secret; .*",
        "connected to db.example.com with a password of 28 characters",
    ],
    "stock": [r"\['bought', 'sold out'\] {'left': 0}"],
    "read_runs": ["<StateBackend .*> has no runs; python -m samples.hello makes one"],
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_sample_prints_what_it_is_for(tmp_path, children, name):
    code, out, errors = children.command(tmp_path, f"samples.{name}")
    assert code == 0, errors
    printed = out.splitlines()
    assert len(printed) == len(PRINTED[name]), out
    for line, expected in zip(printed, PRINTED[name], strict=True):
        assert line == expected or re.fullmatch(expected, line)
    if name == "hello":  # what it leaves can be read without Temporal
        _, read, errors = children.command(tmp_path, "samples.read_runs")
        assert re.match(r"hello +Hello +completed +0:00:", read), read + errors
        assert "its own document: {'greeting': 'Hello, world!'" in read


def test_every_sample_is_run_and_says_how():
    found = {path.stem for path in (ROOT / "samples").glob("*.py")} - NO_SAMPLES - {"__init__"}
    assert found == {*PRINTED, *TESTED_ELSEWHERE}
    for name in found:
        assert f"python -m samples.{name}" in (ROOT / "samples" / f"{name}.py").read_text()
