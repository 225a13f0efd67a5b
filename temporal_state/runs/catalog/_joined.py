"""One run of some work for all who wait for it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary


@dataclass(slots=True)
class _State:
    running: "asyncio.Task[None] | None" = None
    waiting: "asyncio.Task[None] | None" = None


class Joined:
    """Does work for callers of any event loop, such that each gets a run begun after its call.

    So who has changed something and then calls can be sure that the run saw it. Runs of one event
    loop follow one another, and all who come during one share the next.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._states: WeakKeyDictionary[asyncio.AbstractEventLoop, _State] = WeakKeyDictionary()

    async def __call__(self) -> None:
        """Wait for a run that begins from now on; raise what it raises."""
        loop = asyncio.get_running_loop()
        state = self._states.setdefault(loop, _State())
        if state.waiting is None:
            state.waiting = loop.create_task(self._run(state, state.running))
            state.waiting.add_done_callback(_look_at)
        await asyncio.shield(state.waiting)

    async def _run(self, state: _State, former: "asyncio.Task[None] | None") -> None:
        if former is not None:
            await asyncio.wait({former})
        state.running, state.waiting = state.waiting, None
        await self._work()


def _look_at(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # those who wait raise it, if they still do
