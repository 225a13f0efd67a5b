"""What a Temporal worker adds: operations as activities, and the plugin that brings them."""

from temporal_state.temporal._activities import ACTIVITIES
from temporal_state.temporal._call import CURRENT_CALL, ActivityCall
from temporal_state.temporal._capture import Capture, Redact
from temporal_state.temporal._operations import perform
from temporal_state.temporal._plugin import StatePlugin
from temporal_state.temporal._recording import UNRECORDED, Recording
from temporal_state.temporal._run import WorkflowRun
from temporal_state.temporal._wire import (
    Delete,
    DocumentRequest,
    Exists,
    Get,
    List,
    Merge,
    Previous,
    Replace,
    Request,
    Set,
)
from temporal_state.temporal._workflow import perform_in_workflow

__all__ = [
    "ACTIVITIES",
    "CURRENT_CALL",
    "UNRECORDED",
    "ActivityCall",
    "Capture",
    "Delete",
    "DocumentRequest",
    "Exists",
    "Get",
    "List",
    "Merge",
    "Previous",
    "Recording",
    "Redact",
    "Replace",
    "Request",
    "Set",
    "StatePlugin",
    "WorkflowRun",
    "perform",
    "perform_in_workflow",
]
