"""How much local activities may return before the workflow task that runs them must end.

The results of all local activities of one workflow task travel in one message. Seen: past gRPC's
4 MB the server terminates the workflow. So a result over `INLINE` bytes is not returned by the
local activity but fetched by a regular one, whose result travels alone; at most `SLOTS` results are
on their way at once; and after `PER_TASK` bytes the next operation is a regular activity while all
others wait, which ends the workflow task. (A timer would, too, but servers make it a second.)

All of it counts bytes that come from the history, so a replay does the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from temporal_state.documents import dumps

INLINE = 64 * 1024
SLOTS = 16
PER_TASK = 512 * 1024

Operation: TypeAlias = Callable[[], Awaitable[Any]]


class MarkerBudget:
    """The bytes that one run's local activities have returned."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(SLOTS)
        self._spent = 0
        self._task_ends: asyncio.Event | None = None

    async def spend(self, local: Operation, regular: Operation) -> Any:
        """Perform an operation within the budget: as a local activity, or as a regular one."""
        async with self._slots:
            while self._task_ends is not None:
                await self._task_ends.wait()
            if self._spent >= PER_TASK:
                return await self._end_task(regular)
            result = await local()
            self._spent += len(dumps(result))
            return result

    async def _end_task(self, regular: Operation) -> Any:
        self._spent, ended = 0, asyncio.Event()
        self._task_ends = ended
        try:
            return await regular()
        finally:
            self._task_ends = None
            ended.set()
