"""Runs: what is kept of each workflow run, with or without Temporal at hand."""

from temporal_state.runs._merge import Json
from temporal_state.runs._own import ChainRef, OwnDocument, OwnDocuments
from temporal_state.runs._patch import Patch
from temporal_state.runs._records import CLOSED, Checkpoint, Failure, Progress, Run, Step, Value
from temporal_state.runs._refs import RunRef
from temporal_state.runs._store import Runs

__all__ = [
    "CLOSED",
    "ChainRef",
    "Checkpoint",
    "Failure",
    "Json",
    "OwnDocument",
    "OwnDocuments",
    "Patch",
    "Progress",
    "Run",
    "RunRef",
    "Runs",
    "Step",
    "Value",
]
