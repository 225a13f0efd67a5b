"""How much local activities may return before the workflow task that runs them must end.

The results of all local activities of one workflow task travel in one message. Seen: past gRPC's
4 MB the server terminates the workflow. So a result over `INLINE` bytes is not returned by the
local activity but fetched by a regular one, whose result travels alone; at most `SLOTS` results are
on their way at once; and after `PER_TASK` bytes a timer of a millisecond ends the task.

All of it counts bytes that come from the history, so a replay does the same.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow

from temporal_state.documents import dumps

INLINE = 64 * 1024
SLOTS = 16
PER_TASK = 1024 * 1024


class MarkerBudget:
    """The bytes that one run's local activities have returned."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(SLOTS)
        self._spent = 0
        self._pause: asyncio.Event | None = None

    async def spend(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        """Run a local activity within the budget, and return its result."""
        async with self._slots:
            while self._pause is not None:
                await self._pause.wait()
            result = await operation()
        self._spent += len(dumps(result))
        if self._spent >= PER_TASK and self._pause is None:
            await self._end_task()
        return result

    async def _end_task(self) -> None:
        self._spent = 0
        self._pause = asyncio.Event()
        try:
            await workflow.sleep(
                timedelta(milliseconds=1), summary="temporal_state: end of a large workflow task"
            )
        finally:
            self._pause.set()
            self._pause = None
