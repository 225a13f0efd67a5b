"""What code says about the run or step that it is part of.

What is said without ``await`` goes into the automatic record, readable as it was said, and is lost
where there is no record. In workflow code it adds no event, and replayed code says the same.
A checkpoint is awaited, so it is an activity: kept before the next line runs, recorded or not.
"""

from collections.abc import Mapping
from typing import Any

from temporalio import workflow

from temporal_state.documents import plain, plain_object
from temporal_state.errors import ContextError, InvalidValueError
from temporal_state.runs import Evaluation, from_plain
from temporal_state.state._context import perform_here, recorded_call
from temporal_state.temporal import OwnSpan, WorkflowRun, with_metadata
from temporal_state.temporal.requests import Checkpoint, Evaluate


def progress(done: float, total: float | None = None, message: str | None = None) -> None:
    """Say how far this run (or, in an activity, this step) is; nothing waits, nothing is scheduled.

    What is said goes into the automatic record, so it is lost where there is none.

    Args:
        done: How much is done, in any unit.
        total: Of how much, if that is known.
        message: A few words for people.

    Raises:
        InvalidValueError: A value is none that JSON can hold.
        ContextError: Called in a query or a validator of an update, or outside of a run.
    """
    said = plain({"done": done, "total": total, "message": message}, "progress")
    if workflow.in_workflow():
        _refuse_read_only("report its progress")
        notes = WorkflowRun.notes_here()
        if notes is not None:
            notes.progress = said
    elif (record := recorded_call("progress").record) is not None:
        record.report(said)


def annotate(metadata: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Note what tells this run apart, in workflow or activity code; nothing waits.

    It is merged into `Run.metadata`, key by key; of each key, what was noted last holds.

    Args:
        metadata: Keys and JSON values.
        **more: Further ones.

    Raises:
        InvalidValueError: A value is none that JSON can hold.
        TooLargeError: All that the run, or this attempt of the activity, noted is over 16 KB. What
            all activities of a run note together is kept up to 64 KB; what is beyond is logged.
        ContextError: Called in a query or a validator of an update, or outside of a run.
    """
    said = plain_object({**(metadata or {}), **more}, "metadata")
    if workflow.in_workflow():
        _refuse_read_only("annotate it")
        WorkflowRun.annotate_here(said)
        return
    call = recorded_call("an annotation")
    call.noted = with_metadata(call.noted or {}, said)
    if call.record is not None and said:
        call.record.note(said)


def _refuse_read_only(what: str) -> None:
    if workflow.unsafe.is_read_only():
        raise ContextError(
            f"queries and validators only look at a run and cannot {what}; do so in the workflow, "
            "or in the handler of a signal or an update"
        )


async def checkpoint(name: str | None = None, state: Mapping[str, Any] | None = None) -> int:
    """Keep the state of this run at this moment; it is durable before the next line runs.

    Made by code that Temporal runs again, it is still one checkpoint.

    Args:
        name: Also finds it, as its number does; one with a name is never dropped by retention.
        state: A JSON object that is kept with it; by default the run's own document.

    Returns:
        Its number, in one sequence with the automatic checkpoints of the chain of runs.

    Raises:
        InvalidValueError: ``name`` is empty, or ``state`` is no JSON object.
        TooLargeError: ``state`` would not pass through Temporal.
        ContextError: Called outside of workflow code.
    """
    if not workflow.in_workflow():
        raise ContextError(
            "a checkpoint is one of a whole run, which only its workflow code can see: call this "
            "there; in an activity use state.progress and the run's own document, and elsewhere "
            "StateBackend.runs.checkpoint"
        )
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidValueError(f"{name!r} is no name of a checkpoint; give text, or None")
    value = None if state is None else plain_object(dict(state), "state")
    made = await perform_here(Checkpoint(name=plain(name, "name"), state=value))
    return int(made["number"])


async def evaluate(
    score: float,
    feedback: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    step: int | None = None,
) -> Evaluation:
    """Keep a judgement of this run or one of its steps, in workflow or activity code.

    Made by code that Temporal runs again, it is still one judgement.

    Args:
        score: Any finite number.
        feedback: What is to be said about it.
        metadata: What else is known of it: a JSON object.
        step: The number of the step that is judged; by default the whole run is.
    """
    said = {"score": score, "feedback": feedback, "metadata": metadata or {}, "step": step}
    request = Evaluate(more={name: plain(value, name) for name, value in said.items()})
    return from_plain(Evaluation, await perform_here(request))


def span(name: str, *, attributes: Mapping[str, Any] | None = None) -> OwnSpan:
    """Return a block that is recorded as a part of this step; for activities, threaded ones too.

    Example:
        with state.span("parse", attributes={"file": name}) as span:
            span.set(rows=await parse(name))

    A block inside of another is a part of that one. A block that raises has failed, and the record
    has the error's type; ``async with`` does the same as ``with``. At most 1,000 are recorded of
    one attempt, and 32 inside of each other.

    Args:
        name: 1 to 200 characters.
        attributes: What else is known of it: JSON values, at most 4 KB.

    Raises:
        InvalidValueError: The name or an attribute cannot be.
        TooLargeError: The attributes are too large.
        ContextError: Called in workflow code or outside of an activity.
    """
    if workflow.in_workflow():
        raise ContextError(
            "workflow code takes no time of its own, so it has no spans: what it awaits are steps, "
            "which are spans already; use state.span in activities"
        )
    return OwnSpan(recorded_call("a span"), name, attributes or {})
