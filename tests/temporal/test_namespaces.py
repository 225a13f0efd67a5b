"""Of which namespace runs are meant where none is named: of the calling run's, or the backend's."""

import dataclasses
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

import temporal_state._default
from temporal_state import Retention, StateBackend, configure
from temporal_state.temporal import _maintenance
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._plugin import DEFAULT_RECORDING
from temporal_state.temporal._wire import from_raw, to_raw
from temporal_state.temporal.requests import (
    Cleanup,
    CreateSnapshot,
    DeleteRun,
    GetRun,
    GetRunsOf,
    GetStats,
    ListRuns,
    StartRun,
)

INFO = dataclasses.replace(
    ActivityEnvironment.default_info(), namespace="prod", workflow_namespace="prod"
)


@pytest.fixture
async def backend(monkeypatch):
    monkeypatch.setattr(temporal_state._default, "_default", None)
    monkeypatch.delenv("TEMPORAL_NAMESPACE", raising=False)
    async with StateBackend.open("memory://", app="tests") as opened:
        for namespace in ("prod", "default"):
            ref = await opened.runs.start(
                f"of {namespace}", workflow_type="T", namespace=namespace, run_id="r"
            )
            await opened.runs.finish(ref)
        yield opened


async def in_prod(backend, request):
    """Perform an operation as in an activity of a worker in another namespace than ``default``."""
    call = ActivityCall(backend, INFO, None, 900_000)
    return await request.perform(call.scope(request))


async def test_in_an_activity_it_is_that_of_the_calling_run(backend):
    assert (await in_prod(backend, GetRun(workflow_id="of prod")))["run_id"] == "r"
    assert await in_prod(backend, GetRun(workflow_id="of default")) is None
    named = GetRun(workflow_id="of default", namespace="default")
    assert (await in_prod(backend, named))["run_id"] == "r"
    assert len(await in_prod(backend, GetRunsOf(workflow_id="of prod"))) == 1
    assert [r["workflow_id"] for r in (await in_prod(backend, ListRuns()))["items"]] == ["of prod"]
    assert (await in_prod(backend, GetStats()))["total"] == 1
    await in_prod(backend, CreateSnapshot(name="s", workflow_id="of prod"))
    begun = StartRun(more={"workflow_id": "new", "workflow_type": "T"})
    assert (await in_prod(backend, begun))["namespace"] == "prod"
    assert await in_prod(backend, Cleanup(older_than_seconds=0)) == 1
    assert await in_prod(backend, DeleteRun(workflow_id="of default")) is None
    assert (await in_prod(backend, DeleteRun(workflow_id="new", force=True)))["run_id"]


async def test_maintenance_on_temporal_is_of_the_runs_of_its_workers_namespace(backend):
    (maintain,) = _maintenance.maintenance_activities(backend, lambda: DEFAULT_RECORDING)
    environment = ActivityEnvironment()
    environment.info = INFO
    asked = {"part": "runs", "cursor": None, "reconcile": None}
    asked["retention"] = Retention(runs=timedelta(0)).to_json()
    assert from_raw(await environment.run(maintain, to_raw(asked)))["done"] == 1
    assert await backend.runs.get("of prod", namespace="prod") is None
    assert await backend.runs.get("of default") is not None


@pytest.mark.parametrize("how", ["given", "environment"])
async def test_elsewhere_it_is_that_of_the_backend(backend, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("TEMPORAL_NAMESPACE", "prod")
    given = {"namespace": "prod"} if how == "given" else {}
    async with StateBackend.open(backend.store, app="tests", **given) as other:
        assert other.namespace == "prod"
        assert await other.runs.get("of prod") is not None
        assert await other.runs.get("of default") is None
        assert [run.workflow_id for run in await other.runs.list()] == ["of prod"]
        assert (await other.runs.start("new", workflow_type="T")).namespace == "prod"
        assert (await other.snapshots.create("s", run="of prod")).run["namespace"] == "prod"
        assert await other.maintenance.cleanup(older_than=timedelta(0)) == 1
    assert configure("memory://", namespace="prod").namespace == "prod"
