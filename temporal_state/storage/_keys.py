"""The grammar of keys, checked by every store before any I/O.

It is what `encode_name` can produce and nothing more, so a store needs no escaping of its own,
and temporary files and locks can have names that no key can spell: they start with a dot.
"""

import re

from temporal_state.errors import InvalidNameError, PathTraversalError

MAX_KEY = 1000  # S3 allows 1,024 bytes, a prefix in the bucket included
MAX_SEGMENT = 200  # file systems allow 255; the rest is for temporary names

_SEGMENT = r"[a-z0-9_!=~-][a-z0-9_.!=~-]{0,199}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")


def check_key(key: str) -> str:
    """Return ``key`` if it is one.

    Raises:
        PathTraversalError: It has an empty, ``.`` or ``..`` segment, or starts with ``/``.
        InvalidNameError: It breaks another rule.
    """
    if is_key(key):
        return key
    raise _refusal(key, "key")


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` if a key could start with it; raise as `check_key` does."""
    if len(prefix) <= MAX_KEY and _PREFIX.fullmatch(prefix):
        return prefix
    raise _refusal(prefix, "key prefix")


def is_key(text: str) -> bool:
    """Tell whether ``text`` is a key, for those who meet names that others have made."""
    return len(text) <= MAX_KEY and _KEY.fullmatch(text) is not None


def _refusal(text: str, what: str) -> InvalidNameError:
    segments = text.removesuffix("/").split("/") if what == "key prefix" else text.split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        return PathTraversalError(
            f"{what} {text[:300]!r} tries to leave its place; use encoded names"
        )
    return InvalidNameError(
        f"{what} {text[:300]!r} is not made of segments of 1 to {MAX_SEGMENT} of the characters "
        f"a-z 0-9 _ . ! = ~ - (no leading dot), {MAX_KEY} in all; encode names with encode_name"
    )


def join_location(url: str, key: str) -> str:
    """Return a key's place in the store at ``url``, as a path if ``url`` is one."""
    place, mark, options = url.partition("?") if "://" in url else (url, "", "")
    return f"{place.rstrip('/')}/{key}{mark}{options}"
