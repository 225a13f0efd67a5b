"""The pytest plugin: what it gives to a project of its own, and what it costs another."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

import temporal_state
from temporal_state import StoreError, open_store, state
from temporal_state.testing import FailingStore, steps_by_name, wait_for_run

ROOT = Path(temporal_state.__file__).parents[1]
SOON = timedelta(seconds=30)


@activity.defn
async def load(row: int) -> int:
    return row * 10


@workflow.defn
class Import:
    @workflow.run
    async def run(self, rows: int) -> int:
        total = 0
        for row in range(rows):
            total += await workflow.execute_activity(load, row, start_to_close_timeout=SOON)
        await state.update(total=total)
        await workflow.sleep(timedelta(days=1))
        return total


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("on purpose")


async def test_a_worker_runs_on_time_that_is_skipped(temporal_state_worker):
    async with temporal_state_worker(Import, activities=[load]) as worker:
        assert await worker.execute(Import.run, 3, id="import") == 30
        run = await wait_for_run(worker.backend, "import")
    assert (run.status, run.ended - run.started >= timedelta(days=1)) == ("completed", True)
    steps = await steps_by_name(worker.backend, "import")
    assert [step.result.json() for step in steps["load"]] == [0, 10, 20]
    assert await worker.backend.runs.document("import") == {"total": 30}


async def test_each_test_has_a_store_of_its_own(temporal_state_backend):
    assert await temporal_state_backend.runs.get("import") is None
    assert temporal_state_backend.store.url == "memory://"


async def test_a_record_that_does_not_come_so_far_is_told(temporal_state_worker):
    at_once = timedelta()
    async with temporal_state_worker(Failing) as worker:
        handle = await worker.start(Failing.run)
        run = await wait_for_run(worker.backend, handle.id, status="failed")
        assert run.error.message == "on purpose"
        with pytest.raises(AssertionError, match=r"is failed.*not completed"):
            await wait_for_run(worker.backend, handle.id, status="completed", patience=at_once)
        with pytest.raises(AssertionError, match="is not there, not closed and confirmed"):
            await wait_for_run(worker.backend, "other", patience=at_once)


class TestWithAnotherStore:
    @pytest.fixture
    def temporal_state_store(self):
        return FailingStore(open_store("memory://"))

    @pytest.fixture
    def temporal_state_server(self, temporal_state_dev_server):
        return temporal_state_dev_server

    async def test_fixtures_may_be_redefined(self, temporal_state_store, temporal_state_worker):
        temporal_state_store.error = StoreError("the disk is gone")
        async with temporal_state_worker(Failing) as worker:
            handle = await worker.start(Failing.run)
            with pytest.raises(Exception, match="Workflow execution failed"):
                await handle.result()
            temporal_state_store.error = None
            assert (await wait_for_run(worker.backend, handle.id)).status == "failed"


UNRELATED = """
import sys

def test_nothing_of_ours_is_imported():
    ours = {"pytest_temporal_state"}
    found = {m for m in sys.modules if m.split(".")[0] in {"temporalio", "temporal_state"}}
    assert not found
    assert ours <= set(sys.modules)
"""


def test_another_project_pays_nothing_for_it(tmp_path):
    (tmp_path / "test_unrelated.py").write_text(UNRELATED)
    result = run_pytest(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder as a project of its own; ``-p`` is what the entry point does."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_temporal_state", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
