"""What a store's transforms do to objects is done to what the catalog keeps of them, too.

Who encrypts objects finds only names in the catalog: ids, types, statuses and the names of steps.
Of metadata it has digests, by which equal values are found (and by which who knows what to look for
could tell that it is there).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from temporal_state.runs.catalog._rows import Row
from temporal_state.storage import Transform

KEY = "catalog"


@dataclass(frozen=True, slots=True)
class Seal:
    """Encodes and decodes what rows have beside their columns; without transforms nothing is done.

    Attributes:
        transforms: Those of the store; the first encodes first.
    """

    transforms: Sequence[Transform] = ()

    async def close(self, row: Row) -> Row:
        """Return a row as it may be kept."""
        if not self.transforms:
            return row
        header = row.header
        for transform in self.transforms:
            header = await transform.encode(KEY, header)
        return replace(row, header=header, labels=self.labels(row.labels))

    async def open(self, header: bytes) -> bytes:
        """Return the header that `close` was given."""
        for transform in reversed(self.transforms):
            header = await transform.decode(KEY, header)
        return header

    def labels(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return texts of metadata as they may be kept."""
        if not self.transforms:
            return tuple(labels)
        return tuple(hashlib.sha256(label.encode()).hexdigest() for label in labels)
