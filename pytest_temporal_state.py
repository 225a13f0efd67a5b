"""Fixtures for pytest: Temporal servers, a store in memory, and a worker with a `StatePlugin`.

pytest loads this module in every project of an environment where the package is installed. So it
imports neither `temporal_state` nor `temporalio` before a fixture is asked for, and it is a module
of its own, because importing one from a package imports the package.

The fixtures are not async: they work with pytest-asyncio in each of its modes, and with anyio.
"""

from __future__ import annotations  # what the annotations name is imported in the fixtures

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from temporalio.testing import WorkflowEnvironment

    from temporal_state import ObjectStore, StateBackend, StatePlugin
    from temporal_state.testing import BackgroundLoop, StateWorker


@pytest.fixture(scope="session")
def _temporal_state_loop() -> Iterator[BackgroundLoop]:
    from temporal_state.testing import BackgroundLoop

    with BackgroundLoop() as loop:
        yield loop


@pytest.fixture(scope="session")
def temporal_state_time_skipping_server(
    _temporal_state_loop: BackgroundLoop,
) -> Iterator[WorkflowEnvironment]:
    """Temporal's time-skipping test server, started when it is first asked for."""
    from temporal_state.testing import time_skipping_server

    environment = _temporal_state_loop.run(time_skipping_server())
    yield environment
    _temporal_state_loop.run(environment.shutdown())


@pytest.fixture(scope="session")
def temporal_state_dev_server(
    _temporal_state_loop: BackgroundLoop,
) -> Iterator[WorkflowEnvironment]:
    """Temporal's dev server, started when it is first asked for."""
    from temporal_state.testing import dev_server

    environment = _temporal_state_loop.run(dev_server(fast=True))
    yield environment
    _temporal_state_loop.run(environment.shutdown())


@pytest.fixture
def temporal_state_server(
    temporal_state_time_skipping_server: WorkflowEnvironment,
) -> WorkflowEnvironment:
    """The server that `temporal_state_worker` works for; redefine it to have another."""
    return temporal_state_time_skipping_server


@pytest.fixture
def temporal_state_store() -> ObjectStore:
    """An empty store in memory; redefine it to have another."""
    from temporal_state import open_store

    return open_store("memory://")


@pytest.fixture
def temporal_state_backend(
    temporal_state_store: ObjectStore, _temporal_state_loop: BackgroundLoop
) -> Iterator[StateBackend]:
    """The store, open, for the app ``tests``."""
    from temporal_state import StateBackend

    backend = StateBackend.open(temporal_state_store, app="tests")
    _temporal_state_loop.run(backend.start())
    yield backend
    _temporal_state_loop.run(backend.close())


@pytest.fixture
def temporal_state_plugin(temporal_state_backend: StateBackend) -> StatePlugin:
    """A plugin with that store; redefine it to record otherwise."""
    from temporal_state import StatePlugin

    return StatePlugin(temporal_state_backend)


@pytest.fixture
def temporal_state_worker(
    temporal_state_server: WorkflowEnvironment, temporal_state_plugin: StatePlugin
) -> Callable[..., AbstractAsyncContextManager[StateWorker]]:
    """Makes workers, given workflow classes, and by name what else a `Worker` takes.

    Example:
        async with temporal_state_worker(Import, activities=[load]) as worker:
            assert await worker.execute(Import.run, 3) == 30
    """
    from temporal_state.testing import state_worker

    def make(*workflows: type, **options: Any) -> AbstractAsyncContextManager[StateWorker]:
        return state_worker(
            temporal_state_server.client, temporal_state_plugin, *workflows, **options
        )

    return make
