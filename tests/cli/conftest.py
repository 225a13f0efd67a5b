"""A store with runs and documents in it."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from command_line import NOON, OF_THE_USER, SECOND, Cli

from temporal_state import StateBackend


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Keeps what the user has set away from every command."""
    for name in OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def cli(root) -> Cli:
    return Cli(root)


@pytest.fixture
async def backend(root):
    async with StateBackend.open(root, app="tests") as opened:
        yield opened


@pytest.fixture
async def filled(template, root) -> AsyncIterator[StateBackend]:
    """One run that failed, one that completed, one that is running; documents and a key."""
    shutil.copytree(template, root)
    async with StateBackend.open(root, app="tests") as opened:
        yield opened


@pytest.fixture(scope="session")
async def template(tmp_path_factory) -> Path:
    """The same, made once."""
    folder = tmp_path_factory.mktemp("template") / "store"
    async with StateBackend.open(folder, app="tests") as opened:
        await fill(opened)
        await opened.runs.list()
    return folder


async def fill(backend: StateBackend) -> None:
    runs = backend.runs
    ref = await runs.start(
        "order-7", workflow_type="Import", run_id="r1", started=NOON, input=[{"rows": 3}], at=NOON
    )
    await runs.step(
        ref, number=1, name="load", started=NOON, ended=NOON + 4 * SECOND, result="ok", at=NOON
    )
    await runs.step(
        ref,
        number=2,
        name="parse",
        status="failed",
        started=NOON + 2 * SECOND,
        ended=NOON + 8 * SECOND,
        attempt=3,
        error="no such row",
        at=NOON + 8 * SECOND,
    )
    await runs.progress(ref, 2, 3, "rows loaded", at=NOON + 5 * SECOND)
    for number, total in ((1, 10), (2, 20)):
        state = {"total": total, "old" if number == 1 else "new": True}
        await runs.checkpoint(ref, step=number, state=state, at=NOON + number * SECOND)
    await runs.finish(ref, "failed", error="no such row", ended=NOON + 10 * SECOND, at=NOON)
    done = await runs.start(
        "order-8", workflow_type="Export", run_id="r2", started=NOON + 60 * SECOND
    )
    await runs.finish(done, result=[1], ended=NOON + 61 * SECOND)
    open_run = await runs.start(
        "order-9",
        workflow_type="Import",
        run_id="r3",
        started=NOON + 120 * SECOND,
        metadata={"team": "a"},
    )
    await runs.progress(open_run, 5, 10)
    await backend.documents.replace("doc-1", {"status": "loading", "total": 3})
    await backend.documents.replace("doc-2", {"note": "second"})
    await backend.documents.replace("Other", {"x": 1}, "settings")
    await backend.keys.set("exec:1:var", "secret-token-value")
