"""Large inputs and results lie beside the record, so that the record stays small.

Each flush reads and writes a record as a whole, so what is large would be written again and again.
A value apart is named by the digest of its bytes: writing it twice is writing it once. Small ones
stay where they are; a run of small values remains one object. Those apart are JSON too, as all
objects are: their own bytes could begin like those of a compressed object.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from temporal_state.documents import dumps, plain
from temporal_state.runs._merge import Json

INLINE_BYTES = 4096
_DATA = ("text", "base64")
_NO_VALUES = frozenset({"metadata", "checkpoints", "hand"})


def take_apart(part: Any, found: dict[str, Json]) -> Any:
    """Return a part of a record whose large values are replaced by their digests.

    Args:
        part: JSON; it is not changed.
        found: Takes the values in, by digest.
    """
    if isinstance(part, list):
        return [take_apart(item, found) for item in part]
    if not isinstance(part, dict):
        return part
    if _is_value(part):
        return _take_value(part, found)
    result = dict(part)
    for key, inner in part.items():
        # Most of what a record has is neither, and each flush passes here.
        if isinstance(inner, (dict, list)) and key not in _NO_VALUES:
            result[key] = take_apart(inner, found)
    return result


def _is_value(part: Json) -> bool:
    return isinstance(part.get("encoding"), str)  # a memo can have a value of this name


def _take_value(value: Json, found: dict[str, Json]) -> Json:
    data = data_of(value)
    if data is None or len(data) <= INLINE_BYTES:
        return value
    digest = hashlib.sha256(data).hexdigest()
    found[digest] = {k: value[k] for k in _DATA if k in value}
    rest = {k: v for k, v in value.items() if k not in _DATA}
    return {**rest, "apart": digest, "size": len(data)}


def is_large(value: Json) -> bool:
    """Return whether a stored value may have to lie apart."""
    data = value.get("text") or value.get("base64") or ""
    return 4 * len(data) > INLINE_BYTES  # UTF-8 at most


def digests_in(part: Any) -> set[str]:
    """Return the digests of the values that a part of a record has apart."""
    return set(sizes_apart(part))


def sizes_apart(part: Any) -> dict[str, int]:
    """Return the bytes of the values that a part of a record has apart, by their digests."""
    found: dict[str, int] = {}
    parts = [part]
    while parts:  # no recursion: the steps of a long run have a great many parts
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            if not _is_value(part):
                parts += [v for k, v in part.items() if k not in _NO_VALUES]
            elif "apart" in part:
                found[part["apart"]] = part["size"]
    return found


def put_together(part: Any, values: Mapping[str, Json]) -> Any:
    """Return a part of a record with its values filled in."""
    return _put_together(part, values) if values else part


def _put_together(part: Any, values: Mapping[str, Json]) -> Any:
    if isinstance(part, list):
        return [_put_together(item, values) for item in part]
    if not isinstance(part, dict):
        return part
    if _is_value(part):
        return {**part, **values.get(part.get("apart", ""), {})}
    return {k: v if k in _NO_VALUES else _put_together(v, values) for k, v in part.items()}


def data_of(value: Json) -> bytes | None:
    """Return the bytes of a stored value, if they are in it."""
    if "text" in value:
        return str(value["text"]).encode()
    return base64.b64decode(value["base64"]) if "base64" in value else None


def plain_value(value: Any, what: str) -> Json:
    """Return the stored form of a plain JSON value."""
    return {"encoding": "json/plain", "text": dumps(plain(value, what)).decode()}
