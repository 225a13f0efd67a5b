"""What changed between two checkpoints, path by path.

Paths are JSON pointers (RFC 6901), which can name every key, also those with dots or slashes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporal_state.documents import dumps
from temporal_state.runs._records import Checkpoint


@dataclass(frozen=True, slots=True)
class CheckpointDiff:
    """What changed from one checkpoint to another.

    Attributes:
        a: The number of the first, ...
        b: ... and of the second.
        added: What only the second has, by its path (a JSON pointer).
        removed: What only the first has.
        changed: What both have, with its value in the first and in the second.
        steps: How many steps were closed in between.
        progress: By how much ``done`` grew, if both know it.
        time: How much time passed.
    """

    a: int
    b: int
    added: dict[str, Any]
    removed: dict[str, Any]
    changed: dict[str, tuple[Any, Any]]
    steps: int
    progress: float | None
    time: timedelta


def difference(a: Checkpoint, b: Checkpoint) -> CheckpointDiff:
    """Return what changed from ``a`` to ``b``."""
    changes = list(_changes("", a.state or {}, b.state or {}))
    return CheckpointDiff(
        a.number,
        b.number,
        added={path: value for kind, path, value in changes if kind == "added"},
        removed={path: value for kind, path, value in changes if kind == "removed"},
        changed={path: value for kind, path, value in changes if kind == "changed"},
        steps=b.step - a.step,
        progress=b.progress.done - a.progress.done if a.progress and b.progress else None,
        time=b.time - a.time,
    )


def _changes(path: str, a: Any, b: Any) -> Iterator[tuple[str, str, Any]]:
    before, after = _items(a), _items(b)
    if before is None or after is None or type(a) is not type(b):
        if _exact(a) != _exact(b):
            yield "changed", path, (a, b)
        return
    for key in {**before, **after}:
        where = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            yield "removed", where, before[key]
        elif key not in before:
            yield "added", where, after[key]
        else:
            yield from _changes(where, before[key], after[key])


def _items(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    return {str(i): item for i, item in enumerate(value)} if isinstance(value, list) else None


def _exact(value: Any) -> bytes:
    return dumps(value)  # in Python, True is 1 and 1 is 1.0; in JSON they are not
