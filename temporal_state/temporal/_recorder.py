"""Writes what was seen of runs: in the background, merged, bounded, and never in anyone's way.

It has a thread and an event loop of its own. Whoever tells it something appends to a queue and goes
on; a follower of a run is asked for what it has. What comes for one run is merged until it is
written; ends are written first. When the store is
slow the merging does more of the work; when it is gone the memory is bounded, and what does not fit
is counted as lost. A run that lost something is not marked as complete, so the next worker that
replays it writes it anew.
"""

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from temporalio.common import MetricMeter

from temporal_state.errors import DamagedObjectError, StoreError
from temporal_state.runs import EndedRuns, Patch, RunRef, Runs
from temporal_state.temporal._backlog import Backlog, Counts
from temporal_state.temporal._capture import ValueEncoder, drop_values, size_of_values
from temporal_state.temporal._departures import ACTOR, Departures
from temporal_state.temporal._untold import Intake, Room, Source, UnmergedError, merge

log = logging.getLogger("temporal_state")

SPANS_PER_OBJECT = 512
AT_ONCE = 8
ANNOUNCED = 64
NAP = 0.05
LONG_QUEUE = 256
MERGED_AT_ONCE = 8  # about a millisecond; a busy worker may give the interpreter back much later
WRITE_TIMEOUT = timedelta(seconds=10)
SHARE = 0.004
"""Of a processor, for this thread; the store's threads take about as much again. Most of a flush is
the same whatever there is to write, so fewer of them are less work, and what a busy worker lacks is
the processor. A record may be further behind then, but not much."""
LONGEST, MAX_PAUSE = 6, 3.0
"""So many times ``flush_interval`` may be between two flushes, and so many seconds."""


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """How the recorder works.

    Attributes:
        flush_interval: What was seen waits this long before it is written; while much happens up
            to six times as long, at most 3 s, so that writing leaves the processor to the runs.
        max_pending: Most changes (steps, attempts, runs) that wait to be written.
        max_pending_bytes: Most bytes of values that wait; changes beyond are kept without theirs.
        shutdown_timeout: How long the last flush may take.
        delete_ended: Runs that ended so are deleted soon after.
    """

    flush_interval: timedelta = timedelta(milliseconds=500)
    max_pending: int = 50_000
    max_pending_bytes: int = 64 * 1024 * 1024
    shutdown_timeout: timedelta = timedelta(seconds=10)
    delete_ended: Collection[str] = ()


