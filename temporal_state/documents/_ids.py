"""Which ids and names the document API takes.

The encoding makes every string safe, so this check protects nobody's files. It protects callers:
an id that tries to escape is the sign of a bug or an attack, and is answered as such, before any
I/O, instead of being stored under an odd name.
"""

import re

from temporal_state.errors import InvalidNameError, PathTraversalError

MAX_ID_BYTES = 1000

_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_SEPARATOR = re.compile(r"[/\\]")


def check_id(id: str, what: str = "id") -> str:
    r"""Return ``id`` if a document may have it.

    Args:
        id: Any text of at most 1,000 bytes of UTF-8 that does not try to be a path elsewhere.
        what: What the message calls it.

    Raises:
        PathTraversalError: It is absolute, holds NUL, or has a segment (between ``/`` or ``\``)
            of nothing but dots and spaces.
        InvalidNameError: It is no text, empty, too long, or holds a lone surrogate.
    """
    if not isinstance(id, str):
        raise InvalidNameError(f"{what} {id!r} is a {type(id).__name__}; give a string")
    if not id:
        raise InvalidNameError(f"{what} is empty; give at least one character")
    if _escapes(id):
        raise PathTraversalError(
            f"{what} {id[:200]!r} tries to leave its place: no absolute paths, NUL characters, or "
            "segments of dots; use a plain identifier"
        )
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        raise InvalidNameError(
            f"{what} {id[:200]!r} holds a lone surrogate, which no encoding can write; remove it"
        ) from None
    if size > MAX_ID_BYTES:
        raise InvalidNameError(
            f"{what} {id[:40]!r}... has {size} bytes, the limit is {MAX_ID_BYTES}; shorten it"
        )
    return id


def _escapes(id: str) -> bool:
    if "\0" in id or id[0] in "/\\" or _DRIVE.match(id):
        return True
    return any(part and not part.strip(" .") for part in _SEPARATOR.split(id))
