"""Names that are made of what they name."""

import hashlib
from functools import lru_cache


def digest(*parts: str | bytes) -> str:
    """Return 128 bits of BLAKE2b of the parts, in hexadecimal; ("a", "b") is not ("ab",)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return hasher.hexdigest()


@lru_cache(maxsize=1024)  # a workflow and its activities ask for the same
def step_key(lineage: str, content: str) -> str:
    """Return the key of a call with this content in runs of this lineage.

    The lineage is a salt, too: without it, a digest would give away an input that can be guessed.
    """
    return digest(lineage, content)
