"""The shapes of what ``--json`` prints. They only ever grow.

Times are UTC, durations are seconds. A value that is no plain JSON is told by its encoding and
size, never by its bytes.
"""

from temporal_state.cli._models._base import Shape
from temporal_state.cli._models._documents import (
    AdoptionShape,
    DocumentLine,
    DocumentName,
    DocumentShape,
    KeyName,
    RecordLine,
    SnapshotName,
    SnapshotShape,
    TransferShape,
)
from temporal_state.cli._models._runs import (
    ChangeShape,
    CheckpointShape,
    DiffShape,
    FailureShape,
    ProgressShape,
    ReindexShape,
    RunDetails,
    RunShape,
    StatsShape,
    StepShape,
    ValueShape,
)
from temporal_state.cli._models._work import (
    ChangedRun,
    CheckShape,
    CleanupShape,
    DoctorShape,
    PlannedStep,
    ReconcileShape,
    RecoverShape,
    RefusedRun,
    ResumeShape,
    RunName,
    ScheduleShape,
)

__all__ = [
    "AdoptionShape",
    "ChangeShape",
    "ChangedRun",
    "CheckShape",
    "CheckpointShape",
    "CleanupShape",
    "DiffShape",
    "DoctorShape",
    "DocumentLine",
    "DocumentName",
    "DocumentShape",
    "FailureShape",
    "KeyName",
    "PlannedStep",
    "ProgressShape",
    "ReconcileShape",
    "RecordLine",
    "RecoverShape",
    "RefusedRun",
    "ReindexShape",
    "ResumeShape",
    "RunDetails",
    "RunName",
    "RunShape",
    "ScheduleShape",
    "Shape",
    "SnapshotName",
    "SnapshotShape",
    "StatsShape",
    "StepShape",
    "TransferShape",
    "ValueShape",
]
