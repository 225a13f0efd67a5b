"""One encoding from any string to one path segment, and back.

Encoding instead of denying, because every list of forbidden names is incomplete. It is injective
even where a file system folds case or normalises Unicode, since it only ever writes lower-case
ASCII. It keeps prefixes, so that listing by prefix works on names. Simple lower-case names stay
as they are, so that people can read the tree.

    [a-z0-9_.-]  as is           A-Z  !a           any other byte of the UTF-8, and a first dot  =xx

A name that would pass 180 characters keeps its first 120 and ends in ``~`` and 128 bits of the
SHA-256 of the name; the full name must then be kept inside the object and checked on reading.
"""

import hashlib
import re

from temporal_state.errors import InvalidNameError

MAX_ENCODED = 180
KEPT_OF_LONG = 120

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_.-")
_UPPER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_AS_IS = re.compile(r"[a-z0-9_-][a-z0-9_.-]*")
_ESCAPE = re.compile(rb"!([a-z])|=([0-9a-f]{2})")


def encode_name(name: str) -> str:
    """Return the path segment for ``name``.

    Raises:
        InvalidNameError: ``name`` is no text, is empty, or holds a lone surrogate, which has no
            UTF-8.
    """
    encoded = encode_prefix(name)
    if not encoded:
        raise InvalidNameError("an empty string names nothing; give at least one character")
    if len(encoded) <= MAX_ENCODED:
        return encoded
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{encoded[:KEPT_OF_LONG]}~{digest}"


def encode_prefix(prefix: str) -> str:
    """Return what the encoding of every name that starts with ``prefix`` starts with.

    Longer than `KEPT_OF_LONG` characters it no longer holds for names that are cut: those who
    list must ask for ``encode_prefix(prefix)[:KEPT_OF_LONG]`` and check what they get.
    """
    if not isinstance(prefix, str):
        raise InvalidNameError(f"the name {prefix!r} is a {type(prefix).__name__}; give a string")
    if _AS_IS.fullmatch(prefix):
        return prefix
    try:
        raw = prefix.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(
            f"{prefix!r} holds a lone surrogate, which no encoding can write; remove it"
        ) from None
    encoded = "".join(map(_encode_byte, raw))
    return f"=2e{encoded[1:]}" if encoded.startswith(".") else encoded


def _encode_byte(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return f"!{chr(byte).lower()}" if byte in _UPPER else f"={byte:02x}"


def decode_name(segment: str) -> str | None:
    """Return the name that a segment stands for, or ``None`` if it cannot tell.

    It cannot if it was cut, or if `encode_name` never wrote it: a folder that somebody else made.
    """
    try:
        name = _ESCAPE.sub(_decode_escape, segment.encode()).decode()
        return name if encode_name(name) == segment else None
    except (UnicodeError, InvalidNameError):
        return None


def _decode_escape(match: re.Match[bytes]) -> bytes:
    letter, code = match.groups()
    return letter.upper() if letter else bytes.fromhex(code.decode())
