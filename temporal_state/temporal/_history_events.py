"""What single events of a history say: a step's call, a step's end, the run's end.

The only module that reads the events. Their fields are a public interface of the server's, except
for the marker of a local activity, which the SDK's core writes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import StartChildWorkflowExecutionFailedCause as Cause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.converter import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

from temporal_state.documents import loads
from temporal_state.runs import Json
from temporal_state.temporal._events import Ended, refusal, status_of
from temporal_state.temporal._wire import HEADER

LOCAL_ACTIVITY = "core_local_activity"


@dataclass(slots=True)
class Call:
    """One step's call.

    Attributes:
        context: By which the codec knows its payloads.
        header: What the workflow wrote beside it for our activity side.
        summary: What the workflow calls it, if it is a timer.
        seq: The number of an activity's call; of one that has an id of its own it is unknown.
    """

    kind: str
    name: str
    id: str
    context: SerializationContext
    input: list[Payload] = field(default_factory=list)
    header: Payload | None = None
    summary: Payload | None = None
    seq: int | None = None


@dataclass(slots=True)
class End:
    """How one step ended.

    Attributes:
        call: The number of the event of its call.
        by_workflow: Whether the workflow itself ended it.
    """

    call: int
    status: str
    result: Payload | None = None
    failure: Failure | None = None
    by_workflow: bool = False


@dataclass(slots=True)
class Marker:
    """The marker of a local activity: its call and its end, or a pause before it is called anew.

    Attributes:
        origin: The same for all calls that are one step.
    """

    call: Call
    end: End | None
    time: datetime | None
    origin: tuple[str, str]


@dataclass(slots=True)
class Subject:
    """Whose history it is.

    Attributes:
        start: With what the run was started.
    """

    namespace: str
    workflow_id: str
    start: WorkflowExecutionStartedEventAttributes = field(
        default_factory=WorkflowExecutionStartedEventAttributes
    )

    @property
    def context(self) -> WorkflowSerializationContext:
        """By which the codec knows payloads of the run itself."""
        return WorkflowSerializationContext(self.namespace, self.workflow_id)

    def activity_context(
        self, id: str, type: str, task_queue: str, *, is_local: bool = False
    ) -> ActivitySerializationContext:
        """Return by what the codec knows payloads of an activity."""
        return ActivitySerializationContext(
            namespace=self.namespace,
            activity_id=id,
            activity_type=type,
            activity_task_queue=task_queue or self.start.task_queue.name,
            workflow_id=self.workflow_id,
            workflow_type=self.start.workflow_type.name,
            is_local=is_local,
        )


def attributes_of(event: HistoryEvent) -> tuple[str, Any]:
    """Return what kind of event it is, and its fields."""
    kind = event.WhichOneof("attributes") or ""
    return kind.removesuffix("_event_attributes"), getattr(event, kind, None)


def call_of(event: HistoryEvent, subject: Subject) -> Call | None:
    """Return the call that an event says was made, if it says so."""
    name, attributes = attributes_of(event)
    if name not in _CALLS:
        return None
    call = _CALLS[name](attributes, subject)
    if event.user_metadata.HasField("summary"):
        call.summary = event.user_metadata.summary
    return call


def end_of(event: HistoryEvent) -> End | None:
    """Return the end of a step that an event tells of, if it does."""
    name, attributes = attributes_of(event)
    if name not in _ENDS:
        return None
    place, how = _ENDS[name]
    failure = None if how in {"completed", "cancelled"} else _failure(name, attributes)
    return End(
        getattr(attributes, place),
        how or status_of(failure or Failure()),
        first_of(getattr(attributes, "result", None)) if how == "completed" else None,
        failure,
        by_workflow=name == "timer_canceled",
    )


def run_end_of(event: HistoryEvent) -> Ended | None:
    """Return the end of the run that an event tells of, if it does."""
    name, attributes = attributes_of(event)
    return _RUN_ENDS[name](attributes) if name in _RUN_ENDS else None


def marker_of(attributes: Any, subject: Subject) -> Marker | None:
    """Return what a marker says of a local activity; ``None`` if it is another marker."""
    details = attributes.details
    if attributes.marker_name != LOCAL_ACTIVITY or "data" not in details:
        return None
    data = loads(details["data"].payloads[0].data)
    id, type = data["activity_id"], data["activity_type"]
    context = subject.activity_context(id, type, "", is_local=True)
    call = Call("local_activity", type, id, context, seq=data["seq"])
    end = None
    if not data.get("backoff"):
        failure = attributes.failure if attributes.HasField("failure") else None
        status = "completed" if failure is None else status_of(failure)
        result = first_of(details["result"]) if failure is None else None
        end = End(0, status, result, failure, by_workflow=True)
    return Marker(call, end, _time_in(data), (type, str(data.get("original_schedule_time"))))


def first_of(payloads: Any) -> Payload | None:
    """Return the payload, or the first of some payloads, if there is one."""
    if isinstance(payloads, Payload):
        return payloads
    found = payloads.payloads if payloads is not None else ()
    return found[0] if found else None


def _activity(attributes: Any, subject: Subject) -> Call:
    header, id, type = attributes.header.fields, attributes.activity_id, attributes.activity_type
    return Call(
        "activity",
        type.name,
        id,
        subject.activity_context(id, type.name, attributes.task_queue.name),
        list(attributes.input.payloads),
        header.get(HEADER),
        seq=int(id) if id.isdecimal() else None,
    )


def _child(attributes: Any, subject: Subject) -> Call:
    namespace, id = attributes.namespace or subject.namespace, attributes.workflow_id
    context = WorkflowSerializationContext(namespace, id)
    return Call("child", attributes.workflow_type.name, id, context, [*attributes.input.payloads])


def _operation(attributes: Any, subject: Subject) -> Call:
    name = f"{attributes.service}.{attributes.operation}"
    return Call("nexus", name, attributes.endpoint, subject.context, [attributes.input])


_CALLS: Mapping[str, Callable[[Any, Subject], Call]] = {
    "activity_task_scheduled": _activity,
    "start_child_workflow_execution_initiated": _child,
    "timer_started": lambda part, run: Call("timer", "timer", part.timer_id, run.context),
    "nexus_operation_scheduled": _operation,
}

_ENDS: Mapping[str, tuple[str, str | None]] = {
    "activity_task_completed": ("scheduled_event_id", "completed"),
    "activity_task_failed": ("scheduled_event_id", None),
    "activity_task_timed_out": ("scheduled_event_id", None),
    "activity_task_canceled": ("scheduled_event_id", "cancelled"),
    "start_child_workflow_execution_failed": ("initiated_event_id", "failed"),
    "child_workflow_execution_completed": ("initiated_event_id", "completed"),
    "child_workflow_execution_failed": ("initiated_event_id", None),
    "child_workflow_execution_timed_out": ("initiated_event_id", "timed_out"),
    "child_workflow_execution_canceled": ("initiated_event_id", "cancelled"),
    "child_workflow_execution_terminated": ("initiated_event_id", "terminated"),
    "nexus_operation_completed": ("scheduled_event_id", "completed"),
    "nexus_operation_failed": ("scheduled_event_id", None),
    "nexus_operation_timed_out": ("scheduled_event_id", None),
    "nexus_operation_canceled": ("scheduled_event_id", "cancelled"),
    "timer_fired": ("started_event_id", "completed"),
    "timer_canceled": ("started_event_id", "cancelled"),
}
"""By an event's name, which field has the number of the call's event, and how the step ended
(``None``: as its failure says)."""


def _failure(name: str, attributes: Any) -> Failure:
    if name == "start_child_workflow_execution_failed":
        return refusal(Cause.Name(attributes.cause))
    if name == "child_workflow_execution_timed_out":
        return _timeout("Child Workflow execution timed out")
    if name == "child_workflow_execution_terminated":
        return _termination("Child Workflow execution terminated")
    failure: Failure = attributes.failure
    return failure


def _timeout(message: str) -> Failure:
    failure = Failure(message=message)
    failure.timeout_failure_info.SetInParent()
    return failure


def _termination(message: str) -> Failure:
    failure = Failure(message=message)
    failure.terminated_failure_info.SetInParent()
    return failure


def _terminated(attributes: Any) -> Ended:
    return Ended("terminated", failure=_termination(attributes.reason or "Workflow terminated"))


_RUN_ENDS: Mapping[str, Callable[[Any], Ended]] = {
    "workflow_execution_completed": lambda part: Ended("completed", result=first_of(part.result)),
    "workflow_execution_failed": lambda part: Ended("failed", failure=part.failure),
    "workflow_execution_timed_out": lambda _: Ended(
        "timed_out", failure=_timeout("Workflow timed out")
    ),
    "workflow_execution_canceled": lambda _: Ended("cancelled"),
    "workflow_execution_terminated": _terminated,
    "workflow_execution_continued_as_new": lambda _: Ended("continued_as_new"),
}


def _time_in(data: Json) -> datetime | None:
    time = data.get("complete_time")
    if not time:
        return None
    return Timestamp(seconds=time["seconds"], nanos=time["nanos"]).ToDatetime(UTC)
