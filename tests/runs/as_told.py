"""A clock that stands still, and what a worker would tell of a run."""

from datetime import UTC, datetime, timedelta

import pytest

from temporal_state.documents import to_text
from temporal_state.runs import Patch, RunRef

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
IN_MEMORY = pytest.mark.parametrize("backend", ["memory"], indirect=True)
"""What is decided before a store is asked is so on each."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


def header(ref: RunRef, clock: int, **changes):
    """What a worker tells of a run at one length of its history."""
    return {
        "kind": "workflow",
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "workflow_type": "Recorded",
        "task_queue": "queue",
        "attempt": 1,
        "chain": ref.run_id,
        "original": ref.run_id,
        "continued_from": None,
        "cron": None,
        "parent": None,
        "started": to_text(ref.started),
        "updated": to_text(NOON + timedelta(seconds=clock)),
        "seen": to_text(NOON + timedelta(seconds=clock)),
        "clock": clock,
        "synced": 0,
        "lost": 0,
        "worker": "w",
        "step_count": 0,
        "input": [],
        "status": "running",
        "ended": None,
        "confirmed": False,
        "result": None,
        "error": None,
        "progress": None,
        "counts": {},
        "open": [],
        "checkpoints": [],
        **changes,
    }


def checkpoint(number: int, **changes):
    """What a worker tells of a checkpoint."""
    situation = {"clock": number, "progress": None, "counts": {}, "open": []}
    return {"number": number, "step": number, "time": to_text(NOON), **situation, **changes}


def call(number: int):
    """What a worker tells of a step."""
    called = {"kind": "activity", "name": f"a{number}", "id": str(number), "key": f"k{number}"}
    return {"call": {**called, "time": to_text(NOON), "clock": number}}


async def told(runs, ref, clock, steps=(), **changes) -> int:
    """Write as a worker's recorder does."""
    patch = Patch(ref, header(ref, clock, step_count=max(steps, default=0), **changes))
    patch.steps = {number: call(number) for number in steps}
    return await runs.write(patch, "writer")
