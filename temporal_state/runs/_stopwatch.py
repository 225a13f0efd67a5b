"""How long it takes to write a record, told in the record itself.

That has to be said before it is over. What is left then is to put the run's own object in its
place; how long that takes is known of the time before, and sums come out right but for one.
"""

import time


class Stopwatches:
    """What one process knows of the time that its writes take."""

    def __init__(self) -> None:
        self.last = 0.0

    def begin(self) -> "Stopwatch":
        """Begin to measure a write."""
        return Stopwatch(self)


class Stopwatch:
    """Measures one write."""

    def __init__(self, all: Stopwatches) -> None:
        self._all, self._begun = all, time.monotonic()
        self._handed = self._begun

    def micros(self) -> int:
        """Return how long the write takes, when all but the last part is done."""
        self._handed = time.monotonic()
        return int((self._handed - self._begun + self._all.last) * 1_000_000)

    def stop(self) -> None:
        """Note how long the last part took."""
        self._all.last = time.monotonic() - self._handed
