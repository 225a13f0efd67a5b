"""What cannot be called is the caller's fault and says so; what fails within never is."""

from datetime import UTC, datetime

import pytest

from temporal_state import InvalidValueError, StateBackend
from temporal_state.documents import Caller
from temporal_state.runs import Runs
from temporal_state.temporal.requests import Evaluate, Finish, Scope, StartRun, WriteSpan, WriteStep

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
REF = {"namespace": "default", "workflow_id": "w", "run_id": "r", "started": "2026-05-01T12:00:00Z"}
STARTED = {"workflow_id": "w", "workflow_type": "T"}


@pytest.fixture
async def scope():
    async with StateBackend.open("memory://", app="tests") as backend:
        yield Scope(backend, Caller(NOON), None)


@pytest.mark.parametrize(
    "request_",
    [
        StartRun(more=STARTED),
        WriteStep(ref=REF, more={"number": 1, "name": "n"}),
        WriteSpan(ref=REF, more={"name": "n", "start": "2026-05-01T12:00:00Z"}),
        Finish(ref=REF, more={"status": "completed"}),
        Evaluate(ref=REF, more={"score": 1.0}),
    ],
    ids=lambda request: request.operation,
)
async def test_a_fault_of_ours_is_not_called_the_callers(monkeypatch, scope, request_):
    await request_.perform(scope)

    async def broken(self, *_, **__):
        return {}["a part that a record always has"]

    name = request_.operation.removeprefix("runs.")
    monkeypatch.setattr(Runs, name, _with_signature(getattr(Runs, name), broken))
    with pytest.raises(KeyError, match="a part that"):
        await request_.perform(scope)


def _with_signature(method, broken):
    broken.__wrapped__ = method
    return broken


@pytest.mark.parametrize(
    "request_",
    [
        StartRun(more={**STARTED, "nonsense": 1}),
        StartRun(more={"workflow_type": "T"}),
        WriteStep(ref=REF, more={"number": 1}),
        WriteSpan(ref=REF, more={"name": "n", "at": "2026-05-01T12:00:00Z"}),
        Finish(ref=REF, more={"status": "failed", "error": {"message": "no type"}}),
        Finish(ref=REF, more={"status": "failed", "at": "yesterday"}),
    ],
    ids=lambda request: request.operation,
)
async def test_what_cannot_be_called_is_refused_before_anything_is_written(scope, request_):
    with pytest.raises(InvalidValueError):
        await request_.perform(scope)
    assert await scope.backend.store.list() == []
