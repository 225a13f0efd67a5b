"""A backend on each kind of store."""

from collections.abc import AsyncIterator

import pytest
from as_told import NOON, Clock

from temporal_state import StateBackend
from temporal_state.runs import RunRef

STORES = ["local", "memory", "s3"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
async def backend(request, tmp_path, clock) -> AsyncIterator[StateBackend]:
    url = "memory://" if request.param == "memory" else tmp_path / "store"
    if request.param == "s3":
        url = request.getfixturevalue("s3_store")
    async with StateBackend.open(url, app="tests", clock=clock) as opened:
        yield opened


@pytest.fixture
def runs(backend):
    return backend.runs


@pytest.fixture
async def ref(runs) -> RunRef:
    return await runs.start("order-7", workflow_type="Import", run_id="r1", started=NOON)
