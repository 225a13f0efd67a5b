"""A worker for one test: a task queue of its own, and ids that no other test has."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from temporal_state.backend import StateBackend
from temporal_state.temporal import StatePlugin


@dataclass(frozen=True, slots=True)
class StateWorker:
    """A worker at work, and what a test needs beside it.

    Attributes:
        client: Connected to the worker's server.
        backend: The store of the worker's plugin.
        task_queue: What the worker serves.
    """

    client: Client
    backend: StateBackend
    task_queue: str

    async def start(self, workflow: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        """Start a workflow on this worker, by default under a new id.

        Args:
            workflow: Its run method, or its name.
            *args: Its arguments.
            **options: What else `Client.start_workflow` takes.
        """
        options.setdefault("id", f"test-{uuid.uuid4().hex[:12]}")
        return await self.client.start_workflow(
            workflow, args=args, task_queue=self.task_queue, **options
        )

    async def execute(self, workflow: Any, *args: Any, **options: Any) -> Any:
        """Start a workflow as `start` does, and return its result."""
        return await (await self.start(workflow, *args, **options)).result()


@asynccontextmanager
async def state_worker(
    client: Client, plugin: StatePlugin, *workflows: type, **options: Any
) -> AsyncIterator[StateWorker]:
    """Run a worker with a plugin, on a task queue of its own, until the block ends.

    By then all that the worker has seen is recorded.

    Args:
        client: Connected to the server.
        plugin: The worker's `StatePlugin`.
        *workflows: The workflow classes.
        **options: What else `Worker` takes, such as ``activities``.
    """
    task_queue = options.pop("task_queue", f"test-{uuid.uuid4().hex[:12]}")
    plugins = [plugin, *options.pop("plugins", [])]
    async with Worker(
        client, task_queue=task_queue, workflows=workflows, plugins=plugins, **options
    ):
        yield StateWorker(client, plugin.backend, task_queue)
