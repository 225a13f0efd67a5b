"""Runs to ask about, as a worker tells of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporal_state.documents import to_text
from temporal_state.runs import Patch, RunRef

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def header(ref: RunRef, **changes: Any) -> dict[str, Any]:
    """What a worker tells of a run."""
    return {
        "kind": "workflow",
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "workflow_type": "Import",
        "task_queue": "queue",
        "attempt": 1,
        "chain": ref.run_id,
        "original": ref.run_id,
        "continued_from": None,
        "cron": None,
        "parent": None,
        "started": to_text(ref.started),
        "updated": to_text(ref.started),
        "seen": to_text(ref.started),
        "clock": 1,
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


def reference(n: int = 0, *, started: datetime | None = None, workflow_id: str = "") -> RunRef:
    begun = started or NOON - timedelta(minutes=n)
    return RunRef("default", workflow_id or f"order-{n}", f"run-{n}", begun)


async def told(runs, ref: RunRef, **changes: Any) -> RunRef:
    """Write as a worker's recorder does."""
    steps = changes.pop("steps", {})
    await runs.write(Patch(ref, header(ref, **changes), steps), "writer")
    return ref


def ended(ref: RunRef, status: str = "completed", after: float = 60, **changes: Any):
    """What a worker tells of an end."""
    end = to_text(ref.started + timedelta(seconds=after))
    failure = {"type": "Oops", "message": "no"} if status == "failed" else None
    return {"status": status, "ended": end, "clock": 9, "error": failure, **changes}


def ids(page) -> list[str]:
    return [run.run_id for run in page]
