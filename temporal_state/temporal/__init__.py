"""What a Temporal worker adds: operations as activities, and the plugin that brings them."""

from typing import TYPE_CHECKING

from temporal_state._lazy import lazily

if TYPE_CHECKING:
    from temporal_state.temporal._activities import ACTIVITIES
    from temporal_state.temporal._call import CURRENT_CALL, ActivityCall
    from temporal_state.temporal._capture import Capture, RecordedValue, Redact
    from temporal_state.temporal._keeper import Keeper
    from temporal_state.temporal._lineage import Lineage
    from temporal_state.temporal._maintenance import MaintenanceWorkflow, Reconcile
    from temporal_state.temporal._names import STEP_NAME
    from temporal_state.temporal._notes import with_metadata
    from temporal_state.temporal._own_spans import OwnSpan
    from temporal_state.temporal._plan import ResumePlan, plan_resume
    from temporal_state.temporal._plugin import StatePlugin
    from temporal_state.temporal._reconcile import Freshness, freshness, reconcile
    from temporal_state.temporal._reconciler import Change, Reconciliation
    from temporal_state.temporal._recording import Recording
    from temporal_state.temporal._recover import Recover, Recovery, recover
    from temporal_state.temporal._resume import resume
    from temporal_state.temporal._run import WorkflowRun
    from temporal_state.temporal._schedule import (
        MaintenanceSchedule,
        ScheduleState,
        install_schedule,
    )
    from temporal_state.temporal._transform import CodecTransform
    from temporal_state.temporal._wire import BEFORE_ACK, NEVER_REUSE, UNRECORDED
    from temporal_state.temporal._workflow import perform_in_workflow
else:
    __getattr__ = lazily(
        __name__,
        {
            "_activities": "ACTIVITIES",
            "_call": "CURRENT_CALL ActivityCall",
            "_capture": "Capture RecordedValue Redact",
            "_keeper": "Keeper",
            "_lineage": "Lineage",
            "_maintenance": "MaintenanceWorkflow Reconcile",
            "_names": "STEP_NAME",
            "_notes": "with_metadata",
            "_own_spans": "OwnSpan",
            "_plan": "ResumePlan plan_resume",
            "_plugin": "StatePlugin",
            "_reconcile": "Freshness freshness reconcile",
            "_reconciler": "Change Reconciliation",
            "_recording": "Recording",
            "_recover": "Recover Recovery recover",
            "_resume": "resume",
            "_run": "WorkflowRun",
            "_schedule": "MaintenanceSchedule ScheduleState install_schedule",
            "_transform": "CodecTransform",
            "_wire": "BEFORE_ACK NEVER_REUSE UNRECORDED",
            "_workflow": "perform_in_workflow",
        },
    )

__all__ = [
    "ACTIVITIES",
    "BEFORE_ACK",
    "CURRENT_CALL",
    "NEVER_REUSE",
    "STEP_NAME",
    "UNRECORDED",
    "ActivityCall",
    "Capture",
    "Change",
    "CodecTransform",
    "Freshness",
    "Keeper",
    "Lineage",
    "MaintenanceSchedule",
    "MaintenanceWorkflow",
    "OwnSpan",
    "Reconcile",
    "Reconciliation",
    "RecordedValue",
    "Recording",
    "Recover",
    "Recovery",
    "Redact",
    "ResumePlan",
    "ScheduleState",
    "StatePlugin",
    "WorkflowRun",
    "freshness",
    "install_schedule",
    "perform_in_workflow",
    "plan_resume",
    "reconcile",
    "recover",
    "resume",
    "with_metadata",
]
