"""What the recorder of a worker writes of a run in one flush, for benchmarks of writing records."""

from typing import Any

from temporal_state.documents import to_text
from temporal_state.runs import Patch, RunRef, chunk_of


def patch(ref: RunRef, start: int, steps: int, **told: Any) -> Patch:
    """Return what a worker tells of some steps after ``start``, closed with small results.

    Args:
        ref: Which run.
        start: So many steps were told before.
        steps: So many are told.
        told: What else the header says, or says otherwise.
    """
    numbers = range(start + 1, start + steps + 1)
    time = to_text(ref.started)
    value = {"encoding": "json/plain", "text": "1"}
    header = {
        "kind": "workflow",
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "workflow_type": "Import",
        "task_queue": "queue",
        "attempt": 1,
        "chain": ref.run_id,
        "original": ref.run_id,
        "started": time,
        "updated": time,
        "seen": time,
        "status": "running",
        "confirmed": False,
        "ended": None,
        "open": [],
        "worker": "w",
        "clock": 6 * (start + steps),
        "synced": 6 * (start + steps),
        "step_count": start + steps,
        "counts": {"completed": start + steps},
        "checkpoints": [],
        "input": [],
        "lost": 0,
        **told,
    }
    return Patch(
        ref,
        header,
        {n: {"call": call(n, time), "end": end(n, time, value)} for n in numbers},
        {key_of(n): attempt(n, time) for n in numbers},
    )


def call(n: int, time: str) -> dict[str, Any]:
    """Return the call of a step."""
    shared = {"kind": "activity", "name": "nothing", "id": str(n), "time": time}
    return {**shared, "key": key_of(n), "clock": 6 * n, "part": chunk_of(n)}


def attempt(n: int, time: str) -> dict[str, Any]:
    """Return the attempt of a step."""
    return {"attempt": 1, "status": "completed", "started": time, "part": chunk_of(n)}


def end(n: int, time: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return the end of a step."""
    return {"status": "completed", "result": value, "time": time, "clock": 6 * n + 5}


def key_of(n: int) -> str:
    """Return the key of a step."""
    return f"{n:032x}"
