"""``resume`` on real servers, ``doctor``, and Temporal that cannot be reached."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state.cli._models import DoctorShape, RecoverShape, ResumeShape, RunDetails, StepShape

SOON = timedelta(seconds=30)
CLOSED = "127.0.0.1:1"  # a port that no system gives to who asks for any
broken: set[str] = set()
ran: list[str] = []


@activity.defn
async def part(name: str) -> str:
    ran.append(name)
    if name in broken:
        raise ApplicationError(f"{name} is broken", non_retryable=True)
    return f"{name} done"


@workflow.defn
class Parts:
    @workflow.run
    async def run(self, names: list[str]) -> list[str]:
        options = {"start_to_close_timeout": SOON, "retry_policy": RetryPolicy(maximum_attempts=1)}
        return [await workflow.execute_activity(part, name, **options) for name in names]


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(timedelta(hours=1))


@pytest.fixture
def at(dev):
    return ("--address", dev.client.service_client.config.target_host)


async def test_a_failed_run_is_resumed_after_its_plan_was_shown(on_dev, cli, at):
    ran.clear()
    broken.add("b")
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    async with on_dev.worker(Parts, activities=[part]):
        handle = await on_dev.start(Parts.run, ["a", "b", "c"])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        broken.clear()
        planned = await cli("resume", handle.id, "--dry-run", "--json", *at)
        plan = planned.json(ResumeShape)
        assert [step["name"] for step in plan["taken_over"]] == ["part"]
        assert [step["status"] for step in plan["executed"]] == ["failed"]
        assert plan["started"] is None
        refused = await cli("resume", handle.id, *at, input="n\n", code=1)
        assert "taken over" in refused.out
        assert "nothing was done" in refused.err
        assert ran == ["a", "b"]
        resumed = (await cli("resume", handle.id, "--yes", "--json", *at)).json(ResumeShape)
        again = on_dev.client.get_workflow_handle(handle.id, run_id=resumed["started"])
        assert await again.result() == ["a done", "b done", "c done"]
        assert ran == ["a", "b", "b", "c"]
        done = (await cli("resume", handle.id, "--yes", *at, code=4)).err
        assert "nothing to resume" in done
    run = (await cli("show", handle.id, "--json")).json(RunDetails)
    assert run["resumed_from"]["run_id"] == plan["run_id"]
    steps = (await cli("steps", handle.id, "--json")).lines(StepShape)
    assert [step["taken_over"] for step in steps] == [True, False, False]
    assert "↻" in (await cli("steps", handle.id, "--timeline")).out
    await cli("resume", handle.id, "--args", "{}", *at, code=2)
    await cli("resume", "nobody", "--yes", *at, code=3)


async def test_a_record_that_still_says_running_is_told_after_resuming(on_dev, cli, at):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    async with on_dev.worker(Waits):
        handle = await on_dev.start(Waits.run)
        while not await on_dev.backend.runs.list():
            await asyncio.sleep(0.02)
    await handle.terminate()
    said = (await cli("resume", handle.id, "--yes", *at)).err
    told = said.partition("'temporal-state reconcile ")[2].partition("'")[0].split()
    await cli("reconcile", *told, *at)
    run = (await cli("show", *told, "--json")).json(RunDetails)
    assert run["status"] == "terminated"
    await on_dev.client.get_workflow_handle(handle.id).terminate()


async def test_a_history_gives_no_value_to_a_record_unless_it_is_asked_for(on_dev, cli, at):
    broken.clear()
    on_dev.options |= {"workflow_runner": UnsandboxedWorkflowRunner(), "plugins": []}
    async with on_dev.worker(Parts, activities=[part]):
        for options, kept in (((), None), (("--capture", "results"), '"a done"')):
            handle = await on_dev.start(Parts.run, ["a"])
            await handle.result()
            await cli("reconcile", handle.id, *options, *at)
            (step,) = await on_dev.backend.runs.steps(handle.id)
            run = await on_dev.backend.runs.get(handle.id)
            assert (run.status, step.status) == ("completed", "completed")
            assert (step.result and step.result.data.decode()) == kept
            assert bool(run.input) == bool(run.result) == bool(kept)
    await cli("reconcile", "--capture", "some", *at, code=2)


async def test_all_that_failed_is_recovered_after_it_was_asked(on_dev, cli, at):
    broken.add("b")
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    assert (await cli("recover", "--json", *at)).json(RecoverShape)["candidates"] == []
    async with on_dev.worker(Parts, activities=[part]):
        failed = [await on_dev.start(Parts.run, ["a", "b"]) for _ in range(2)]
        for handle in failed:
            with pytest.raises(WorkflowFailureError):
                await handle.result()
        broken.clear()
        while len(await on_dev.backend.runs.list(status="failed")) < 2:
            await asyncio.sleep(0.05)
        ids = {handle.id for handle in failed}
        dry = (await cli("recover", "--dry-run", "--json", *at)).json(RecoverShape)
        assert {run["workflow_id"] for run in dry["candidates"]} == ids
        assert dry["resumed"] == []
        asked = await cli("recover", "--status", "failed", *at, input="n\n", code=1)
        assert all(id in asked.out for id in ids)
        found = (await cli("recover", "--yes", "--json", *at)).json(RecoverShape)
        assert {run["workflow_id"] for run in found["resumed"]} == ids
        for run in found["resumed"]:
            again = on_dev.client.get_workflow_handle(run["workflow_id"], run_id=run["run_id"])
            assert await again.result() == ["a done", "b done"]
    await cli("recover", "--status", "asleep", *at, code=2)


async def test_recovering_without_temporal_is_code_5(cli, filled):
    ref = await filled.runs.start("wf", workflow_type="Job", kind="workflow")
    await filled.runs.finish(ref, "failed", error="x")
    await cli("recover", "--yes", "--address", CLOSED, code=5)


async def test_temporal_that_is_not_there_is_one_line_and_code_5(cli, filled):
    answer = await cli("resume", "order-7", "--address", CLOSED, code=5)
    assert answer.err == (
        f"temporal-state: cannot reach Temporal at {CLOSED}: Connection refused; give its "
        "--address\n"
    )


async def checks(cli, *options, code=0):
    found = (await cli("doctor", "--json", *options, code=code)).json(DoctorShape)
    return {check["name"]: check["status"] for check in found["checks"]}


async def test_a_doctor_finds_nothing_wrong_and_leaves_nothing_behind(cli, filled, at, root):
    before = {path for path in root.rglob("*") if path.is_file() and ".temporal" not in str(path)}
    assert set((await checks(cli, *at)).values()) == {"ok"}
    after = {path for path in root.rglob("*") if path.is_file() and ".temporal" not in str(path)}
    assert before == after
    assert "namespace default keeps closed runs for" in (await cli("doctor", *at)).out


async def test_a_doctor_tells_that_temporal_is_not_there(cli, filled):
    found = await checks(cli, "--address", CLOSED, code=5)
    assert found["Temporal"] == "failed"
    assert found["store"] == "ok"
    answer = await cli("doctor", env={"TEMPORAL_ADDRESS": CLOSED}, code=5)
    assert "Temporal failed" in answer.err


async def test_a_doctor_tells_that_a_namespace_is_not_there(cli, filled, at):
    assert (await checks(cli, "--namespace", "nobody", *at, code=5))["Temporal"] == "failed"


async def test_a_doctor_finds_a_catalog_that_lacks_a_run(cli, filled, at, root):
    (run,) = root.rglob("*r1/run.json")
    run.unlink()  # behind the catalog's back
    found = await checks(cli, *at, code=1)
    assert found["catalog"] == "failed"
    await cli("reindex")
    assert (await checks(cli, *at))["catalog"] == "ok"
