"""Ctrl-C at any moment of a long command: it says how far it came, and nothing is half done.

The command is a process of its own, and the n-th call of its store waits until the test has
interrupted it; the same command then does the rest.
"""

import asyncio
import json
import os
import re
import signal
from urllib.parse import quote

import pytest
from command_line import NOON, command_line
from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import StateBackend
from temporal_state.cli._models import RecoverShape, RunShape

SLOWLY = """
import asyncio, sys
from pathlib import Path
from temporal_state.storage import LocalStore

names, number = sys.argv.pop(1), int(sys.argv.pop(1))
reached, interrupted = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
calls = 0

def slow(call):
    def made(self, *args, **options):
        global calls
        calls += 1
        if calls != number:
            return call(self, *args, **options)
        async def at_last():
            reached.touch()
            while not interrupted.exists():
                await asyncio.sleep(0.005)
            return await call(self, *args, **options)
        return at_last()
    return made

for name in names.split():
    setattr(LocalStore, name, slow(getattr(LocalStore, name)))
"""
READS, WRITES = "get list", "put update delete delete_if_match"
RUNS = [f"run-{number}" for number in range(4)]


async def filled_with_runs(backend, ids):
    for id in ids:
        ref = await backend.runs.start(id, workflow_type="Job", kind="workflow", started=NOON)
        await backend.runs.step(ref, number=1, name="load", result="x" * 10, at=NOON)
        await backend.runs.checkpoint(ref, step=1, state={"a": 1}, at=NOON)
        await backend.runs.finish(ref, "failed", error="x", ended=NOON, at=NOON)
    await backend.runs.list()  # so that the catalog has them


@pytest.fixture
def interrupted(children, root, tmp_path):
    """Interrupts a command in a call of its store; returns what it says."""

    async def interrupt(*args, names, number, meanwhile=lambda: None):
        markers = [tmp_path / name for name in ("reached", "interrupted")]
        given = [names, number, *markers]
        child = command_line(children, root, *args, before=SLOWLY, given=given)
        while not markers[0].exists():
            assert child.poll() is None, child.communicate()
            await asyncio.sleep(0.005)
        meanwhile()
        os.kill(child.pid, signal.SIGINT)
        markers[1].touch()
        _, err = await asyncio.to_thread(child.communicate, timeout=30)
        assert child.returncode == 130, err
        assert err.endswith("temporal-state: interrupted\n")
        assert "Traceback" not in err
        return err

    return interrupt


async def whole_runs(root):
    """The ids of the runs; each has all that belongs to it."""
    async with StateBackend.open(root, app="tests") as backend:
        found = await backend.runs.list(limit=None)
        for run in found:
            (step,) = await backend.runs.steps(run.workflow_id, run_id=run.run_id)
            assert step.result.json() == "x" * 10
            (checkpoint,) = await backend.runs.history(run.workflow_id, run_id=run.run_id)
            assert checkpoint.state == {"a": 1}
        return {run.workflow_id for run in found}


@pytest.mark.parametrize("number", [1, 5, 16])
async def test_a_cleanup_deletes_runs_whole_or_not_at_all(cli, root, interrupted, number):
    async with StateBackend.open(root, app="tests") as backend:
        await filled_with_runs(backend, RUNS)
    call = ("cleanup", "--older-than", "1d", "--yes")
    said = await interrupted(*call, names=WRITES, number=number)
    left = await whole_runs(root)
    if left != {*RUNS}:
        assert "of 4 runs were deleted" in said
    await cli(*call)
    assert (await cli("list", "--json")).out == ""
    async with StateBackend.open(root, app="tests") as backend:
        deleted = [line.target["workflow_id"] for line in await backend.audit.list()]
    assert sorted(deleted) == RUNS


@pytest.mark.parametrize("number", [5, 15])
async def test_a_catalog_that_was_not_made_to_the_end_misses_nothing(
    cli, filled, interrupted, number
):
    await interrupted("reindex", names=READS, number=number)
    found = (await cli("list", "--json")).lines(RunShape)
    assert [run["workflow_id"] for run in found] == ["order-9", "order-8", "order-7"]


@pytest.mark.parametrize("number", [1, 4])
async def test_documents_are_adopted_whole_and_the_rest_the_next_time(
    cli, root, interrupted, number
):
    theirs = root.parent / "theirs/persistent-artifacts/apps/tests/workflows"
    for n in range(40):
        folder = theirs / quote(f"Order {n}")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"n": n}))
    root.mkdir()
    call = ("adopt", root.parent / "theirs", "--unquoted")
    await interrupted(*call, names=WRITES, number=number)
    async with StateBackend.open(root, app="tests") as backend:
        ids = (await backend.documents.list(limit=100)).ids
        assert [await backend.documents.get(id) for id in ids] == [
            {"n": int(id.split()[1])} for id in ids
        ]
        await cli(*call)
        assert len((await backend.documents.list(limit=100)).ids) == 40


async def test_an_export_leaves_no_part_of_a_file(filled, interrupted, tmp_path):
    file, parts = tmp_path / "out.ndjson", []
    file.write_text("former")
    for n in range(20):
        await filled.documents.replace(f"many-{n}", {"n": n})

    def look():
        parts.extend(tmp_path.glob("*.partial"))

    call = ("export", file, "--yes")
    said = await interrupted(*call, names=READS, number=12, meanwhile=look)
    assert len(parts) == 1
    assert "was not written" in said
    assert file.read_text() == "former"
    assert not [*tmp_path.glob("*.partial")]


async def test_a_reconciliation_says_how_far_it_came(cli, dev, root, interrupted):
    at = ("--address", dev.client.service_client.config.target_host)
    async with StateBackend.open(root, app="tests") as backend:
        for id in RUNS:
            await backend.runs.start(id, workflow_type="Job", kind="workflow", started=NOON)
    said = await interrupted("reconcile", *at, names=READS, number=8)
    assert "looked at" in said
    assert "Temporal does not know run" in (await cli("reconcile", *at)).err


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("for good", non_retryable=True)


@pytest.mark.parametrize("number", [42, 58])
async def test_a_recovery_resumes_no_run_twice(cli, on_dev, interrupted, number):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    async with on_dev.worker(Fails):
        handles = [await on_dev.start(Fails.run) for _ in range(3)]
        for handle in handles:
            with pytest.raises(WorkflowFailureError):
                await handle.result()
    at = ("--address", on_dev.client.service_client.config.target_host)
    said = await interrupted("recover", "--yes", *at, names=READS, number=number)
    resumed = int(re.search(r"of 3 runs: (\d) were resumed", said)[1])
    found = (await cli("recover", "--yes", "--json", *at, code=None)).json(RecoverShape)
    assert resumed + len(found["resumed"]) <= 3
    for failed in handles:
        handle = on_dev.client.get_workflow_handle(failed.id)
        assert (await handle.describe()).status.name == "RUNNING"
        await handle.terminate()