class Recorder(Intake):
    """Takes in patches from any thread, and writes them from its own."""

    def __init__(self, runs: Runs, encoder: ValueEncoder, settings: RecorderSettings) -> None:
        self._runs, self._encoder, self._settings = runs, encoder, settings
        self._queue: deque[Source] = deque()
        self._long = max(1, min(LONG_QUEUE, settings.max_pending // 2))
        self._counts = Counts()
        limits = settings.max_pending, settings.max_pending_bytes
        self._backlog = Backlog(*limits, self._counts)
        self._pending: dict[RunRef, Patch] = {}
        self._failing = False
        self._whole: set[RunRef] = set()
        self._stopping = threading.Event()
        ended = EndedRuns(runs, frozenset(settings.delete_ended), ACTOR)
        self._departures = Departures(ended, self._counts.add)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake, self._crowded = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, name="temporal_state-recorder", daemon=True
        )

    @property
    def lost(self) -> int:
        """How many changes there was no room for, or could not be written."""
        return self._counts["lost"]

    @property
    def written(self) -> int:
        """How many changes were written."""
        return self._counts["written"]

    def start(self, meter: MetricMeter | None = None) -> None:
        """Start writing, and count in Temporal's own metrics."""
        if meter is not None:
            self._counts.measure(meter, "written", "lost", "failed_writes", "deleted", "left")
        self._thread.start()

    def tell(self, patch: Patch, whole: bool) -> None:  # noqa: FBT001 called from hot code
        """Take in what was seen of a run; never waits and never fails.

        Args:
            patch: What was seen; it belongs to the recorder from now on.
            whole: Whether it is all that is known since the run's start.
        """
        patch.bytes = size_of_values(patch)
        room = self.admit(patch.ref, len(patch), patch.bytes, final=patch.final)
        if room is Room.NONE:
            return
        if room is Room.WITHOUT_VALUES:
            drop_values(patch)
            patch.bytes = 0
        self._queue.append(_Told(patch, whole))
        if len(self._queue) == self._long:
            self._call(self._take_queue)  # what comes for one run is one change once it is merged

    def admit(self, ref: RunRef, changes: int, size: int, *, final: bool) -> Room:
        """See base class; what there is no room for is counted as lost."""
        room = self._backlog.admit(ref, changes, size, final=final)
        if self._backlog.is_crowded and not self._failing and not self._crowded.is_set():
            self._call(self._crowded.set)
        return room

    def announce(self, source: Source) -> None:
        """See base class."""
        self._queue.append(source)

    def stop(self) -> None:
        """Write what waits, for at most ``shutdown_timeout``, and stop; call it off the loop."""
        self._stopping.set()
        self._call(self._wake.set)
        self._call(self._crowded.set)
        self._thread.join(self._settings.shutdown_timeout.total_seconds() + 1)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._stopping.is_set():  # before the loop was there to be woken
            self._wake.set()
        task = asyncio.create_task(self._write_until_stopped())
        stopped = asyncio.create_task(self._wake.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=self._settings.shutdown_timeout.total_seconds())
        task.cancel()
        await asyncio.wait({task})
        stopped.cancel()
        self._take_queue()
        for patch in self._pending.values():
            self._backlog.lose(patch.ref, len(patch))
        if self.lost:
            log.warning("%d changes of runs could not be recorded", self.lost)

    async def _write_until_stopped(self) -> None:
        interval = self._settings.flush_interval.total_seconds()
        pause = interval
        while not self._stopping.is_set():
            await self._rest(pause)
            begun = time.thread_time()
            await self._flush()
            self._departures.go_on()
            work = time.thread_time() - begun
            pause = max(interval, min(work / SHARE, LONGEST * interval, MAX_PAUSE))
        while self._queue or self._pending:
            if not await self._flush():
                await asyncio.sleep(NAP)
        await self._departures.finish()

    async def _rest(self, seconds: float) -> None:
        """Wait so long, but not while what waits takes more than half of the room for it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while seconds > 0 and not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._crowded.wait(), seconds)
            except TimeoutError:
                return
            self._crowded.clear()
            self._take_queue()
            if self._backlog.is_crowded and not self._failing:
                return
            seconds = end - loop.time()

    async def _flush(self) -> bool:
        """Write all that waits; return whether all of it was written."""
        self._take_queue()
        refs = sorted(self._pending, key=lambda ref: not self._pending[ref].final)
        results = []
        for start in range(0, len(refs), ANNOUNCED):
            results.append(await self._write_announced(refs[start : start + ANNOUNCED]))
            if not all(results):
                break  # the others would fail, too
        return all(results)

    async def _write_announced(self, refs: list[RunRef]) -> bool:
        """Name runs for followers and write them; return whether all of it was done."""
        try:
            async with self._runs.announced([self._pending[ref] for ref in refs]):
                return await self._write_all(refs)
        except Exception as error:  # noqa: BLE001 whatever it is, this thread goes on
            self._say_that_it_fails(error)
            return False

    async def _write_all(self, refs: list[RunRef]) -> bool:
        results: list[bool] = []
        for start in range(0, len(refs), AT_ONCE):
            some = refs[start : start + AT_ONCE]
            results += await asyncio.gather(*(self._write(ref) for ref in some))
            self._take_queue()
            if not all(results):
                return False
        return True

    def _take_queue(self) -> None:
        taken = 0
        while self._queue:
            taken += 1
            if taken % MERGED_AT_ONCE == 0:
                time.sleep(0)  # lets go of the interpreter, for which workflows wait
            told = self._queue.popleft()
            try:
                self._take(told)
            except UnmergedError as error:
                log.exception("what was seen of run %s cannot be merged", told.ref.run_id)
                self._backlog.lose(told.ref, error.changes)
                self._backlog.release(error.changes, error.size)
            except Exception:
                log.exception("what was seen of run %s cannot be recorded", told.ref.run_id)
                self._backlog.lose(told.ref, 1)

    def _take(self, source: Source) -> None:
        ref = source.ref
        pending = self._pending.get(ref)
        patch = Patch(ref) if pending is None else pending
        merged, whole = source.add_to(patch)
        if merged:
            self._backlog.release(merged)
        if pending is None and len(patch):
            self._pending[ref] = patch
        if whole:
            self._whole.add(ref)

    async def _write(self, ref: RunRef) -> bool:
        patch = self._pending.pop(ref)
        size = len(patch)
        try:
            async with asyncio.timeout(WRITE_TIMEOUT.total_seconds()):
                await self._write_patch(patch)
        except DamagedObjectError as error:
            # It stays as it is until someone mends it; what waits for that would hold up the rest.
            self._lose_damaged(patch, error)
        except (StoreError, TimeoutError, asyncio.CancelledError) as error:
            self._backlog.release(size - len(patch))
            self._keep(patch)
            if isinstance(error, asyncio.CancelledError):
                raise
            self._say_that_it_fails(error)
            return False
        except Exception:
            log.exception("what was seen of run %s cannot be recorded", ref.run_id)
            self._backlog.lose(patch.ref, len(patch))
        else:
            self._failing = False
            self._departures.written(patch)
        self._backlog.release(size, patch.bytes)
        self._whole.discard(ref)
        return True

    def _lose_damaged(self, patch: Patch, error: DamagedObjectError) -> None:
        if not self._backlog.lose(patch.ref, len(patch)):
            log.warning("run %s is not recorded: %s", patch.ref.run_id, error)

    def _say_that_it_fails(self, error: BaseException) -> None:
        self._counts.add("failed_writes", 1)
        if not self._failing:
            self._failing = True
            trace = None if isinstance(error, (StoreError, TimeoutError)) else error
            log.warning("records of runs wait, since the store fails: %s", error, exc_info=trace)

    async def _write_patch(self, patch: Patch) -> None:
        known = self._backlog.known(patch.ref)
        if patch.ref in self._whole:
            _leave_out(patch, await self._runs.synced(patch.ref))
        await self._encoder.encode(patch)
        if patch.header is not None and known.lost:
            patch.header |= {"lost": known.lost, "synced": 0}
        if patch.spans and known.spans >= SPANS_PER_OBJECT:
            known.writer, known.spans = secrets.token_hex(8), 0
        self._counts.add("written", await self._runs.merge(patch, known.writer))
        known.spans += len(patch.spans)

    def _keep(self, patch: Patch) -> None:
        newer = self._pending.get(patch.ref)
        self._pending[patch.ref] = patch
        if newer is not None:
            self._backlog.release(patch.add(newer))


class _Told(NamedTuple):
    """What somebody said who will not be asked."""

    patch: Patch
    whole: bool

    @property
    def ref(self) -> RunRef:
        return self.patch.ref

    def add_to(self, patch: Patch) -> tuple[int, bool]:
        return merge(patch, self.patch), self.whole


def _leave_out(patch: Patch, synced: int) -> None:
    """Drop the parts of steps that the record has."""
    for number, step in list(patch.steps.items()):
        kept = {part: value for part, value in step.items() if value["clock"] > synced}
        if kept:
            patch.steps[number] = kept
        else:
            del patch.steps[number]
