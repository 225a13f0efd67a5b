"""The SDK's messages have the fields that we read; they are no public interface.

If a newer SDK renames one, this names it, where the other tests would only show an empty record.
"""

import pytest
from temporalio.api.common.v1 import Payload, RetryPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.bridge.proto.activity_result import (
    ActivityResolution,
    Cancellation,
    DoBackoff,
    Success,
)
from temporalio.bridge.proto.activity_result import Failure as ActivityFailure
from temporalio.bridge.proto.child_workflow import (
    ChildWorkflowResult,
    StartChildWorkflowExecutionFailedCause,
)
from temporalio.bridge.proto.nexus import NexusOperationResult
from temporalio.bridge.proto.workflow_activation import (
    FireTimer,
    InitializeWorkflow,
    RemoveFromCache,
    ResolveActivity,
    ResolveChildWorkflowExecution,
    ResolveChildWorkflowExecutionStart,
    ResolveChildWorkflowExecutionStartFailure,
    ResolveNexusOperation,
    ResolveNexusOperationStart,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import (
    CancelTimer,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    ScheduleActivity,
    ScheduleLocalActivity,
    ScheduleNexusOperation,
    StartChildWorkflowExecution,
    StartTimer,
    WorkflowCommand,
)
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

READ = {
    WorkflowActivation: "run_id timestamp is_replaying history_length jobs",
    WorkflowActivationJob: (
        "initialize_workflow fire_timer query_workflow resolve_activity remove_from_cache "
        "resolve_child_workflow_execution_start resolve_child_workflow_execution "
        "resolve_nexus_operation_start resolve_nexus_operation update_random_seed"
    ),
    InitializeWorkflow: (
        "arguments headers workflow_execution_timeout workflow_run_timeout workflow_task_timeout "
        "retry_policy memo search_attributes continued_initiator cron_schedule "
        "continued_from_execution_run_id"
    ),
    FireTimer: "seq",
    RemoveFromCache: "reason",
    ResolveActivity: "seq result is_local",
    ResolveChildWorkflowExecution: "seq result",
    ResolveChildWorkflowExecutionStart: "seq succeeded failed cancelled",
    ResolveChildWorkflowExecutionStartFailure: "cause",
    ResolveNexusOperation: "seq result",
    ResolveNexusOperationStart: "seq failed",
    ActivityResolution: "completed failed cancelled backoff",
    Success: "result",
    ActivityFailure: "failure",
    Cancellation: "failure",
    DoBackoff: "backoff_duration attempt",
    ChildWorkflowResult: "completed failed cancelled",
    NexusOperationResult: "completed failed cancelled timed_out",
    WorkflowActivationCompletion: "successful failed",
    WorkflowCommand: (
        "start_timer cancel_timer schedule_activity schedule_local_activity "
        "start_child_workflow_execution schedule_nexus_operation complete_workflow_execution "
        "fail_workflow_execution cancel_workflow_execution continue_as_new_workflow_execution "
        "user_metadata"
    ),
    StartTimer: "seq start_to_fire_timeout",
    CancelTimer: "seq",
    ScheduleActivity: "seq activity_id activity_type arguments headers",
    ScheduleLocalActivity: "seq activity_id activity_type arguments headers attempt",
    StartChildWorkflowExecution: "seq workflow_id workflow_type input headers",
    ScheduleNexusOperation: "seq endpoint service operation input",
    CompleteWorkflowExecution: "result",
    FailWorkflowExecution: "failure",
    ContinueAsNewWorkflowExecution: "headers",
    UserMetadata: "summary",
    Payload: "metadata data",
    RetryPolicy: (
        "initial_interval backoff_coefficient maximum_interval maximum_attempts "
        "non_retryable_error_types"
    ),
    Failure: (
        "message encoded_attributes cause application_failure_info timeout_failure_info "
        "canceled_failure_info terminated_failure_info"
    ),
}


@pytest.mark.parametrize("message", READ, ids=lambda message: message.DESCRIPTOR.full_name)
def test_a_message_has_the_fields_that_are_read(message):
    assert set(READ[message].split()) <= set(message.DESCRIPTOR.fields_by_name)


def test_the_reasons_to_leave_the_cache_are_those_that_were_seen():
    reason = RemoveFromCache.EvictionReason
    known = ("WORKFLOW_EXECUTION_ENDING", "UNHANDLED_COMMAND", "LANG_FAIL", "NONDETERMINISM")
    assert {name: reason.Value(name) for name in known} == {
        "WORKFLOW_EXECUTION_ENDING": 10,
        "UNHANDLED_COMMAND": 7,
        "LANG_FAIL": 4,
        "NONDETERMINISM": 3,
    }


def test_a_child_that_exists_already_is_told_by_the_end_of_its_cause():
    causes = StartChildWorkflowExecutionFailedCause.keys()
    assert any(name.endswith("_WORKFLOW_ALREADY_EXISTS") for name in causes)


def test_what_is_overridden_of_the_sdk_is_there():
    assert callable(WorkflowInstance.activate)
    assert issubclass(SandboxedWorkflowRunner, WorkflowRunner)
    assert {"info", "defn", "extern_functions"} <= set(WorkflowInstanceDetails.__annotations__)
    assert {"original_execution_run_id", "first_execution_run_id", "workflow_start_time"} <= set(
        Info.__annotations__
    )
    assert WorkflowSerializationContext("namespace", "id").workflow_id == "id"
