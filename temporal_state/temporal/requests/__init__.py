"""Every operation that Temporal can be asked for: its fields, and what it does.

One class is one operation in all three contexts: it is the argument of the activity
``temporal_state.<operation>``, what workflow code schedules, and what scripts and activities
perform on the spot. To add one, write a class with ``operation`` and ``perform`` in the module of
its family, and put it into `REQUESTS`: the plugin registers an activity for each.
"""

from temporal_state.temporal.requests._base import CallingRun, Request, Scope
from temporal_state.temporal.requests._checkpoints import LastCheckpoint
from temporal_state.temporal.requests._documents import (
    Append,
    Delete,
    DocumentRequest,
    Exists,
    Get,
    Increment,
    List,
    Merge,
    Patch,
    Previous,
    Read,
    Replace,
    Set,
)
from temporal_state.temporal.requests._keys import (
    DeleteExecutionState,
    KeyDelete,
    KeyExists,
    KeyGet,
    KeyList,
    KeySet,
    SystemGet,
    SystemSet,
)
from temporal_state.temporal.requests._transactions import Commit, Look

REQUESTS: tuple[type[Request], ...] = (
    Get,
    Read,
    Exists,
    List,
    Previous,
    LastCheckpoint,
    Set,
    Merge,
    Replace,
    Delete,
    Patch,
    Increment,
    Append,
    Look,
    Commit,
    KeyGet,
    KeyExists,
    KeyList,
    KeySet,
    KeyDelete,
    SystemGet,
    SystemSet,
    DeleteExecutionState,
)

__all__ = [
    "REQUESTS",
    "Append",
    "CallingRun",
    "Commit",
    "Delete",
    "DeleteExecutionState",
    "DocumentRequest",
    "Exists",
    "Get",
    "Increment",
    "KeyDelete",
    "KeyExists",
    "KeyGet",
    "KeyList",
    "KeySet",
    "LastCheckpoint",
    "List",
    "Look",
    "Merge",
    "Patch",
    "Previous",
    "Read",
    "Replace",
    "Request",
    "Scope",
    "Set",
    "SystemGet",
    "SystemSet",
]
