"""State that outlives the workflow: JSON documents for Temporal workflows, in a store you own."""

from typing import TYPE_CHECKING

from temporalio import workflow

# So that the sandbox takes the package as it is, also on a worker without the plugin.
with workflow.unsafe.imports_passed_through():
    from temporal_state import errors
    from temporal_state._lazy import lazily
    from temporal_state.errors import (
        BatchError,
        ChangedItemsError,
        ConfigurationError,
        ConflictError,
        ContextError,
        DamagedObjectError,
        InvalidDocumentError,
        InvalidNameError,
        InvalidValueError,
        NotFoundError,
        NotRecordedError,
        PathTraversalError,
        SecretRefusedError,
        SecretUnavailableError,
        StateError,
        StoreError,
        StoreFullError,
        StorePermissionError,
        StoreTimeoutError,
        TokenExpiredError,
        TooLargeError,
        TransactionConflictError,
        VersionConflictError,
    )

if TYPE_CHECKING:
    from temporal_state import state
    from temporal_state._default import configure
    from temporal_state.backend import StateBackend
    from temporal_state.documents import (
        Adoption,
        DeletedState,
        Document,
        Limits,
        Page,
        ResolvedCredential,
        StateType,
        SystemValue,
    )
    from temporal_state.runs import Checkpoint, Retention, Run, RunRef, Source, Step
    from temporal_state.state import StateStore, build_state_store_path
    from temporal_state.storage import Compressed, ObjectStore, Transform, open_store
    from temporal_state.temporal import (
        CodecTransform,
        Freshness,
        MaintenanceSchedule,
        Reconcile,
        Reconciliation,
        RecordedValue,
        Recording,
        Recover,
        Recovery,
        ResumePlan,
        StatePlugin,
        freshness,
        install_schedule,
        plan_resume,
        reconcile,
        recover,
        resume,
    )
else:
    __getattr__ = lazily(
        __name__,
        {
            "_default": "configure",
            "backend": "StateBackend",
            "documents": (
                "Adoption DeletedState Document Limits Page ResolvedCredential StateType "
                "SystemValue"
            ),
            "runs": "Checkpoint Retention Run RunRef Source Step",
            "state": "state StateStore build_state_store_path",
            "storage": "Compressed ObjectStore Transform open_store",
            "temporal": (
                "CodecTransform Freshness MaintenanceSchedule Reconcile Reconciliation "
                "RecordedValue Recording Recover Recovery ResumePlan StatePlugin freshness "
                "install_schedule plan_resume reconcile recover resume"
            ),
        },
        workflow.unsafe.imports_passed_through,
    )

__all__ = [
    "Adoption",
    "BatchError",
    "ChangedItemsError",
    "Checkpoint",
    "CodecTransform",
    "Compressed",
    "ConfigurationError",
    "ConflictError",
    "ContextError",
    "DamagedObjectError",
    "DeletedState",
    "Document",
    "Freshness",
    "InvalidDocumentError",
    "InvalidNameError",
    "InvalidValueError",
    "Limits",
    "MaintenanceSchedule",
    "NotFoundError",
    "NotRecordedError",
    "ObjectStore",
    "Page",
    "PathTraversalError",
    "Reconcile",
    "Reconciliation",
    "RecordedValue",
    "Recording",
    "Recover",
    "Recovery",
    "ResolvedCredential",
    "ResumePlan",
    "Retention",
    "Run",
    "RunRef",
    "SecretRefusedError",
    "SecretUnavailableError",
    "Source",
    "StateBackend",
    "StateError",
    "StatePlugin",
    "StateStore",
    "StateType",
    "Step",
    "StoreError",
    "StoreFullError",
    "StorePermissionError",
    "StoreTimeoutError",
    "SystemValue",
    "TokenExpiredError",
    "TooLargeError",
    "TransactionConflictError",
    "Transform",
    "VersionConflictError",
    "build_state_store_path",
    "configure",
    "errors",
    "freshness",
    "install_schedule",
    "open_store",
    "plan_resume",
    "reconcile",
    "recover",
    "resume",
    "state",
]
