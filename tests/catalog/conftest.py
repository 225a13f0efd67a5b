"""A backend for each kind of catalog."""

import uuid
from collections.abc import AsyncIterator

import pytest
from catalog_runs import Clock

from temporal_state import StateBackend


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory", "postgresql"])
def place(request, tmp_path) -> str | None:
    """Each place that a catalog can lie in, as the option of `StateBackend.open`."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return "memory://" if request.param == "memory" else None


@pytest.fixture
async def backend(tmp_path, clock, place) -> AsyncIterator[StateBackend]:
    """Local files, whose name makes the catalog in PostgreSQL one of its own."""
    root = tmp_path / uuid.uuid4().hex
    async with StateBackend.open(root, app="tests", clock=clock, catalog=place) as opened:
        yield opened


@pytest.fixture
async def local(tmp_path, clock) -> AsyncIterator[StateBackend]:
    """Local files with the catalog beside them."""
    async with StateBackend.open(tmp_path / "store", app="tests", clock=clock) as opened:
        yield opened


@pytest.fixture
def runs(backend):
    return backend.runs
