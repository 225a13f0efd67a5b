"""A run that is made from its record is like any other: as told, and as frozen."""

import pickle
from dataclasses import FrozenInstanceError, asdict, fields
from datetime import UTC, datetime

import pytest

from temporal_state.errors import DamagedObjectError
from temporal_state.runs import ChainRef, Failure, Progress, Run, Source, TraceContext, Value
from temporal_state.runs._decode import to_run

RECORD = {
    **{name: name for name in ("kind", "namespace", "workflow_id", "run_id", "workflow_type")},
    **{name: name for name in ("task_queue", "status", "chain", "original", "worker")},
    **{name: name for name in ("continued_from", "cron", "trace_root")},
    "confirmed": True,
    "attempt": 2,
    "started": "2026-05-01T12:00:00.000001Z",
    "ended": "2026-05-01T12:00:00.000002Z",
    "updated": "2026-05-01T12:00:00.000003Z",
    "clock": 7,
    "progress": {"done": 3, "total": 4, "message": "m"},
    "step_count": 5,
    "counts": {"completed": 6},
    "open": ["step"],
    "input": [{"encoding": "e", "text": "in"}],
    "result": {"encoding": "e", "text": "out"},
    "error": {"type": "t", "message": "why"},
    "parent": {"workflow_id": "p"},
    "lost": 8,
    "start": None,
    "source": {"namespace": "n", "workflow_id": "w", "run_id": "r", "before": 9, "way": ["a"]},
    "home": {"namespace": "n", "workflow_id": "w", "chain": "c"},
    "metadata": {"a": 1},
    "trace": {"trace_id": "i", "span_id": "s"},
    "paused_at": 7,
    "unknown_at": 7,
}


def at(micros: int) -> datetime:
    return datetime(2026, 5, 1, 12, microsecond=micros, tzinfo=UTC)


def test_each_field_of_a_run_is_what_its_record_says():
    names = ("kind", "namespace", "workflow_id", "run_id", "workflow_type", "task_queue", "status")
    more = ("chain", "original", "continued_from", "cron", "worker", "trace_root")
    assert to_run(RECORD) == Run(
        **{name: name for name in (*names, *more)},
        confirmed=True,
        attempt=2,
        started=at(1),
        ended=at(2),
        updated=at(3),
        clock=7,
        progress=Progress(3, 4, "m"),
        steps=5,
        counts={"completed": 6},
        open=["step"],
        input=[Value("e", b"in")],
        result=Value("e", b"out"),
        error=Failure("t", "why"),
        parent={"workflow_id": "p"},
        lost=8,
        start=None,
        resumed_from=Source("n", "w", "r", 9, ("a",)),
        home=ChainRef("n", "w", "c"),
        metadata={"a": 1},
        trace=TraceContext("i", "s"),
        paused=True,
        known_to_temporal=False,
    )


def test_a_run_that_was_read_is_as_frozen_as_any():
    run = to_run(RECORD)
    assert type(run) is Run
    for field in fields(Run):
        with pytest.raises(FrozenInstanceError):
            setattr(run, field.name, None)
    assert pickle.loads(pickle.dumps(run)) == run
    assert repr(run) == repr(Run(**{f.name: getattr(run, f.name) for f in fields(Run)}))
    assert asdict(run)["progress"] == {"done": 3, "total": 4, "message": "m"}


@pytest.mark.parametrize("name", ["status", "started", "worker"])
def test_a_record_that_lacks_what_all_have_is_damaged_by_name(name):
    record = {key: value for key, value in RECORD.items() if key != name}
    with pytest.raises(DamagedObjectError, match=f"'run_id' of 'workflow_id' is damaged.*{name}"):
        to_run(record)
    with pytest.raises(DamagedObjectError, match="the record a/key is damaged"):
        to_run(record, "a/key")
