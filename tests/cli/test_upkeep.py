"""``reconcile``, ``cleanup`` and ``schedule``, on a real server."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state.cli._models import CleanupShape, ReconcileShape, RunShape, ScheduleShape


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await asyncio.sleep(timedelta(hours=1).total_seconds())


@pytest.fixture
def at(dev):
    return ("--address", dev.client.service_client.config.target_host)


async def test_a_run_that_died_unseen_is_reconciled(on_dev, cli, at):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    async with on_dev.worker(Waits):
        handle = await on_dev.start(Waits.run)
        while not await on_dev.backend.runs.list():
            await asyncio.sleep(0.05)
    await handle.terminate("for good")
    found = (await cli("reconcile", "--json", *at)).json(ReconcileShape)
    assert [(run["before"], run["after"]) for run in found["changed"]] == [
        ("running", "terminated")
    ]
    assert found["complete"]
    assert "looked at" in (await cli("reconcile", *at)).err
    (run,) = (await cli("list", "--json")).lines(RunShape)
    assert (run["status"], run["confirmed"]) == ("terminated", True)


async def test_old_runs_are_cleaned_up_after_they_were_counted(cli, filled):
    dry = await cli("cleanup", "--older-than", "1d", "--dry-run", "--json")
    assert dry.json(CleanupShape) == {"runs": 2, "dry_run": True}
    await cli("cleanup", "--older-than", "1d", input="n\n", code=1)
    failed = await cli("cleanup", "--older-than", "1d", "--status", "failed", "--yes", "--json")
    assert failed.json(CleanupShape)["runs"] == 1
    await cli("cleanup", "--older-than", "1d", "--yes")
    left = (await cli("list", "--json")).lines(RunShape)
    assert [run["workflow_id"] for run in left] == ["order-9"]
    await cli("cleanup", code=2)
    await cli("cleanup", "--older-than", "1d", "--status", "running", code=2)


async def test_a_schedule_is_installed_shown_paused_and_removed(cli, filled, at):
    name = ("--id", f"schedule-{uuid.uuid4().hex[:8]}", *at, "--json")
    await cli("schedule", "show", *name, code=3)
    call = ("schedule", "install", "--task-queue", "q", "--every", "2h", "--keep-runs", "90d")
    installed = (await cli(*call, *name)).json(ScheduleShape)
    assert (installed["every_seconds"], installed["paused"]) == (7200, False)
    paused = (await cli("schedule", "pause", "--note", "we move", *name)).json(ScheduleShape)
    assert (paused["paused"], paused["note"]) == (True, "we move")
    assert not (await cli("schedule", "unpause", *name)).json(ScheduleShape)["paused"]
    assert (await cli("schedule", "show", *name)).json(ScheduleShape)["id"] == name[1]
    assert "2 h 0 min" in (await cli("schedule", "show", *name[:-1])).out
    assert not (await cli("schedule", "remove", "--yes", *name)).json(ScheduleShape)["installed"]
    await cli("schedule", "remove", "--yes", *name, code=3)
    await cli("schedule", "pause", *name, code=3)
