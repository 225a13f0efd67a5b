"""From threads to event loops: the outcomes that come together wake a loop once.

``asyncio.wrap_future`` wakes the loop for each future by a write to a pipe. A commit for which
sixty-four callers wait would write sixty-four times, and let go of the interpreter each time.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary, ref


def arrival(future: "Future[None]") -> "asyncio.Future[None]":
    """Return a future of the running loop that follows one of a thread, as ``wrap_future`` does.

    Cancelling it cancels the other.
    """
    loop = asyncio.get_running_loop()
    arrivals = _ARRIVALS.get(loop)
    if arrivals is None:
        arrivals = _ARRIVALS[loop] = _Arrivals(loop)
    waiting: asyncio.Future[None] = loop.create_future()
    waiting.add_done_callback(partial(_pass_on, future))
    future.add_done_callback(partial(arrivals.ring, waiting))
    return waiting


def _pass_on(future: "Future[None]", waiting: "asyncio.Future[None]") -> None:
    if waiting.cancelled():
        future.cancel()


class _Arrivals:
    """What a loop has yet to be told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # else the table of loops would keep this one alive
        self._ready: deque[tuple[asyncio.Future[None], Future[None]]] = deque()
        self._rung = False

    def ring(self, waiting: "asyncio.Future[None]", future: "Future[None]") -> None:
        # First what is to be seen, then the look whether somebody is on the way to see it: so
        # what comes too late for one round finds that it must call for the next.
        self._ready.append((waiting, future))
        if not self._rung:
            self._rung = True
            loop = self._loop()
            if loop is not None:
                with suppress(RuntimeError):  # it is closed, and nobody waits any more
                    loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._rung = False
        while self._ready:
            waiting, future = self._ready.popleft()
            if waiting.done():
                continue
            if future.cancelled():
                waiting.cancel()
            elif (error := future.exception()) is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(None)


_ARRIVALS: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Arrivals]" = WeakKeyDictionary()
