"""Shapes of runs, and of what belongs to them."""

from contextlib import suppress
from datetime import datetime
from typing import Any, Self

from temporal_state.cli._models._base import Shape
from temporal_state.errors import InvalidValueError
from temporal_state.runs import Checkpoint, CheckpointDiff, Failure, Progress, Run, Step, Value
from temporal_state.runs.catalog import Stats


class ProgressShape(Shape):
    """How far something is."""

    done: float
    total: float | None
    message: str | None

    @classmethod
    def of(cls, progress: Progress | None) -> Self | None:
        """Return the shape of progress, if there is any."""
        if progress is None:
            return None
        return cls(done=progress.done, total=progress.total, message=progress.message)


class FailureShape(Shape):
    """Why something failed."""

    type: str
    message: str | None

    @classmethod
    def of(cls, failure: Failure | None) -> Self | None:
        """Return the shape of a failure, if there is one."""
        return None if failure is None else cls(type=failure.type, message=failure.message)


class ValueShape(Shape):
    """A recorded value.

    ``value`` is there for plain JSON only; ``note`` says why, if it is not.
    """

    encoding: str
    size: int | None
    value: Any = None
    note: str | None = None

    @classmethod
    def of(cls, value: Value | None) -> Self | None:
        """Return the shape of a value, if there is one."""
        return None if value is None else cls.shown(value)

    @classmethod
    def shown(cls, value: Value) -> Self:
        """Return the shape of a value."""
        size = value.size if value.data is None else len(value.data)
        if value.dropped is not None:
            return cls(encoding=value.encoding, size=size, note=f"(not kept: {value.dropped})")
        if value.encoding == "binary/null":
            return cls(encoding=value.encoding, size=size)
        if value.data is None:
            return cls(encoding=value.encoding, size=size, note=f"({size} bytes)")
        if value.encoding.startswith("json/"):
            with suppress(InvalidValueError):  # a codec may keep the encoding's name
                return cls(encoding=value.encoding, size=size, value=value.json())
        kind = "encrypted" if value.encoding == "binary/encrypted" else value.encoding
        return cls(encoding=value.encoding, size=size, note=f"({kind}, {size} bytes)")


class RunShape(Shape):
    """One line of ``list``, and of ``follow``."""

    workflow_id: str
    run_id: str
    namespace: str
    kind: str
    workflow_type: str
    task_queue: str
    status: str
    paused: bool
    confirmed: bool
    attempt: int
    started: datetime
    ended: datetime | None
    updated: datetime
    seconds: float | None
    progress: ProgressShape | None
    steps: int
    counts: dict[str, int]
    open: list[str]
    error: FailureShape | None

    @classmethod
    def fields_of(cls, run: Run) -> dict[str, Any]:
        """Return the fields that every shape of a run has."""
        same = {name: getattr(run, name) for name in RunShape.model_fields if hasattr(run, name)}
        return same | {
            "seconds": None if run.ended is None else (run.ended - run.started).total_seconds(),
            "progress": ProgressShape.of(run.progress),
            "error": FailureShape.of(run.error),
        }

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return the shape of a run."""
        return cls(**cls.fields_of(run))


class RunDetails(RunShape):
    """What ``show`` prints."""

    chain: str
    original: str
    continued_from: str | None
    parent: dict[str, str] | None
    cron: str | None
    worker: str
    clock: int
    lost: int
    resumed_from: dict[str, Any] | None
    metadata: dict[str, Any]
    input: list[ValueShape]
    result: ValueShape | None
    document: dict[str, Any]

    @classmethod
    def with_document(cls, run: Run, document: dict[str, Any]) -> Self:
        """Return the shape of a run and of its own document."""
        same = ("chain", "original", "continued_from", "parent", "cron", "worker", "clock", "lost")
        source = run.resumed_from
        return cls(
            **cls.fields_of(run),
            **{name: getattr(run, name) for name in same},
            resumed_from=None
            if source is None
            else {
                "namespace": source.namespace,
                "workflow_id": source.workflow_id,
                "run_id": source.run_id,
                "before": source.before,
            },
            metadata=run.metadata,
            input=[ValueShape.shown(value) for value in run.input],
            result=ValueShape.of(run.result),
            document=document,
        )


class StepShape(Shape):
    """One line of ``steps``."""

    number: int
    kind: str
    name: str
    id: str
    status: str
    scheduled: datetime
    started: datetime | None
    closed: datetime | None
    attempt: int | None
    worker: str | None
    taken_over: bool
    progress: ProgressShape | None
    input: list[ValueShape]
    result: ValueShape | None
    error: FailureShape | None

    @classmethod
    def of(cls, step: Step) -> Self:
        """Return the shape of a step."""
        same = {name: getattr(step, name) for name in cls.model_fields}
        return cls(
            **same
            | {
                "progress": ProgressShape.of(step.progress),
                "input": [ValueShape.shown(value) for value in step.input],
                "result": ValueShape.of(step.result),
                "error": FailureShape.of(step.error),
            }
        )


class CheckpointShape(Shape):
    """One line of ``history``."""

    number: int
    name: str | None
    step: int
    time: datetime
    progress: ProgressShape | None
    counts: dict[str, int]
    open: list[str]
    version: int
    state: dict[str, Any] | None

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return the shape of a checkpoint."""
        same = {name: getattr(checkpoint, name) for name in cls.model_fields}
        return cls(**same | {"progress": ProgressShape.of(checkpoint.progress)})


class ChangeShape(Shape):
    """A value before and after."""

    before: Any
    after: Any


class DiffShape(Shape):
    """What ``diff`` prints; the keys are JSON pointers."""

    a: int
    b: int
    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, ChangeShape]
    steps: int
    progress: float | None
    seconds: float

    @classmethod
    def of(cls, diff: CheckpointDiff) -> Self:
        """Return the shape of a difference."""
        return cls(
            a=diff.a,
            b=diff.b,
            added=diff.added,
            removed=diff.removed,
            changed={
                path: ChangeShape(before=before, after=after)
                for path, (before, after) in diff.changed.items()
            },
            steps=diff.steps,
            progress=diff.progress,
            seconds=diff.time.total_seconds(),
        )


class StatsShape(Shape):
    """What ``stats`` prints; see `temporal_state.runs.Stats`."""

    total: int
    by_status: dict[str, int]
    by_type: dict[str, int]
    last_24_hours: dict[str, int]
    average_seconds: float | None
    average_seconds_by_type: dict[str, float]
    background_by_status: dict[str, int]
    checkpoints: int
    average_checkpoint_seconds: float | None
    bytes: int
    unreadable: int

    @classmethod
    def of(cls, stats: Stats) -> Self:
        """Return the shape of sums of runs."""
        average, writing = stats.average_duration, stats.average_checkpoint_time
        same = {name: getattr(stats, name) for name in cls.model_fields if hasattr(stats, name)}
        return cls(
            **same,
            average_seconds=None if average is None else average.total_seconds(),
            average_checkpoint_seconds=None if writing is None else writing.total_seconds(),
            average_seconds_by_type={
                name: duration.total_seconds()
                for name, duration in stats.average_duration_by_type.items()
            },
        )


class ReindexShape(Shape):
    """What ``reindex`` prints."""

    total: int
    unreadable: int
