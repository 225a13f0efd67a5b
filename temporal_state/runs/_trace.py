"""A run as a trace, in the ids of W3C and OpenTelemetry, so that both can be laid side by side.

All ids are derived, so that whoever sees a step can name its span without asking anyone: the trace
is that of the lineage, a span that of the call in its run. A run that was started in a trace of
OpenTelemetry is a part of that one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from temporal_state.runs._digest import digest
from temporal_state.runs._records import Run, Step
from temporal_state.runs._spans import Span


@dataclass(frozen=True, slots=True)
class SpanIds:
    """The ids of the spans of one run."""

    run_id: str

    def run(self) -> str:
        """Return the id of the run's own span."""
        return digest(self.run_id, "run")[:16]

    def step(self, key: str | None, number: int | None = None) -> str:
        """Return the id of a step's span: by its key, or of one without a key by its number."""
        name = f"number {number}" if key is None else f"key {key}"
        return digest(self.run_id, "step", name)[:16]

    def own(self, key: str, attempt: int, started: str, number: int) -> str:
        """Return the id of a span that the code of a step began, the how-manieth of its attempt."""
        return digest(self.run_id, "own", key, str(attempt), started, str(number))[:16]


def trace_of(run: Run, steps: Sequence[Step], own: Iterable[Span]) -> list[Span]:
    """Return a run, its steps and its own spans as one tree."""
    ids = SpanIds(run.run_id)
    root = ids.run()
    numbers = {step.number: ids.step(step.key, step.number) for step in steps}
    of_steps = [_span_of_step(step, numbers[step.number], root) for step in steps]
    own = list(own)
    known = {root, *numbers.values(), *(span.span_id for span in own)}
    rest = [_below(span, numbers.get(span.step or 0, root), known) for span in own]
    return [_span_of_run(run, root), *of_steps, *rest]


def _span_of_run(run: Run, span_id: str) -> Span:
    attributes = {"workflow_id": run.workflow_id, "run_id": run.run_id, "trace_id": run.trace_id}
    if run.trace is not None:
        attributes["trace_parent"] = run.trace.span_id
    return Span(
        name=run.workflow_type or run.workflow_id,
        span_id=span_id,
        start=run.started,
        end=run.ended,
        status="started" if run.status == "running" else run.status,
        attributes=attributes,
    )


def _span_of_step(step: Step, span_id: str, root: str) -> Span:
    attributes = {"kind": step.kind, "id": step.id}
    if step.trace is not None:
        attributes |= {"trace_id": step.trace.trace_id, "trace_parent": step.trace.span_id}
    return Span(
        name=step.name,
        span_id=span_id,
        parent_span_id=root,
        step=step.number,
        start=step.scheduled,
        end=step.closed,
        status=step.status,
        attributes=attributes,
    )


def _below(span: Span, parent: str, known: set[str]) -> Span:
    # A step can be unknown whose spans are not: it was called again, or is not written yet.
    return span if span.parent_span_id in known else replace(span, parent_span_id=parent)
