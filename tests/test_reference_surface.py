"""The `StateStore` surface that applications already use, statement by statement, as they print it.

Signatures are theirs to the letter: parameter names, order, positional and keyword use, results.
"""

import uuid
from datetime import datetime, timedelta

import pytest
from temporalio import activity, workflow

import temporal_state
from temporal_state import (
    PathTraversalError,
    StateBackend,
    StateStore,
    StateType,
    StoreError,
    build_state_store_path,
    configure,
)

SOON = timedelta(seconds=30)


@pytest.fixture
def default(tmp_path, monkeypatch):
    """A process that uses the default root, below its working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TEMPORAL_STATE_URL", raising=False)
    backend = configure(app="appName")
    yield backend
    temporal_state._default._default = None


async def statements_of_the_overview(prefix=""):
    wf, cred = f"{prefix}workflow-123", f"{prefix}db-cred-456"
    state = await StateStore.get_state(wf, StateType.WORKFLOWS)
    assert f"Current status: {state.get('status', 'unknown')}" == "Current status: unknown"
    creds = await StateStore.get_state(cred, StateType.CREDENTIALS)
    assert creds.get("database") is None

    assert (
        await StateStore.save_state(key="progress", value=75, id=wf, type=StateType.WORKFLOWS)
        is None
    )
    await StateStore.save_state(
        key="execution_info",
        value={"started_at": "2024-01-15T10:00:00Z", "worker_id": "worker-1"},
        id=wf,
        type=StateType.WORKFLOWS,
    )
    workflow_state = {
        "status": "running",
        "current_step": "data_processing",
        "progress": 50,
        "config": {"batch_size": 1000},
    }
    updated = await StateStore.save_state_object(
        id=wf, value=workflow_state, type=StateType.WORKFLOWS
    )
    assert len(updated) == 5
    cred_config = {"credential_type": "database", "host": "db.example.com", "port": 5432}
    await StateStore.save_state_object(id=cred, value=cred_config, type=StateType.CREDENTIALS)
    assert await StateStore.get_state(id=cred, type=StateType.CREDENTIALS) == cred_config
    return updated


async def statements_of_the_reference(prefix=""):
    abc, cred, wf = f"{prefix}workflow-abc-123", f"{prefix}cred-database-123", f"{prefix}wf-123"
    workflow_config = {
        "source": "database",
        "database": "analytics",
        "schema": "public",
        "tables": ["users", "orders"],
        "metadata": {"batch_size": 1000, "parallel_tasks": 5},
    }
    await StateStore.save_state_object(id=abc, value=workflow_config, type=StateType.WORKFLOWS)
    state = await StateStore.get_state(id=abc, type=StateType.WORKFLOWS)
    assert f"Processing {state['database']}.{state['schema']}" == "Processing analytics.public"
    await StateStore.save_state(key="progress", value=50, id=abc, type=StateType.WORKFLOWS)
    await StateStore.save_state(key="status", value="processing", id=abc, type=StateType.WORKFLOWS)
    await StateStore.save_state(
        key="current_table", value="users", id=abc, type=StateType.WORKFLOWS
    )
    credential_config = {
        "credential_type": "database",
        "host": "db.example.com",
        "port": 5432,
        "database": "analytics",
        "username": "app_user",
        "password_ref": "db-password-secret",
        "ssl_enabled": True,
    }
    await StateStore.save_state_object(id=cred, value=credential_config, type=StateType.CREDENTIALS)
    creds = await StateStore.get_state(id=cred, type=StateType.CREDENTIALS)
    assert creds == credential_config
    initial_state = {
        "workflow_id": "wf-123",
        "status": "started",
        "created_at": "2024-01-01T00:00:00Z",
    }
    await StateStore.save_state_object(id=wf, value=initial_state, type=StateType.WORKFLOWS)
    update = {"status": "running", "progress": 25, "current_step": "data_extraction"}
    updated = await StateStore.save_state_object(id=wf, value=update, type=StateType.WORKFLOWS)
    assert updated == {
        "workflow_id": "wf-123",
        "status": "running",
        "created_at": "2024-01-01T00:00:00Z",
        "progress": 25,
        "current_step": "data_extraction",
    }
    return updated


async def store_credential_config(config: dict) -> str:
    cred_id = str(uuid.uuid4())
    await StateStore.save_state_object(
        id=cred_id,
        value={
            "credentialSource": "agent",
            "secret-path": config["secret_path"],
            "credential_type": config["type"],
            "created_at": datetime.now().isoformat(),
        },
        type=StateType.CREDENTIALS,
    )
    return cred_id


async def test_every_statement_runs_in_a_script(default):
    await statements_of_the_overview()
    await statements_of_the_reference()
    cred_id = await store_credential_config({"secret_path": "vault/db", "type": "database"})
    state = await StateStore.get_state(cred_id, StateType.CREDENTIALS)
    assert state["secret-path"] == "vault/db"


def test_paths_are_the_documented_ones(default):
    path = build_state_store_path("workflow-123", StateType.WORKFLOWS)
    app = "persistent-artifacts/apps/app!name"  # upper case is encoded: `A` and `a` are two ids
    assert path == f"./local/tmp/{app}/workflows/workflow-123/config.json"
    cred_path = build_state_store_path("db-cred-456", StateType.CREDENTIALS)
    assert cred_path == f"./local/tmp/{app}/credentials/db-cred-456/config.json"
    assert build_state_store_path(id="workflow-123", state_type=StateType.WORKFLOWS) == path


async def test_the_path_is_where_the_file_is(default, tmp_path):
    await StateStore.save_state("k", 1, "workflow-123", StateType.WORKFLOWS)
    path = build_state_store_path("workflow-123", StateType.WORKFLOWS)
    assert (tmp_path / path).read_bytes().startswith(b'{"k":1,')


@pytest.mark.parametrize("id", ["../../../etc/passwd", "../credentials/x"])
async def test_a_path_traversal_is_a_value_error_before_any_io(default, tmp_path, id):
    with pytest.raises(PathTraversalError) as error:
        build_state_store_path(id=id, state_type=StateType.WORKFLOWS)
    assert isinstance(error.value, ValueError)
    for call in (
        StateStore.get_state(id, StateType.WORKFLOWS),
        StateStore.save_state("k", 1, id, StateType.WORKFLOWS),
        StateStore.save_state_object(id, {"k": 1}, StateType.WORKFLOWS),
    ):
        with pytest.raises(PathTraversalError):
            await call
    assert list(tmp_path.iterdir()) == []


def test_state_types_are_known_by_their_value():
    assert StateType.is_member("workflows")
    assert StateType.is_member("credentials")
    assert not StateType.is_member("invalid")
    assert not StateType.is_member("WORKFLOWS")
    assert not StateType.is_member("Workflows")
    assert (StateType.WORKFLOWS.value, StateType.CREDENTIALS.value) == ("workflows", "credentials")


def test_store_errors_are_io_errors():
    assert issubclass(StoreError, IOError)


@activity.defn
async def all_statements(prefix: str) -> None:
    await statements_of_the_overview(prefix)
    await statements_of_the_reference(prefix)


@activity.defn
async def process_batch(batch_id: str, batch_num: int, total_batches: int):
    progress = (batch_num / total_batches) * 100
    await StateStore.save_state(
        key="progress", value=progress, id=batch_id, type=StateType.WORKFLOWS
    )
    await StateStore.save_state(
        key="current_batch", value=batch_num, id=batch_id, type=StateType.WORKFLOWS
    )


class MyActivities:
    def __init__(self):
        self.processed = []

    async def _process_item(self, item):
        self.processed.append(item)
        if item == 250 and activity.info().attempt == 1:
            raise RuntimeError("in the middle")

    @activity.defn
    async def process_with_checkpoint(self, workflow_args: dict) -> None:
        workflow_id = workflow_args["workflow_id"]
        items = workflow_args["items"]
        state = await StateStore.get_state(id=workflow_id, type=StateType.WORKFLOWS)
        last_processed = state.get("last_processed_index", -1)
        for i, item in enumerate(items):
            if i <= last_processed:
                continue
            await self._process_item(item)
            if (i + 1) % 100 == 0:
                await StateStore.save_state(
                    key="last_processed_index",
                    value=i,
                    id=workflow_id,
                    type=StateType.WORKFLOWS,
                )
        await StateStore.save_state(
            key="status", value="completed", id=workflow_id, type=StateType.WORKFLOWS
        )


@workflow.defn(sandboxed=False)
class DataProcessingWorkflow:
    """As printed: it asks the wall clock, which only an unsandboxed workflow may."""

    @workflow.run
    async def run(self, workflow_id: str):
        initial_state = {
            "status": "started",
            "started_at": datetime.now().isoformat(),
            "progress": 0,
            "total_records": 0,
            "processed_records": 0,
        }
        await StateStore.save_state_object(
            id=workflow_id, value=initial_state, type=StateType.WORKFLOWS
        )


@workflow.defn
class SandboxedDataProcessing:
    @workflow.run
    async def run(self, workflow_id: str):
        initial_state = {"status": "started", "started_at": workflow.now().isoformat()}
        await StateStore.save_state_object(
            id=workflow_id, value=initial_state, type=StateType.WORKFLOWS
        )


@workflow.defn
class AllStatements:
    @workflow.run
    async def run(self, prefix: str) -> dict:
        await statements_of_the_overview(prefix)
        await statements_of_the_reference(prefix)
        path = build_state_store_path("workflow-123", StateType.WORKFLOWS)
        await workflow.execute_activity(
            all_statements, f"{prefix}activity-", start_to_close_timeout=SOON
        )
        await workflow.execute_activity(
            process_batch, args=[f"{prefix}batch", 3, 4], start_to_close_timeout=SOON
        )
        await workflow.execute_activity(
            "process_with_checkpoint",
            {"workflow_id": f"{prefix}items", "items": list(range(350))},
            start_to_close_timeout=SOON,
        )
        return {"path": path}


async def test_every_statement_runs_in_workflow_and_activity_code(runner):
    mine = MyActivities()
    activities = [all_statements, process_batch, mine.process_with_checkpoint]
    workflows = [AllStatements, DataProcessingWorkflow, SandboxedDataProcessing]
    prefix = f"{uuid.uuid4().hex}-"
    async with runner.worker(*workflows, activities=activities):
        result = await runner.run(AllStatements.run, prefix)
        await runner.run(DataProcessingWorkflow.run, f"{prefix}printed")
        await runner.run(SandboxedDataProcessing.run, f"{prefix}sandboxed")
    documents = runner.backend.documents
    assert result["path"].startswith(str(runner.backend.url))
    assert await documents.get(f"{prefix}batch") == {"progress": 75.0, "current_batch": 3}
    assert (await documents.get(f"{prefix}items"))["status"] == "completed"
    assert mine.processed == [*range(251), *range(200, 350)]
    for name in ("printed", "sandboxed"):
        state = await documents.get(f"{prefix}{name}")
        assert state["status"] == "started"
        assert datetime.fromisoformat(state["started_at"])


async def test_the_url_and_the_app_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPORAL_STATE_URL", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TEMPORAL_STATE_APP", "billing")
    temporal_state._default._default = None
    await StateStore.save_state("k", 1, "a", StateType.WORKFLOWS)
    temporal_state._default._default = None
    async with StateBackend.open(tmp_path / "elsewhere", app="billing") as backend:
        assert await backend.documents.get("a") == {"k": 1}


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}"])
async def test_the_path_is_where_the_file_is_however_the_root_was_given(tmp_path, form):
    root = tmp_path / "a b#%"
    url = form.format(root.as_uri().removeprefix("file://") if "file" in form else root)
    async with StateBackend.open(url) as backend:
        await backend.documents.set("a", "k", 1)
        with open(backend.path("a", StateType.WORKFLOWS), "rb") as file:  # noqa: ASYNC230, PTH123
            assert file.read().startswith(b'{"k":1,')
