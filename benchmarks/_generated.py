"""A year of runs that never ran: put into a catalog, or written as a worker writes them."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from benchmarks._flushes import patch
from temporal_state import StateBackend
from temporal_state.documents import to_text
from temporal_state.runs import Patch
from temporal_state.runs._refs import RunLayout, RunRef
from temporal_state.runs.catalog._feed import minute
from temporal_state.runs.catalog._homes import home_of
from temporal_state.runs.catalog._rows import Row, row_of
from temporal_state.runs.catalog._standing import finish, move
from temporal_state.runs.catalog._writes import insert

END = datetime(2026, 11, 1, tzinfo=UTC)
YEAR = 365 * 24 * 3600
TYPES = ["Import", "Export", "Billing", "Report", "Sync"]
STATUSES = ["completed"] * 92 + ["failed"] * 5 + ["cancelled", "terminated", "running"]
STEPS = 10
"""Of each new run."""


def records(number: int, seed: int = 7) -> Iterator[tuple[RunRef, dict[str, Any]]]:
    """Yield runs, a fifth of them children, with metadata."""
    draw = random.Random(seed)  # noqa: S311 the same each time
    for n in range(number):
        started = END - timedelta(seconds=draw.random() * YEAR)
        status = draw.choice(STATUSES)
        ended = None if status == "running" else started + timedelta(seconds=draw.expovariate(0.01))
        ref = RunRef("default", f"order-{draw.randrange(number // 3 + 1)}", f"run-{n:08}", started)
        parent = {"namespace": "default", "workflow_id": f"order-{n % 997}", "run_id": "r"}
        yield (
            ref,
            {
                **_common(ref, draw.choice(TYPES), status, ended),
                "parent": parent if n % 5 == 0 else None,
                "chain": f"run-{n - n % 3:08}",
                "metadata": {"env": draw.choice(["prod", "test"]), "to": {"customer": n % 5000}},
            },
        )


def _common(ref: RunRef, type: str, status: str, ended: datetime | None) -> dict[str, Any]:
    failure = {"type": "ApplicationError", "message": "no"} if status == "failed" else None
    return {
        "kind": "workflow",
        "namespace": ref.namespace,
        "workflow_id": ref.workflow_id,
        "run_id": ref.run_id,
        "workflow_type": type,
        "task_queue": "queue",
        "status": status,
        "confirmed": ended is not None,
        "attempt": 1,
        "original": ref.run_id,
        "started": to_text(ref.started),
        "ended": None if ended is None else to_text(ended),
        "updated": to_text(ended or ref.started),
        "clock": 10,
        "step_count": 0,
        "counts": {},
        "open": [],
        "error": failure,
        "worker": "w",
        "lost": 0,
        "synced": 10,
    }


def generated(number: int, places: RunLayout) -> Iterator[Row]:
    """Yield the rows of the generated runs."""
    for ref, record in records(number):
        yield row_of(places.run(ref), record, [], 1200)


async def build(number: int, url: str, catalog: str | None) -> float:
    """Fill the catalog of a backend; return the seconds that it took."""
    backend = StateBackend.open(url, catalog=catalog)
    await backend.start()
    home = home_of(backend.store, backend.layout, catalog, 60)
    begun, link = time.perf_counter(), home.fresh()
    made = generated(number, RunLayout(backend.layout))
    while some := [*islice(made, 5000)]:
        insert(link, some)
    move(link, minute(datetime.now(UTC)))
    finish(link)
    home.release(home.publish(link))
    await backend.close()
    return time.perf_counter() - begun


def new_runs(number: int) -> Iterator[list[Patch]]:
    """Yield what a worker writes of runs like those in a catalog: start, steps, and end of each."""
    for n, (like, record) in enumerate(records(number, seed=8)):
        ref = RunRef(like.namespace, like.workflow_id, f"new-{n:08}", END + timedelta(seconds=n))
        kept = ("workflow_type", "parent", "metadata")
        told = {**{name: record[name] for name in kept}, "chain": ref.run_id}
        end = to_text(ref.started + timedelta(seconds=100))
        yield [
            patch(ref, 0, 0, **told),
            patch(ref, 0, STEPS, **told),
            patch(ref, STEPS, 0, **told, status="completed", ended=end, confirmed=True, clock=99),
        ]
