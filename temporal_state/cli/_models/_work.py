"""Shapes of what commands did, or would do."""

from datetime import datetime
from typing import Literal, Self

from temporal_state.backend import StateBackend
from temporal_state.cli._models._base import Shape
from temporal_state.runs import Step
from temporal_state.temporal import ResumePlan, ScheduleState


class RunName(Shape):
    """Which run."""

    workflow_id: str
    run_id: str


class PlannedStep(Shape):
    """A step in what ``resume`` prints."""

    number: int
    kind: str
    name: str
    status: str

    @classmethod
    def of(cls, step: Step) -> Self:
        """Return the shape of a step of a plan."""
        return cls(number=step.number, kind=step.kind, name=step.name, status=step.status)


class ResumeShape(Shape):
    """What ``resume`` prints; ``started`` is the new run's id, or null after ``--dry-run``."""

    workflow_id: str
    run_id: str
    namespace: str
    taken_over: list[PlannedStep]
    repeated: list[PlannedStep]
    executed: list[PlannedStep]
    children: list[PlannedStep]
    started: str | None

    @classmethod
    def of(cls, plan: ResumePlan, started: str | None) -> Self:
        """Return the shape of a plan, and of what came of it."""
        kinds = ("taken_over", "repeated", "executed", "children")
        return cls(
            workflow_id=plan.run.workflow_id,
            run_id=plan.run.run_id,
            namespace=plan.run.namespace,
            **{kind: [PlannedStep.of(step) for step in getattr(plan, kind)] for kind in kinds},
            started=started,
        )


class RefusedRun(RunName):
    """A run that was not resumed."""

    reason: str


class RecoverShape(Shape):
    """What ``recover`` prints; after ``--dry-run``, only which runs come into question.

    ``complete`` is whether all were looked at before the time was up.
    """

    candidates: list[RunName]
    resumed: list[RunName]
    refused: list[RefusedRun]
    complete: bool


class ChangedRun(RunName):
    """A run whose record now says what Temporal says; ``before`` is null if there was none."""

    before: str | None
    after: str
    steps: int


class ReconcileShape(Shape):
    """What ``reconcile`` prints; ``unknown`` are runs that Temporal does not know."""

    looked_at: int
    running: int
    changed: list[ChangedRun]
    unknown: list[RunName]
    errors: list[RefusedRun]
    complete: bool


class CleanupShape(Shape):
    """What ``cleanup`` prints: how many runs were deleted, or would be."""

    runs: int
    dry_run: bool


class ScheduleShape(Shape):
    """What the commands of ``schedule`` print."""

    id: str
    installed: bool = True
    every_seconds: float | None = None
    paused: bool | None = None
    note: str | None = None
    runs: int | None = None
    last: datetime | None = None
    next: datetime | None = None

    @classmethod
    def of(cls, state: ScheduleState) -> Self:
        """Return the shape of what Temporal says of a schedule."""
        return cls(
            id=state.id,
            every_seconds=state.every.total_seconds(),
            paused=state.paused,
            note=state.note or None,
            runs=state.runs,
            last=state.last,
            next=state.next,
        )


class CheckShape(Shape):
    """One check of ``doctor``."""

    name: str
    status: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    remedy: str | None = None


class DoctorShape(Shape):
    """What ``doctor`` prints."""

    store: str
    app: str
    healthy: bool
    checks: list[CheckShape]

    @classmethod
    def of(cls, backend: StateBackend, checks: list[CheckShape]) -> Self:
        """Return the shape of all checks of a store."""
        return cls(
            store=backend.store.url,
            app=backend.layout.app,
            healthy=all(check.status != "failed" for check in checks),
            checks=checks,
        )
