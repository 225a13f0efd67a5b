"""First bytes that tell how an object was stored, so that each is read as what it is.

Neither can begin a JSON text, so plain objects and transformed ones live side by side in one
store, and who lacks a transform is told which, instead of that the object is damaged.
"""

COMPRESSED = b"\x28\xb5\x2f\xfd"
"""The magic number of a zstd frame."""

ENCODED = b"\x93tstate\x01"
"""Before a payload that a codec has encoded. No UTF-8 text begins with its first byte."""

_REMEDIES = {
    COMPRESSED: "compressed; open the store with transform=Compressed() as well",
    ENCODED: "encoded by a codec; open the store with transform=CodecTransform(codec) as well",
}


def missing_transform(data: bytes) -> str | None:
    """Return what an object is that was read without its transform, and what to do.

    ``None`` for bytes that bear no mark.
    """
    return next((remedy for mark, remedy in _REMEDIES.items() if data.startswith(mark)), None)
