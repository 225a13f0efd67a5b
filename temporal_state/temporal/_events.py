"""What the SDK's messages say, in this package's words: scheduled, closed, ended.

The only module that reads the messages between the SDK's core and its workflow code. They are not a
public interface, so a test pins every field that is read here.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.bridge.proto.child_workflow import StartChildWorkflowExecutionFailedCause as Cause
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.converter import PayloadConverter

Place: TypeAlias = tuple[str, int]
"""How the SDK tells one open call from another: its kind, and a number for each kind."""

_EPOCH = datetime.fromtimestamp(0, UTC)


class Scheduled(NamedTuple):
    """Workflow code asked for something that it can wait for.

    Its key is the name of the call by its content; ``lasting`` is a timer's time, and ``part`` is
    where the attempts of an activity are kept.
    """

    place: Place
    kind: str
    name: str
    id: str
    key: str | None
    input: Sequence[Payload]
    lasting: timedelta | None = None
    part: int = 0


Calls: TypeAlias = Mapping[Place, Scheduled]
"""Calls that were named, without their inputs."""


class Closed(NamedTuple):
    """Something that workflow code asked for has ended.

    The status ``backoff`` means that the SDK will ask for it again after a timer of ``pause``.
    """

    place: Place
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    pause: timedelta | None = None


class Ended(NamedTuple):
    """Workflow code asked for the end of its run."""

    status: str
    result: Payload | None = None
    failure: Failure | None = None


Event: TypeAlias = Scheduled | Closed | Ended


def micros_of(act: WorkflowActivation) -> int:
    """Return the workflow's time at an activation, in microseconds since 1970."""
    time = act.timestamp
    return int(time.seconds * 1_000_000 + time.nanos // 1000)


def time_of(act: WorkflowActivation) -> datetime:
    """Return the workflow's time at an activation."""
    return _EPOCH + timedelta(microseconds=micros_of(act))


def of_job(job: WorkflowActivationJob) -> Closed | None:
    """Return what a job of an activation closes, if anything."""
    kind = job.WhichOneof("variant") or ""
    handler = _JOBS.get(kind)
    return None if handler is None else handler(getattr(job, kind))


def of_command(command: WorkflowCommand, named: Calls) -> Event | None:
    """Return what a command of a completion says, if it concerns steps or the run's end."""
    kind = command.WhichOneof("variant") or ""
    handler = _COMMANDS.get(kind)
    return None if handler is None else handler(getattr(command, kind), command, named)


def _resolved(kind: str, resolved: Any) -> Closed:
    place, result = (kind, resolved.seq), resolved.result
    status = result.WhichOneof("status")
    if status == "completed":
        # An activity's and a child's result is in a message of its own, an operation's is not.
        payload = result.completed if kind == "nexus" else result.completed.result
        return Closed(place, status, result=payload)
    if status == "failed":
        failure = result.failed if kind == "nexus" else result.failed.failure
        return Closed(place, status_of(failure), failure=failure)
    if status == "timed_out":
        return Closed(place, status, failure=result.timed_out)
    if status == "backoff":
        return Closed(place, status, pause=result.backoff.backoff_duration.ToTimedelta())
    return Closed(place, status or "cancelled")


def _refused_operation(start: Any) -> Closed | None:
    if not start.HasField("failed"):
        return None
    return Closed(("nexus", start.seq), "failed", failure=start.failed)


def _refused_child(start: Any) -> Closed | None:
    place, status = ("child", start.seq), start.WhichOneof("status")
    if status == "succeeded":
        return None
    if status == "cancelled":
        return Closed(place, "cancelled")
    return Closed(place, "failed", failure=refusal(Cause.Name(start.failed.cause)))


def refusal(cause: str) -> Failure:
    """Return the failure of a child that was not started, by the name of the cause.

    Temporal gives none; this is what the workflow's code gets.
    """
    failure = Failure(message=cause)
    if cause.endswith("_WORKFLOW_ALREADY_EXISTS"):
        failure = Failure(message="Workflow execution already started")
        failure.application_failure_info.type = "WorkflowAlreadyStartedError"
    return failure


def status_of(failure: Failure) -> str:
    """Return how something ended that failed so."""
    cause = innermost(failure)
    if cause.HasField("timeout_failure_info"):
        return "timed_out"
    if cause.HasField("canceled_failure_info"):
        return "cancelled"
    return "terminated" if cause.HasField("terminated_failure_info") else "failed"


def innermost(failure: Failure) -> Failure:
    """Return the cause at the bottom of a failure: what really went wrong."""
    while failure.HasField("cause"):
        failure = failure.cause
    return failure


def _activity(kind: str, call: Any, named: Calls) -> Scheduled:
    place, input = ("activity", call.seq), call.arguments
    if place in named:
        return named[place]._replace(input=input)
    return Scheduled(place, kind, call.activity_type, call.activity_id, None, input)


def _child(start: Any, _: WorkflowCommand, named: Calls) -> Scheduled:
    place, input = ("child", start.seq), start.input
    if place in named:
        return named[place]._replace(input=input)
    return Scheduled(place, "child", start.workflow_type, start.workflow_id, None, input)


def _timer(timer: Any, command: WorkflowCommand, _: Calls) -> Scheduled:
    name = "timer"
    if command.user_metadata.HasField("summary"):
        name = str(PayloadConverter.default.from_payload(command.user_metadata.summary, str))
    lasting = timer.start_to_fire_timeout.ToTimedelta()
    return Scheduled(("timer", timer.seq), "timer", name, str(timer.seq), None, [], lasting)


def _nexus(start: Any, *_: Any) -> Scheduled:
    name = f"{start.service}.{start.operation}"
    return Scheduled(("nexus", start.seq), "nexus", name, start.endpoint, None, [start.input])


_JOBS: Mapping[str, Callable[[Any], Closed | None]] = {
    "fire_timer": lambda job: Closed(("timer", job.seq), "completed"),
    "resolve_activity": lambda job: _resolved("activity", job),
    "resolve_child_workflow_execution": lambda job: _resolved("child", job),
    "resolve_nexus_operation": lambda job: _resolved("nexus", job),
    "resolve_child_workflow_execution_start": _refused_child,
    "resolve_nexus_operation_start": _refused_operation,
}

_COMMANDS: Mapping[str, Any] = {
    "schedule_activity": lambda call, _, named: _activity("activity", call, named),
    "schedule_local_activity": lambda call, _, named: _activity("local_activity", call, named),
    "start_child_workflow_execution": _child,
    "start_timer": _timer,
    "cancel_timer": lambda timer, *_: Closed(("timer", timer.seq), "cancelled"),
    "schedule_nexus_operation": _nexus,
    "complete_workflow_execution": lambda end, *_: Ended("completed", result=end.result),
    "fail_workflow_execution": lambda end, *_: Ended("failed", failure=end.failure),
    "cancel_workflow_execution": lambda *_: Ended("cancelled"),
    "continue_as_new_workflow_execution": lambda *_: Ended("continued_as_new"),
}
