"""Deletes runs soon after their end was written, where the user wants that; see `EndedRuns`.

It works beside the recorder's writing, on its thread: one run at a time, a moment after the end,
when other processes have written what they had of the run. It takes no more than its share of a
processor, and what it cannot do is counted and left to maintenance.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from temporal_state.runs import EndedRuns, Patch, RunRef

log = logging.getLogger("temporal_state")

AFTER = 5.0
"""Seconds: longer than what is known of a run waits in another process to be written."""
WAITING = 10_000
TIMEOUT = timedelta(seconds=30)
SHARE = 0.1
ACTOR = "recording"


@dataclass(slots=True)
class Departures:
    """The runs of one worker's recorder that are to be deleted.

    Attributes:
        ended: Deletes one.
        count: Is told how many were ``deleted``, and how many ``left`` to maintenance.
    """

    ended: EndedRuns
    count: Callable[[str, int], None]
    _waiting: deque[tuple[float, RunRef]] = field(default_factory=deque)
    _task: "asyncio.Task[None] | None" = None

    def written(self, patch: Patch) -> None:
        """Take in that something was written of a run, perhaps its confirmed end."""
        header = patch.header or {}
        if not header.get("confirmed") or header.get("status") not in self.ended.statuses:
            return
        if len(self._waiting) >= WAITING:
            self.count("left", 1)
        else:
            self._waiting.append((time.monotonic() + AFTER, patch.ref))

    def go_on(self) -> None:
        """Begin to delete those whose time has come, unless that is being done."""
        due = bool(self._waiting) and self._waiting[0][0] <= time.monotonic()
        if due and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._delete_due())

    async def finish(self) -> None:
        """Delete all that are left; whatever is cut off is left to maintenance."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait({self._task})
            while self._waiting:
                await self._delete(self._waiting[0][1])
                self._waiting.popleft()
        finally:
            self.count("left", len(self._waiting))

    async def _delete_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            begun = time.thread_time()
            await self._delete(self._waiting[0][1])
            self._waiting.popleft()  # not before: one that was cut off is begun anew
            await asyncio.sleep((time.thread_time() - begun) / SHARE)

    async def _delete(self, ref: RunRef) -> None:
        try:
            async with asyncio.timeout(TIMEOUT.total_seconds()):
                deleted = await self.ended.delete(ref)
        except Exception as error:  # noqa: BLE001 whatever it is, this thread goes on
            log.warning(
                "run %s of %r has ended and could not be deleted, which is left to maintenance: %r",
                ref.run_id,
                ref.workflow_id,
                error,
            )
            deleted = 0
        self.count("deleted" if deleted else "left", deleted or 1)
