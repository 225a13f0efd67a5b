"""The records of runs, by the names of `StateBackend.runs`, in workflow and activity code too.

    run = await state.runs.get("order-7")
    ref = await state.runs.start("import-7", workflow_type="Import")
    await state.runs.step(ref, number=1, name="load")

In workflow code each is an activity, and a call that is repeated is made once. What a workflow
reads of a run may be a flush behind what has happened.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from temporal_state.documents import plain
from temporal_state.errors import InvalidValueError
from temporal_state.runs import (
    Checkpoint,
    CheckpointDiff,
    Evaluation,
    Failure,
    Run,
    RunRef,
    Span,
    Step,
    from_plain,
    to_plain,
)
from temporal_state.state._context import perform_here
from temporal_state.state._run_questions import (
    audit,
    background,
    evaluations,
    failed,
    list,  # noqa: A004 the name that it has in Runs
    stats,
    step_stats,
)
from temporal_state.state._run_upkeep import (
    cleanup,
    delete,
    fail_stale,
    fold_feed,
    freshness,
    reconcile,
    recover,
    resume,
    trim_checkpoints,
)
from temporal_state.temporal.requests import (
    Annotate,
    ByHand,
    DiffCheckpoints,
    Evaluate,
    Finish,
    GetDocument,
    GetHistory,
    GetRun,
    GetRunsOf,
    GetSpans,
    GetStep,
    GetSteps,
    LoadCheckpoint,
    RunsRequest,
    StartRun,
    WriteCheckpoint,
    WriteProgress,
    WriteSpan,
    WriteStep,
)

__all__ = [
    "annotate",
    "audit",
    "background",
    "checkpoint",
    "cleanup",
    "delete",
    "diff",
    "document",
    "evaluate",
    "evaluations",
    "fail_stale",
    "failed",
    "finish",
    "fold_feed",
    "freshness",
    "get",
    "get_step",
    "history",
    "list",
    "load_checkpoint",
    "of_workflow",
    "progress",
    "reconcile",
    "recover",
    "resume",
    "span",
    "spans",
    "start",
    "stats",
    "step",
    "step_stats",
    "steps",
    "trim_checkpoints",
]

T = TypeVar("T")


async def get(
    workflow_id: str | None = None, *, run_id: str | None = None, namespace: str | None = None
) -> Run | None:
    """Return a run; see `Runs.get`. Without ``workflow_id``, the calling one."""
    found = await perform_here(GetRun(workflow_id=workflow_id, run_id=run_id, namespace=namespace))
    return None if found is None else from_plain(Run, found)


async def steps(
    workflow_id: str | None = None, *, run_id: str | None = None, namespace: str | None = None
) -> Sequence[Step]:
    """Return a run's steps; see `Runs.steps`. Without ``workflow_id``, the calling one's."""
    return await _several(
        Step, GetSteps(workflow_id=workflow_id, run_id=run_id, namespace=namespace)
    )


async def get_step(
    workflow_id: str | None,
    number: int,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
) -> Step | None:
    """Return one step of a run; see `Runs.get_step`. ``None`` as ``workflow_id``: this run's."""
    request = GetStep(workflow_id=workflow_id, run_id=run_id, namespace=namespace, number=number)
    found = await perform_here(request)
    return None if found is None else from_plain(Step, found)


async def history(
    workflow_id: str | None = None, *, run_id: str | None = None, namespace: str | None = None
) -> Sequence[Checkpoint]:
    """Return a run's checkpoints; see `Runs.history`. By default the calling one's."""
    return await _several(
        Checkpoint, GetHistory(workflow_id=workflow_id, run_id=run_id, namespace=namespace)
    )


async def spans(
    workflow_id: str | None = None, *, run_id: str | None = None, namespace: str | None = None
) -> Sequence[Span]:
    """Return a run's spans; see `Runs.spans`. Without ``workflow_id``, the calling one's."""
    return await _several(
        Span, GetSpans(workflow_id=workflow_id, run_id=run_id, namespace=namespace)
    )


async def document(
    workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
) -> dict[str, Any]:
    """Return the own document of a run; see `Runs.document`."""
    request = GetDocument(workflow_id=workflow_id, run_id=run_id, namespace=namespace)
    found: dict[str, Any] = await perform_here(request)
    return found


