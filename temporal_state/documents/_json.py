"""JSON that loses nothing: what it cannot hold exactly is refused with its path.

orjson writes NaN as ``null`` and reads ``2**64`` as a float, both in silence, so one strict walk
goes before every write. The walk also converts the values that pydantic's JSON mode converts
(models, dataclasses, times, UUIDs, decimals, enums, tuples), by the same rules.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from pydantic_core import to_jsonable_python

from temporal_state.errors import InvalidValueError

JSON: TypeAlias = "dict[str, Any] | list[Any] | str | int | float | bool | None"

MAX_DEPTH = 200  # orjson writes 254 levels; the envelope needs some
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_MOST_DIGITS = 20
_MOST_FLOAT_DIGITS = 767  # no float has more, written out
_CONVERTED = (datetime, date, time, timedelta, Decimal, UUID)


def plain(value: Any, path: str = "$") -> Any:
    """Return ``value`` as new plain JSON values that read back equal.

    Args:
        value: JSON values, or what pydantic's JSON mode turns into them: models, dataclasses,
            ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID``, enums, tuples.
        path: What error messages call the value.

    Raises:
        InvalidValueError: With the path of the first value that JSON cannot hold exactly: NaN,
            infinities, integers beyond 64 bits, keys that are not strings, lone surrogates, more
            than 200 levels, sets, bytes and other types.
    """
    return _walk(value, path, 0)


def plain_object(value: Any, path: str = "$") -> dict[str, Any]:
    """Return ``value`` as `plain` does, if that is a JSON object; refuse it otherwise."""
    result = plain(value, path)
    if not isinstance(result, dict):
        raise InvalidValueError(
            f"{path} is {_kind(value)}; a document is a JSON object: give a dict"
        )
    return result


def dumps(value: Any) -> bytes:
    """Return the JSON of a value that `plain` has returned."""
    return orjson.dumps(value)


def loads(data: bytes) -> Any:
    """Return the value of JSON text; raises ``ValueError`` for what is none."""
    return orjson.loads(data)


def check_foreign(data: bytes, *, but: str) -> None:
    """Refuse a JSON object of another tool that `loads` would change in silence.

    Args:
        data: The text, which `loads` takes for an object.
        but: A key whose value only has to have no key twice.

    Raises:
        ValueError: It has an integer beyond 64 bits, a number with more digits than a float holds,
            more than 200 levels, or an object with the same key twice.
    """
    try:
        value = json.loads(
            data,
            parse_int=_foreign_integer,
            parse_float=_foreign_float,
            object_pairs_hook=_foreign_object,
        )
    except RecursionError as error:
        raise ValueError(f"it has more than {MAX_DEPTH} levels; flatten it") from error
    value.pop(but, None)
    plain(value)


def _foreign_integer(text: str) -> int:
    # Python refuses to read one of thousands of digits, and not with a path.
    return int(text) if len(text) <= _MOST_DIGITS else _MAX_INT + 1


def _foreign_float(text: str) -> float:
    value = float(text)
    mantissa = text.lower().partition("e")[0].lstrip("-")
    digits = len(mantissa.replace(".", "").strip("0")) or 1
    # Whatever a float was printed with, printed with as many digits it is the same again.
    if digits > _MOST_FLOAT_DIGITS or Decimal(f"{value:.{digits - 1}e}") != Decimal(text):
        raise ValueError(f"the number {text:.40} has more digits than a float holds")
    return value


def _foreign_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice, and only one of the values would stay")
    return result


def _walk(value: Any, path: str, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    handler = _HANDLERS.get(type(value))
    if handler is not None:
        return handler(value, path, depth)
    return _convert(value, path, depth)


def _text(value: str, path: str, _depth: int) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _refusal(path, "text with a lone surrogate", "remove it") from None
    return value


def _integer(value: int, path: str, _depth: int) -> int:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    raise _refusal(path, "an integer beyond 64 bits", "store it as a string")


def _float(value: float, path: str, _depth: int) -> float:
    if math.isfinite(value):
        return value
    raise _refusal(path, repr(value), "store None or a string")


def _object(value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
    _check_depth(path, depth)
    result = {}
    for key, item in value.items():
        if type(key) is not str:
            if not isinstance(key, str):
                raise _refusal(path, f"an object with the key {key!r}", "use strings as keys")
            key = str.__str__(key.value if isinstance(key, Enum) else key)  # noqa: PLW2901
        where = f"{path}.{_text(key, path, depth)}"
        result[key] = _walk(item, where, depth + 1)
    if len(result) != len(value):
        raise _refusal(path, "an object with two keys of the same text", "use different keys")
    return result


def _array(value: list[Any] | tuple[Any, ...], path: str, depth: int) -> list[Any]:
    _check_depth(path, depth)
    return [_walk(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]


def _convert(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, Enum):
        return _walk(value.value, path, depth)
    if _is_model(value):
        return _walk(_dumped(value, path), path, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _walk(fields, path, depth)
    if isinstance(value, _CONVERTED):
        return _walk(to_jsonable_python(value), path, depth)
    for base, exact in _EXACT.items():
        if isinstance(value, base):
            return _HANDLERS[base](exact(value), path, depth)
    raise _refusal(path, _kind(value), "store a JSON value, a model or a dataclass")


def _dumped(model: Any, path: str) -> Any:
    """Return what pydantic's JSON mode makes of a model, if nothing is lost by that.

    It writes NaN as ``None`` where the type does not say that it is a float, and of keys that are
    the same text it keeps one.
    """
    try:
        written = model.model_dump(mode="json")
        _check_dumped(model.model_dump(), written, path)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidValueError):
            raise
        raise InvalidValueError(
            f"{path} is a {type(model).__name__} of which pydantic makes no JSON ({error}); store "
            "what JSON can hold"
        ) from error
    return written


def _check_dumped(value: Any, written: Any, path: str) -> None:
    # Where the two are of different kinds a serializer has decided what becomes of it.
    if written is None and isinstance(value, float):
        _float(value, path, 0)
    elif isinstance(value, dict) and isinstance(written, dict):
        if len(written) != len(value):
            raise _refusal(path, "an object with two keys of the same text", "use different keys")
        for name, item in zip(written, value.values(), strict=True):
            _check_dumped(item, written[name], f"{path}.{name}")
    elif isinstance(value, list | tuple | set | frozenset) and isinstance(written, list):
        for index, (item, as_written) in enumerate(zip(value, written, strict=False)):
            _check_dumped(item, as_written, f"{path}[{index}]")


def _is_model(value: Any) -> bool:
    # By its marks: an import of pydantic takes long, and a workflow's sandbox may have another one.
    kind = type(value)
    return hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_dump")


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _refusal(f"{path[:80]}...", f"more than {MAX_DEPTH} levels deep", "flatten it")


def _refusal(path: str, found: str, remedy: str) -> InvalidValueError:
    return InvalidValueError(f"{path} is {found}, which JSON cannot hold exactly; {remedy}")


def _kind(value: Any) -> str:
    return f"of type {type(value).__name__}"


# A subclass may show itself as something else than what it is.
_EXACT: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    dict: lambda value: dict(dict.items(value)),
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
}
_HANDLERS: dict[type, Callable[[Any, str, int], Any]] = {
    str: _text,
    int: _integer,
    float: _float,
    dict: _object,
    list: _array,
    tuple: _array,
}
