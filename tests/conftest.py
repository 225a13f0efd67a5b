"""Real servers, one of each kind for the whole test run, and workers that last for one test."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from children import Children
from disks import Disk, SmallDisk
from object_servers import BUCKET, Azurite, SeaweedFS
from servers import PostgresServer, second_try
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from temporal_state import StateBackend, StatePlugin
from temporal_state.storage import ObjectStorage

# As its entry point does where the package is installed with its metadata of today.
pytest_plugins = ["pytest_temporal_state"]

# A busy machine is no failure. What Hypothesis does otherwise where CI is set, it does here too.
hypothesis.settings.register_profile("tests", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("tests")

# Servers written in Go spend a fifth of their time on collecting garbage, unless told to wait.
os.environ.setdefault("GOGC", "400")

# A sandbox imports the module of its workflow anew, which here is a module of tests: with each, all
# of pytest took more than the workflow.
SandboxRestrictions.passthrough_modules_default.update({"pytest", "_pytest", "hypothesis"})


@pytest.fixture(scope="session")
def dev(temporal_state_dev_server) -> WorkflowEnvironment:
    return temporal_state_dev_server


@pytest.fixture(scope="session")
def skipping(temporal_state_time_skipping_server) -> WorkflowEnvironment:
    return temporal_state_time_skipping_server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database that all tests share; each makes a schema of its own."""
    server = second_try(PostgresServer.started)
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    server = second_try(lambda: SeaweedFS(tmp_path_factory.mktemp("seaweedfs")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    command = Azurite.command()
    if command is None:
        reason = "azurite is not installed; `make azurite` does it, with npm"
        assert not (os.environ.get("CI") and shutil.which("npm")), reason
        pytest.skip(reason)
    server = second_try(lambda: Azurite(tmp_path_factory.mktemp("azurite"), command))
    yield server
    server.stop()


@pytest.fixture
def s3_store(request: pytest.FixtureRequest) -> ObjectStorage:
    """A prefix of this test's own on an S3 server."""
    server, prefix = request.getfixturevalue("seaweedfs"), f"tests/{uuid.uuid4().hex}"
    return ObjectStorage(f"s3://{BUCKET}/{prefix}", client=server.client(prefix))


@pytest.fixture
def children() -> Iterator[Children]:
    """Starts programs, none of which outlives the test."""
    made = Children()
    yield made
    made.stop()


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    """A disk whose power can be cut."""
    made = Disk(tmp_path)
    yield made
    made.unmount()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    """A disk that is soon full."""
    made = SmallDisk(tmp_path / "small")
    yield made
    made.unmount()


@pytest.fixture(scope="session", params=["dev", "skipping"])
def server(request) -> WorkflowEnvironment:
    """Each of the two servers; for what must hold on both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def backend(tmp_path) -> AsyncIterator[StateBackend]:
    """Local files in a directory of the test's own."""
    async with StateBackend.open(tmp_path / "store", app="tests") as opened:
        yield opened


@dataclass
class Runner:
    """Runs workflows on a worker with a plugin, on a task queue of its own."""

    client: Client
    backend: StateBackend
    options: dict[str, Any] = field(default_factory=dict)
    task_queue: str = field(default_factory=lambda: f"queue-{uuid.uuid4().hex[:12]}")

    def worker(self, *workflows: type, **options: Any) -> Worker:
        settings = {"plugins": [StatePlugin(self.backend)], **self.options, **options}
        return Worker(self.client, task_queue=self.task_queue, workflows=workflows, **settings)

    async def start(self, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        options.setdefault("id", f"wf-{uuid.uuid4().hex[:12]}")
        return await self.client.start_workflow(
            workflow, args=args, task_queue=self.task_queue, **options
        )

    async def run(self, workflow: Any, *args: Any, **options: Any) -> Any:
        return await (await self.start(workflow, *args, **options)).result()


@pytest.fixture
def on_dev(dev, backend) -> Runner:
    return Runner(dev.client, backend)


@pytest.fixture
def on_skipping(skipping, backend) -> Runner:
    return Runner(skipping.client, backend)


@pytest.fixture
def runner(server, backend) -> Runner:
    """A runner on each of the two servers."""
    return Runner(server.client, backend)