async def of_workflow(workflow_id: str, *, namespace: str | None = None) -> Sequence[Run]:
    """Return all runs of one workflow id, the newest first; see `Runs.of_workflow`."""
    return await _several(Run, GetRunsOf(workflow_id=workflow_id, namespace=namespace))


async def load_checkpoint(
    workflow_id: str | None = None,
    which: int | str | None = None,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
) -> Checkpoint | None:
    """Return one checkpoint of a run, by default the latest; see `Runs.load_checkpoint`."""
    request = LoadCheckpoint(
        workflow_id=workflow_id, run_id=run_id, namespace=namespace, which_one=which
    )
    found = await perform_here(request)
    return None if found is None else from_plain(Checkpoint, found)


async def diff(
    workflow_id: str | None,
    a: int | str,
    b: int | str,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
) -> CheckpointDiff:
    """Return what changed between two checkpoints of a run; see `Runs.diff`."""
    request = DiffCheckpoints(workflow_id=workflow_id, run_id=run_id, namespace=namespace, a=a, b=b)
    return from_plain(CheckpointDiff, await perform_here(request))


async def start(workflow_id: str, *, workflow_type: str, **more: Any) -> RunRef:
    """Begin the record of a run that no worker records, or find it; see `Runs.start`.

    Without ``run_id`` the run is named by this very call, so that a repeated one finds it.
    """
    said = {"workflow_id": workflow_id, "workflow_type": workflow_type, **more}
    return from_plain(RunRef, await _write(StartRun, None, said))


async def step(ref: RunRef, *, number: int, name: str, **more: Any) -> None:
    """Record a step of a run; see `Runs.step`."""
    await _write(WriteStep, ref, {"number": number, "name": name, **more})


async def progress(
    ref: RunRef, done: float, total: float | None = None, message: str | None = None, **more: Any
) -> None:
    """Record how far a run is; see `Runs.progress`."""
    said = {"done": done, "total": total, "message": message}
    await _write(WriteProgress, ref, {**said, **more})


async def annotate(ref: RunRef, metadata: Mapping[str, Any], **more: Any) -> None:
    """Merge notes into a run's metadata; see `Runs.annotate`."""
    await _write(Annotate, ref, {"metadata": metadata, **more})


async def finish(ref: RunRef, status: str = "completed", **more: Any) -> None:
    """Record how a run ended; see `Runs.finish`."""
    await _write(Finish, ref, {"status": status, **more})


async def span(ref: RunRef, *, name: str, start: datetime, **more: Any) -> Span:
    """Record a span of a run; see `Runs.span`."""
    return from_plain(Span, await _write(WriteSpan, ref, {"name": name, "start": start, **more}))


async def checkpoint(
    ref: RunRef, *, step: int, state: Mapping[str, Any], **more: Any
) -> Checkpoint:
    """Record a checkpoint of a run; see `Runs.checkpoint`."""
    made = await _write(WriteCheckpoint, ref, {"step": step, "state": state, **more})
    return from_plain(Checkpoint, {**made, "state": dict(state)})


async def evaluate(
    ref: RunRef | None, score: float, feedback: str | None = None, **more: Any
) -> Evaluation:
    """Keep a judgement of a run or one of its steps; see `Runs.evaluate`. ``None``: this run."""
    said = {"score": score, "feedback": feedback, **more}
    return from_plain(Evaluation, await _write(Evaluate, ref, said))


async def _several(kind: type[T], request: RunsRequest) -> Sequence[T]:
    return [from_plain(kind, one) for one in await perform_here(request)]


async def _write(kind: type[ByHand], ref: RunRef | None, said: Mapping[str, Any]) -> Any:
    error = said.get("error")
    if isinstance(error, BaseException):
        said = {**said, "error": Failure(type(error).__name__, str(error))}
    if ref is not None and not isinstance(ref, RunRef):
        raise InvalidValueError(f"{ref!r} is no RunRef; take that of runs.start, or Run.ref")
    more = {name: plain(to_plain(value), name) for name, value in said.items()}
    return await perform_here(kind(ref=None if ref is None else to_plain(ref), more=more))
