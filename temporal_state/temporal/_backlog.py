"""How much waits to be written, and what there was no room for, counted for all threads.

It is bounded: a store that is gone must not cost a worker its memory. What does not fit is lost,
and said of its run, so that the next worker that replays the run writes it anew.
"""

import contextlib
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio.common import MetricMeter

from temporal_state.runs import RunRef
from temporal_state.temporal._untold import Room

KNOWN_RUNS = 10_000


class Counts:
    """What happened to changes, by name; counted in Temporal's own metrics, too."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._meters: dict[str, Callable[[int], None]] = {}

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def measure(self, meter: MetricMeter, *names: str) -> None:
        """Count some names in metrics from now on."""
        for name in names:
            self._meters[name] = meter.create_counter(f"temporal_state_{name}").add

    def add(self, name: str, number: int) -> None:
        """Count so many more; never raises."""
        self._numbers[name] += number
        meter = self._meters.get(name)
        if meter is not None:
            with contextlib.suppress(Exception):
                meter(number)


@dataclass(slots=True)
class Known:
    """What this process has written of a run: its objects of attempts, and whether it lost some."""

    writer: str = field(default_factory=lambda: secrets.token_hex(8))
    spans: int = 0
    lost: int = 0


class Backlog:
    """Has room for so many changes and bytes; may be asked from any thread.

    Attributes:
        changes: How many wait.
        bytes: How many bytes of values wait with them.
    """

    def __init__(self, max_changes: int, max_bytes: int, counts: Counts) -> None:
        self.changes = 0
        self.bytes = 0
        self._max_changes, self._max_bytes, self._counts = max_changes, max_bytes, counts
        self._known: OrderedDict[RunRef, Known] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, ref: RunRef, changes: int, size: int, *, final: bool) -> Room:
        """Count changes and bytes of values that wait from now on, or lose them."""
        with self._lock:
            # Ends are worth more than steps, but not all of the memory.
            if self.changes >= self._max_changes * (2 if final else 1):
                self._lose(ref, changes)
                return Room.NONE
            self.changes += changes
            if size and self.bytes + size > self._max_bytes:
                self._lose(ref, changes)
                return Room.WITHOUT_VALUES
            self.bytes += size
        return Room.FOR_ALL

    @property
    def is_crowded(self) -> bool:
        """Whether more than half of the room is taken."""
        return 2 * self.changes > self._max_changes or 2 * self.bytes > self._max_bytes

    def release(self, changes: int, size: int = 0) -> None:
        """Count that so much waits no longer."""
        with self._lock:
            self.changes -= changes
            self.bytes -= size

    def lose(self, ref: RunRef, changes: int) -> int:
        """Count changes of a run as lost; return how many were lost before."""
        with self._lock:
            before = self._know(ref).lost
            self._lose(ref, changes)
        return before

    def known(self, ref: RunRef) -> Known:
        """Return what is known of a run."""
        with self._lock:
            return self._know(ref)

    def _lose(self, ref: RunRef, changes: int) -> None:
        self._know(ref).lost += changes
        self._counts.add("lost", changes)

    def _know(self, ref: RunRef) -> Known:
        known = self._known.setdefault(ref, Known())
        self._known.move_to_end(ref)
        if len(self._known) > KNOWN_RUNS:
            self._known.popitem(last=False)
        return known
