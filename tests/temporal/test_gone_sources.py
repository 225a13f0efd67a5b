"""A later run of a cron schedule takes nothing over, so what its first run resumed may be gone."""

import dataclasses
from datetime import UTC, datetime

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.testing import ActivityEnvironment

from temporal_state import NotRecordedError, StateBackend
from temporal_state.documents import to_text
from temporal_state.runs import ChainRef, Patch, RunRef, Source
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._call_header import CallHeader, CallHeaders, micros_since_1970
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._reuse import Reuse

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
GONE = Source("default", "parent", "gone", way=("the call of the child",))
INFO = dataclasses.replace(
    ActivityEnvironment.default_info(),
    workflow_namespace="default",
    workflow_id="child",
    workflow_run_id="r1",
)


@dataclasses.dataclass
class ChildInfo:
    """What is used of the SDK's own."""

    first_execution_run_id: str = "r1"
    original_execution_run_id: str = "r1"
    workflow_start_time: datetime = NOON


async def joined(backend, lineage):
    """Return whose document an activity of such a run works on."""
    headers = CallHeaders(ChildInfo(), lineage, recorded=True)
    payload = Payload()
    headers.write(payload, "content", 0, micros_since_1970(NOON))
    header = CallHeader.from_payload(payload)
    call = ActivityCall(backend, INFO, header, 1000)
    await Reuse(backend.runs, RecordingLane(backend.runs, None))._join(call)
    return call.own()


@pytest.fixture
async def backend():
    async with StateBackend.open("memory://", app="tests") as opened:
        yield opened


async def test_its_document_is_its_own_once_the_way_to_another_is_gone(backend):
    assert await joined(backend, Lineage(None, GONE)) == ChainRef("default", "child", "r1")


async def test_its_document_is_the_one_that_its_record_has(backend):
    home = {"namespace": "default", "workflow_id": "former child", "chain": "c"}
    ref = RunRef("default", "child", "r1", NOON)
    said = {"clock": 1, "chain": "r1", "home": home, "checkpoints": []}
    texts = ("kind", "workflow_type", "task_queue", "worker", "original", "status")
    times = dict.fromkeys(("started", "updated", "seen"), to_text(NOON))
    said |= dict.fromkeys(texts, "x") | times | {"confirmed": False, "attempt": 1, "ended": None}
    said |= {"namespace": "default", "workflow_id": "child", "run_id": "r1", "lost": 0}
    await backend.runs.write(Patch(ref, said | {"step_count": 0, "counts": {}, "open": []}), "w")
    assert await joined(backend, Lineage(None, GONE)) == ChainRef(**home)


async def test_a_run_that_does_take_over_never_goes_on_without(backend):
    with pytest.raises(NotRecordedError):
        await joined(backend, Lineage(GONE, GONE))
