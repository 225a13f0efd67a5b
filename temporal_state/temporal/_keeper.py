"""Keeps the position of one loop over items while the loop goes on.

A position is saved in the background, one at a time, from half of `every` items on: so the loop
has the other half to go on with before it must wait. It never hands out an item that would be one
more than `every` beyond what is durable; that is all that a crash can repeat.

Of a position and what belongs to it there is one tuple, put in place by one assignment: the SDK
cancels a thread by an exception that can come between any two.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from secrets import token_hex
from typing import Any, TypeAlias

from temporalio import activity

from temporal_state.documents import Caller, dumps, loads, plain
from temporal_state.errors import StateError, StoreTimeoutError, TooLargeError
from temporal_state.runs import LoopRef, Position
from temporal_state.temporal._call import ActivityCall

log = logging.getLogger("temporal_state")

MAX_VALUE = 64 * 1024
TELL_EVERY = 1.0
SETTLE_TIMEOUT = 5.0
FIRST_PAUSE, LAST_PAUSE = 0.05, 1.0

Reached: TypeAlias = tuple[int, Any, str | None, bool]
"""How many items are done, the user's value at that, their digest, and whether that was all."""


class Keeper:
    """Knows how far a loop is, and saves that.

    All but `advance`, `end`, `beat` and the value runs on the event loop of the activity's worker.

    Attributes:
        reached: How far it is.
        loaded: Whether it is known where the loop goes on.
        in_hand: Whether an item is handed out and not done yet.
        length: How many items there are, if that is known.
    """

    def __init__(
        self,
        call: ActivityCall,
        *,
        name: str | None,
        every: int,
        interval: timedelta,
        length: int | None,
        initial: Any,
    ) -> None:
        self._value = _checked(initial)
        self.reached: Reached = (0, self._value, None, False)
        self.loaded = False
        self.in_hand = False
        self.length = length
        self._call = call
        self._name = call.loops.enter(name, self.settle)
        self._refs: Sequence[LoopRef] = ()
        self._every = every
        self._half = (every + 1) // 2
        self._interval = interval.total_seconds()
        self._writer = token_hex(8)
        self._numbers = itertools.count(1)
        self._saving: asyncio.Task[None] | None = None
        self._trouble: StateError | None = None
        self._begun: Reached = self.reached
        self._durable: Reached = self.reached
        self._begun_at = time.monotonic()
        self._due, self._due_at = self._half, self._begun_at
        self._deadline: float | None = None
        beats = call.info.heartbeat_timeout
        self._pause = min(TELL_EVERY, beats.total_seconds() / 4) if beats else TELL_EVERY
        self._beats = beats is not None
        self._beat_at = self._begun_at + self._pause

    @property
    def value(self) -> Any:
        """A copy of what the user keeps."""
        value = self._value
        return loads(dumps(value)) if isinstance(value, dict | list) else value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = _checked(value)
        if not self.in_hand:
            done, _, digest, complete = self.reached
            self.reached = (done, self._value, digest, complete)

    async def load(self) -> Position:
        """Return where the loop goes on, and go on there.

        Raises:
            StoreError: That cannot be read.
        """
        self._refs = self._call.loop_refs(self._name)
        found = await self._find()
        if found is not None:
            self._value = found.value
            self.reached = (found.done, found.value, found.digest, found.complete)
        self._begun = self._durable = self.reached
        self._plan()
        self.loaded = True
        return found or Position()

    async def _find(self) -> Position | None:
        positions = self._call.backend.positions
        for ref in self._refs:
            found = await positions.read(ref)
            # A run that was reset does again what it had completed.
            again = found is not None and found.complete and found.run != self._call.run_id()
            if found is not None and not (again and ref is self._refs[0]):
                return found
        return None

    def advance(self, digest: str | None = None) -> bool:
        """Count the item in hand as done; return whether `catch_up` has something to do."""
        done = self.reached[0] + 1
        self.reached = (done, self._value, digest, False)
        self.in_hand = False
        return done >= self._due or time.monotonic() >= self._due_at

    def end(self) -> None:
        """Say that there are no more items; `catch_up` then waits until that is durable."""
        done, value, digest, _ = self.reached
        self.reached = (done, value, digest, True)
        if self._is_empty():
            self._begun = self._durable = self.reached

    def beat(self) -> None:
        """Tell Temporal and the record how far the loop is, if it is time for that."""
        now = time.monotonic()
        if now < self._beat_at:
            return
        self._beat_at = now + self._pause
        self.tell()
        if self._beats:
            activity.heartbeat(self.reached[0])

    def tell(self) -> None:
        """Tell the record how far the loop is, if it is known how far there is to go."""
        if self.length is not None and self._call.record is not None:
            progress = {"done": self.reached[0], "total": self.length, "message": None}
            self._call.record.report(progress)

    async def catch_up(self) -> bool:
        """Save what is due; return whether the loop may go on.

        If it may not yet, this has waited for a while: heartbeat, and call it again.

        Raises:
            StoreError: The position cannot be saved, and the loop has waited for long enough.
        """
        self._reap()
        if self._saving is None and self._is_due():
            self._begin()
            await asyncio.sleep(0)  # a loop that never waits would not let it begin
        if self._may_go_on():
            self._deadline = None
            self._plan()
            return True
        await self._wait()
        return False

    def _is_due(self) -> bool:
        if self.reached is self._begun:
            return False
        done = self.reached[0] - self._begun[0]
        late = time.monotonic() >= self._begun_at + self._interval
        return late or done >= self._half or self.reached[3]

    def _may_go_on(self) -> bool:
        if self.reached[3]:
            return self._durable is self.reached
        return self.reached[0] - self._durable[0] < self._every

    def _is_empty(self) -> bool:
        return self.reached[:2] == (0, None) and self._durable[:2] == (0, None)

    def _plan(self) -> None:
        now = time.monotonic()
        if self._saving is None:
            self._due, save_at = self._begun[0] + self._half, self._begun_at + self._interval
        else:
            self._due, save_at = self._durable[0] + self._every, now + self._interval
        self._due_at = min(save_at, self._beat_at)

    def _begin(self) -> None:
        self._begun, self._begun_at = self.reached, time.monotonic()
        self._saving = asyncio.create_task(self._save(self._begun))

    async def _save(self, reached: Reached) -> None:
        done, value, digest, complete = reached
        info = self._call.info
        position = Position(
            done,
            value,
            complete,
            self.length,
            digest,
            self._call.run_id(),
            0 if info.is_local else info.attempt,
            self._writer,
            next(self._numbers),
        )
        pause = FIRST_PAUSE
        while True:
            positions = self._call.backend.positions.on_behalf_of(Caller(self._call.now()))
            try:
                await positions.save(self._refs[0], position)
            except StateError as error:
                self._trouble = error
                if not error.retryable:
                    return
            else:
                self._durable, self._trouble = reached, None
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _reap(self) -> None:
        if self._saving is not None and self._saving.done():
            self._saving.result()
            self._saving = None
        if self._trouble is not None and not self._trouble.retryable:
            raise self._trouble

    async def _wait(self) -> None:
        if self._saving is None:
            return
        now = time.monotonic()
        patience = self._call.backend.limits.operation_timeout.total_seconds()
        self._deadline = self._deadline or now + patience
        if now >= self._deadline:
            raise self._trouble or self._timed_out(patience)
        await asyncio.wait({self._saving}, timeout=min(self._pause, self._deadline - now))

    def _timed_out(self, patience: float) -> StoreTimeoutError:
        return StoreTimeoutError(
            f"the position of a loop, {self.reached[0]} items, could not be saved within "
            f"{patience:g} s, so the loop does not go on; look at the store "
            f"{self._call.backend.store.url}"
        )

    async def settle(self) -> None:
        """Save what is done when the attempt ends; never fail, and never wait for long.

        If it cannot be saved, the next attempt repeats a few items more.
        """
        if not self.loaded:
            return
        task = asyncio.create_task(self._flush())
        try:
            await asyncio.wait({task}, timeout=SETTLE_TIMEOUT)
        finally:
            if not task.done():
                task.cancel()
                self._warn(self._trouble)
            elif not task.cancelled() and (error := task.exception()) is not None:
                self._warn(error)
            if self._saving is not None and not self._saving.done():
                self._saving.cancel()

    async def _flush(self) -> None:
        while True:
            self._reap()
            if self._saving is None:
                if self._durable is self.reached or self._is_empty():
                    return
                self._begin()
            await self._wait()

    def _warn(self, error: BaseException | None) -> None:
        log.warning(
            "the position of a loop of %s is saved only up to item %d of %d: %s",
            self._call.info.activity_type,
            self._durable[0],
            self.reached[0],
            error or f"no answer from the store within {SETTLE_TIMEOUT:g} s",
        )


def _checked(value: Any) -> Any:
    result = plain(value, "value")
    if isinstance(result, int | float | None):
        return result
    if (size := len(dumps(result))) > MAX_VALUE:
        raise TooLargeError(
            f"the value kept with a loop's position has {size} bytes of JSON, the limit is "
            f"{MAX_VALUE}; keep large data elsewhere and store where it lies"
        )
    return result
