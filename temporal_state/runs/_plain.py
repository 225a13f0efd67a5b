"""What readers get as JSON values, and back: for those who ask for it over Temporal.

Times are text with a time zone, durations seconds, bytes base64.
"""

import base64
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from temporal_state.documents import from_text, to_text

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return what is known of a run, a step and so on as JSON values."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_plain(item) for item in value]
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def from_plain(kind: type[T], value: Any) -> T:
    """Return what `to_plain` made JSON values of."""
    made: T = _made(kind, value)
    return made


def _made(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return None if value is None else _made(_fitting(get_args(kind), value), value)
    if origin in {list, tuple}:
        return origin(_made(get_args(kind)[0], item) for item in value)
    if origin is dict:
        return {key: _made(get_args(kind)[1], item) for key, item in value.items()}
    if is_dataclass(kind):
        hints, make = get_type_hints(kind), cast("type[Any]", kind)
        return make(**{name: _made(hints[name], item) for name, item in value.items()})
    return _FROM_JSON[kind](value) if kind in _FROM_JSON else value


_FROM_JSON: Mapping[Any, Callable[[Any], Any]] = {
    datetime: from_text,
    timedelta: lambda value: timedelta(seconds=value),
    bytes: base64.b64decode,
}


def _fitting(kinds: Sequence[Any], value: Any) -> Any:
    """Return which kind of a union a value is: of several classes the one with its fields."""
    candidates = [kind for kind in kinds if kind is not type(None)]
    if len(candidates) > 1 and isinstance(value, Mapping):
        return next(
            kind
            for kind in candidates
            if is_dataclass(kind) and {field.name for field in fields(kind)} == set(value)
        )
    return candidates[0]
