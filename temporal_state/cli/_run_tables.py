"""Runs, steps and checkpoints as people read them."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from temporal_state.cli._models import ValueShape
from temporal_state.cli._output import Output, status_text
from temporal_state.cli._text import (
    count_text,
    duration_text,
    harmless,
    short,
    time_text,
    value_text,
)
from temporal_state.documents import dumps
from temporal_state.runs import Checkpoint, Progress, Run, Step


def progress_text(progress: Progress | None) -> str:
    """Return how far something is, without its message."""
    if progress is None:
        return ""
    if progress.total is None:
        return count_text(progress.done)
    return f"{count_text(progress.done)}/{count_text(progress.total)}"


def steps_text(run: Run) -> str:
    """Return how many of a run's steps have completed."""
    return f"{run.counts.get('completed', 0)}/{run.steps}"


RUN_COLUMNS = ("workflow id", "type", "status", "steps", "progress", "started", "#took", "message")


def run_row(run: Run) -> Sequence[str | Text]:
    """Return the row of a run."""
    return (
        run.workflow_id,
        run.workflow_type,
        status_text(
            "paused" if run.paused else run.status, confirmed=run.confirmed or run.ended is None
        ),
        steps_text(run),
        progress_text(run.progress),
        time_text(run.started),
        duration_text(None if run.ended is None else run.ended - run.started),
        short(_message(run)),
    )


def _message(run: Run) -> str:
    if run.error is not None:
        return f"{run.error.type}: {run.error.message or ''}".rstrip(": ")
    return (run.progress.message or "") if run.progress is not None else ""


def print_run(out: Output, run: Run) -> None:
    """Print what is known of a run, a fact a line."""
    unconfirmed = "" if run.confirmed or run.ended is None else " (not confirmed by Temporal yet)"
    facts = {
        "workflow": run.workflow_id,
        "run": run.run_id,
        "type": run.workflow_type,
        "kind": run.kind if run.kind != "workflow" else "",
        "queue": run.task_queue,
        "status": f"{run.status}{', paused' if run.paused else ''}{unconfirmed}",
        "started": time_text(run.started),
        "ended": time_text(run.ended),
        "took": duration_text(None if run.ended is None else run.ended - run.started),
        "attempt": str(run.attempt) if run.attempt > 1 else "",
        "progress": progress_text(run.progress),
        "message": _message(run),
        "steps": ", ".join(f"{n} {status}" for status, n in sorted(run.counts.items())),
        "parent": run.parent["workflow_id"] if run.parent is not None else "",
        "resumes": run.resumed_from.run_id if run.resumed_from is not None else "",
        "cron": run.cron or "",
        "lost": f"{run.lost} changes were not recorded" if run.lost else "",
        "metadata": value_text(run.metadata, 1000) if run.metadata else "",
    }
    for name, fact in facts.items():
        if fact:
            style = status_text(run.status).style if name == "status" else ""
            out.text(Text.assemble((f"{name:<9} ", "bold"), (harmless(fact), style)))


def print_values(out: Output, run: Run) -> None:
    """Print what a run was given, and what came of it."""
    for value in run.input:
        out.text(f"input     {shown(ValueShape.shown(value))}")
    if run.result is not None:
        out.text(f"result    {shown(ValueShape.shown(run.result))}")


def shown(value: ValueShape) -> str:
    """Return a value on one line, or why it cannot be shown."""
    return value.note or dumps(value.value).decode()


STEP_COLUMNS = ("#", "kind", "name", "status", "#attempt", "scheduled", "#took", "note")


def step_row(step: Step) -> Sequence[str | Text]:
    """Return the row of a step."""
    end = step.closed or step.ended
    return (
        str(step.number),
        step.kind,
        step.name,
        status_text(step.status),
        "" if step.attempt is None else str(step.attempt),
        time_text(step.scheduled),
        duration_text(None if end is None else end - step.scheduled),
        short(_note(step)),
    )


def print_open(out: Output, steps: Iterable[Step]) -> None:
    """Print what a run waits for, with what is known of it: progress, or why it failed so far."""
    for step in steps:
        attempt = f", attempt {step.attempt}" if (step.attempt or 1) > 1 else ""
        note = f": {_note(step)}" if _note(step) else ""
        out.text(Text.assemble(("waits for ", "bold"), harmless(f"{step.name}{attempt}{note}")))


def _note(step: Step) -> str:
    if step.taken_over:
        return "taken over"
    if step.error is not None:
        return f"{step.error.type}: {step.error.message or ''}".rstrip(": ")
    if step.progress is not None:
        return f"{progress_text(step.progress)} {step.progress.message or ''}".strip()
    return ""


CHECKPOINT_COLUMNS = ("#", "name", "time", "#steps", "progress", "#version", "state")


def checkpoint_row(checkpoint: Checkpoint) -> Sequence[str | Text]:
    """Return the row of a checkpoint."""
    return (
        str(checkpoint.number),
        checkpoint.name or "",
        time_text(checkpoint.time),
        str(checkpoint.step),
        progress_text(checkpoint.progress),
        str(checkpoint.version or ""),
        "" if checkpoint.state is None else value_text(checkpoint.state),
    )
