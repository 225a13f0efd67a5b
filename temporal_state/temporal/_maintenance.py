"""Maintenance on Temporal: a workflow that a schedule starts, and the activity that does a piece.

The workflow asks for one bounded piece after the other, so a worker that dies loses one piece, and
the next worker goes on behind the last one that was done. A part that fails is reported at the end
and hides no other. Its own runs are not recorded: they would be most of what it keeps tidy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError

from temporal_state.backend import StateBackend
from temporal_state.errors import StateError
from temporal_state.runs import PARTS, Json, Piece, Report, Retention
from temporal_state.temporal._failures import to_application_error
from temporal_state.temporal._reconcile import reconcile
from temporal_state.temporal._reconciler import Reconciliation
from temporal_state.temporal._recording import Recording
from temporal_state.temporal._wire import ACTIVITY_PREFIX, MAINTENANCE, UNRECORDED, from_raw, to_raw

NAME = MAINTENANCE
ACTIVITY = f"{ACTIVITY_PREFIX}maintenance.piece"
RECONCILE = "reconcile"
BEAT = 5.0
PIECE_TIME = timedelta(minutes=2)
PIECE_TIMEOUT = timedelta(minutes=10)
HEARTBEAT_TIMEOUT = timedelta(seconds=30)
_ATTEMPTS = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)
PIECES_OF_A_RUN = 500


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    """How records are reconciled with Temporal in the background.

    Attributes:
        older_than: Only records without news for so long.
        calls_per_second: At most so many calls of Temporal.
        missing: Make records also of runs that have none. Those of workflows that are marked by
            `state.unrecorded` are left out if this worker has them; name others in
            `Recording.exclude`.
        limit: Look at no more than so many records at once.
    """

    older_than: timedelta = timedelta(minutes=1)
    calls_per_second: float = 10
    missing: bool = False
    limit: int = 1000

    def to_json(self) -> Json:
        """Return it as it travels; times in seconds."""
        return {**asdict(self), "older_than": self.older_than.total_seconds()}

    @classmethod
    def from_json(cls, value: Json) -> "Reconcile":
        """Return what `to_json` wrote."""
        return cls(**{**value, "older_than": timedelta(seconds=value["older_than"])})


DEFAULT_RECONCILE = Reconcile()


def maintenance_activities(
    backend: StateBackend, recording: Callable[[], Recording]
) -> Sequence[Callable[..., Any]]:
    """Return the activity that does one piece of maintenance of a worker's store.

    Args:
        backend: The worker's store.
        recording: Tells what the worker's plugin keeps of values, and of which workflows nothing.
    """

    @activity.defn(name=ACTIVITY)
    async def maintain(request: RawValue) -> RawValue:
        """Do one piece: ``{"part", "retention", "reconcile", "cursor"}``."""
        asked = from_raw(request)
        retention = _here(Retention.from_json(asked["retention"]), recording())
        try:
            async with _heartbeats():
                if asked["part"] == RECONCILE:
                    chosen = Reconcile.from_json(asked["reconcile"])
                    piece = await _reconcile_piece(backend, chosen, recording(), asked["cursor"])
                else:
                    part, cursor = asked["part"], asked["cursor"]
                    piece = await backend.maintenance.piece(part, retention, cursor)
        except StateError as error:
            raise to_application_error(error) from error
        return to_raw(asdict(piece))

    return [maintain]


def _here(retention: Retention, recording: Recording) -> Retention:
    """Return what is kept of the runs that are meant: by default of the worker's namespace.

    What the plugin deletes on its end, and did not come to, goes as well.
    """
    namespace = retention.namespace or activity.info().namespace
    on_end = {*retention.on_end, *recording.delete_ended}
    return replace(retention, namespace=namespace, on_end=on_end)


async def _reconcile_piece(
    backend: StateBackend, chosen: Reconcile, recording: Recording, cursor: str | None
) -> Piece:
    found: Reconciliation = await reconcile(
        activity.client(),
        backend,
        older_than=chosen.older_than,
        calls_per_second=chosen.calls_per_second,
        missing=chosen.missing,
        limit=chosen.limit,
        time_limit=PIECE_TIME,
        cursor=cursor,
        recording=recording,
        progress=lambda result: activity.heartbeat(result.looked_at),
    )
    return Piece(len(found.changed), found.cursor)


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tell Temporal that this process is alive, so that another goes on soon if it is not."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@workflow.defn(name=NAME)
class MaintenanceWorkflow:
    """Does all parts of the maintenance of its task queue's store, piece by piece."""

    @workflow.run
    async def run(self, plan: RawValue) -> RawValue:
        """Do all that is due, and return the `Report` as JSON."""
        asked = from_raw(plan)
        report = Report(**asked.get("report", {}))
        parts = asked.get("parts", [RECONCILE, *PARTS])
        cursor, pieces = asked.get("cursor"), 0
        for index, part in enumerate(parts):
            while True:
                if pieces >= PIECES_OF_A_RUN:
                    rest = {"parts": parts[index:], "cursor": cursor, "report": asdict(report)}
                    workflow.continue_as_new(to_raw({**asked, **rest}))
                piece = await _piece(asked, part, cursor, report)
                cursor, pieces = piece.cursor, pieces + 1
                if cursor is None:
                    break
        return to_raw(asdict(report))


setattr(MaintenanceWorkflow, UNRECORDED, True)


async def _piece(asked: Mapping[str, Any], part: str, cursor: str | None, report: Report) -> Piece:
    request = {
        "part": part,
        "retention": asked["retention"],
        "reconcile": asked["reconcile"],
        "cursor": cursor,
    }
    try:
        result = await workflow.execute_activity(
            ACTIVITY,
            to_raw(request),
            result_type=RawValue,
            start_to_close_timeout=PIECE_TIMEOUT,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=_ATTEMPTS,
            summary=part,
        )
    except ActivityError as error:
        report.errors[part] = str(error.cause or error)
        return Piece(0)
    piece = Piece(**from_raw(result))
    report.add(part, piece)
    return piece


def plan_of(retention: Retention, chosen: Reconcile) -> Json:
    """Return what the workflow takes."""
    return {"retention": retention.to_json(), "reconcile": chosen.to_json()}
