"""ETags from the content, for stores that must keep conditions themselves."""

from collections.abc import Callable
from hashlib import blake2b

from temporal_state.errors import ConflictError
from temporal_state.storage._protocol import Change


def etag_of(data: bytes) -> str:
    """Return the ETag of a content: 128 bits of its BLAKE2b, so that none needs to be stored."""
    return blake2b(data, digest_size=16).hexdigest()


def conditional(
    key: str,
    data: bytes,
    *,
    if_match: str | None = None,
    if_absent: bool = False,
    etag: Callable[[bytes], str | None] = etag_of,
) -> Change:
    """Return the change that a put is: the new bytes, if the conditions hold.

    Where the server makes the ETags, ``etag`` finds the one of the present bytes.
    """

    def change(current: bytes | None) -> bytes:
        if if_absent and current is not None:
            raise ConflictError(f"{key!r} exists already; read it and decide again")
        if if_match is not None and (current is None or etag(current) != if_match):
            raise ConflictError(f"{key!r} is not what was read before; read it and decide again")
        return data

    return change
