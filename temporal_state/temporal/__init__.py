"""What a Temporal worker adds: operations as activities, and the plugin that brings them."""

from temporal_state.temporal._activities import ACTIVITIES
from temporal_state.temporal._call import CURRENT_CALL, ActivityCall
from temporal_state.temporal._capture import Capture, Redact
from temporal_state.temporal._plugin import StatePlugin
from temporal_state.temporal._recording import UNRECORDED, Recording
from temporal_state.temporal._run import WorkflowRun
from temporal_state.temporal._workflow import perform_in_workflow

__all__ = [
    "ACTIVITIES",
    "CURRENT_CALL",
    "UNRECORDED",
    "ActivityCall",
    "Capture",
    "Recording",
    "Redact",
    "StatePlugin",
    "WorkflowRun",
    "perform_in_workflow",
]
