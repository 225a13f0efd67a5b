"""State that outlives the workflow: JSON documents for Temporal workflows, in a store you own."""

from temporalio import workflow

# So that the sandbox takes the package as it is, also on a worker without the plugin.
with workflow.unsafe.imports_passed_through():
    from temporal_state import errors, state
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
    from temporal_state.runs import Checkpoint, Run, Source, Step
    from temporal_state.state import StateStore, build_state_store_path
    from temporal_state.storage import Compressed, ObjectStore, Transform, open_store
    from temporal_state.temporal import (
        CodecTransform,
        Recording,
        ResumePlan,
        StatePlugin,
        plan_resume,
        resume,
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
    "InvalidDocumentError",
    "InvalidNameError",
    "InvalidValueError",
    "Limits",
    "NotFoundError",
    "NotRecordedError",
    "ObjectStore",
    "Page",
    "PathTraversalError",
    "Recording",
    "ResolvedCredential",
    "ResumePlan",
    "Run",
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
    "open_store",
    "plan_resume",
    "resume",
    "state",
]
