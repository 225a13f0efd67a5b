"""Runs: what is kept of each workflow run, with or without Temporal at hand."""

from typing import TYPE_CHECKING

from temporal_state._lazy import lazily

if TYPE_CHECKING:
    from temporal_state.runs._audit import Audit, AuditLine
    from temporal_state.runs._decode import to_checkpoint
    from temporal_state.runs._deletion import DeletedRun
    from temporal_state.runs._diff import CheckpointDiff
    from temporal_state.runs._digest import digest, step_key
    from temporal_state.runs._ended import EndedRuns
    from temporal_state.runs._evaluations import Evaluation
    from temporal_state.runs._listed import Listed
    from temporal_state.runs._maintenance import PARTS, Maintenance
    from temporal_state.runs._merge import Json
    from temporal_state.runs._own import ChainRef, OwnDocument, OwnDocuments
    from temporal_state.runs._patch import Patch
    from temporal_state.runs._plain import from_plain, to_plain
    from temporal_state.runs._positions import LoopRef, Position, Positions
    from temporal_state.runs._records import (
        CLOSED,
        LAST_ENDS,
        Checkpoint,
        Failure,
        Progress,
        Run,
        Step,
        TraceContext,
        Value,
    )
    from temporal_state.runs._refs import RunRef, chunk_of
    from temporal_state.runs._report import Piece, Report
    from temporal_state.runs._retention import Retention
    from temporal_state.runs._snapshots import Snapshot, Snapshots
    from temporal_state.runs._source import Home, Source, home_from, source_from, to_json
    from temporal_state.runs._spans import Span, SpanStatistics, span_statistics
    from temporal_state.runs._store import Runs
    from temporal_state.runs._takeover import (
        MAX_FORMER,
        Recorded,
        Takeover,
        document_home,
        find_home,
        resolve,
    )
    from temporal_state.runs._trace import SpanIds
    from temporal_state.runs._values import is_large
    from temporal_state.runs.catalog import Catalog, Feed, RunPage, Seal, Stats, StepStats, home_of
else:
    __getattr__ = lazily(
        __name__,
        {
            "_audit": "Audit AuditLine",
            "_decode": "to_checkpoint",
            "_deletion": "DeletedRun",
            "_diff": "CheckpointDiff",
            "_digest": "digest step_key",
            "_ended": "EndedRuns",
            "_evaluations": "Evaluation",
            "_listed": "Listed",
            "_maintenance": "PARTS Maintenance",
            "_merge": "Json",
            "_own": "ChainRef OwnDocument OwnDocuments",
            "_patch": "Patch",
            "_plain": "from_plain to_plain",
            "_positions": "LoopRef Position Positions",
            "_records": "CLOSED LAST_ENDS Checkpoint Failure Progress Run Step TraceContext Value",
            "_refs": "RunRef chunk_of",
            "_report": "Piece Report",
            "_retention": "Retention",
            "_snapshots": "Snapshot Snapshots",
            "_source": "Home Source home_from source_from to_json",
            "_spans": "Span SpanStatistics span_statistics",
            "_store": "Runs",
            "_takeover": "MAX_FORMER Recorded Takeover document_home find_home resolve",
            "_trace": "SpanIds",
            "_values": "is_large",
            "catalog": "Catalog Feed RunPage Seal Stats StepStats home_of",
        },
    )

__all__ = [
    "CLOSED",
    "LAST_ENDS",
    "MAX_FORMER",
    "PARTS",
    "Audit",
    "AuditLine",
    "Catalog",
    "ChainRef",
    "Checkpoint",
    "CheckpointDiff",
    "DeletedRun",
    "EndedRuns",
    "Evaluation",
    "Failure",
    "Feed",
    "Home",
    "Json",
    "Listed",
    "LoopRef",
    "Maintenance",
    "OwnDocument",
    "OwnDocuments",
    "Patch",
    "Piece",
    "Position",
    "Positions",
    "Progress",
    "Recorded",
    "Report",
    "Retention",
    "Run",
    "RunPage",
    "RunRef",
    "Runs",
    "Seal",
    "Snapshot",
    "Snapshots",
    "Source",
    "Span",
    "SpanIds",
    "SpanStatistics",
    "Stats",
    "Step",
    "StepStats",
    "Takeover",
    "TraceContext",
    "Value",
    "chunk_of",
    "digest",
    "document_home",
    "find_home",
    "from_plain",
    "home_from",
    "home_of",
    "is_large",
    "resolve",
    "source_from",
    "span_statistics",
    "step_key",
    "to_checkpoint",
    "to_json",
    "to_plain",
]
