"""From threads to event loops: the outcomes that come together wake a loop once.

``run_in_executor`` ties a future of a thread to one of the loop for each call, and wakes the loop
for each outcome by a write to a pipe. A commit for which sixty-four callers wait would write
sixty-four times, and let go of the interpreter each time; and a read of a small file takes less
time than all that.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

P = ParamSpec("P")
T = TypeVar("T")
_Outcome: TypeAlias = tuple["asyncio.Future[Any]", Any, BaseException | None]


def in_thread(
    executor: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> "asyncio.Future[T]":
    """Call a function in a thread, as ``run_in_executor`` does.

    Cancelling the future drops the call if it has not begun.

    Raises:
        RuntimeError: The executor was shut down.
    """
    arrival: Arrival[T] = Arrival()
    executor.submit(_call, arrival, partial(function, *args, **kwargs))
    return arrival.future


class Arrival(Generic[T]):
    """An outcome that a thread will have, for one who waits for it on the running loop.

    Attributes:
        future: What to wait for. Cancelling it drops what has not begun.
    """

    __slots__ = ("_arrivals", "future")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = loop.create_future()
        self._arrivals = _arrivals_of(loop)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits."""
        return not self.future.cancelled()

    def tell(self, result: T | None = None, error: BaseException | None = None) -> None:
        """Tell the outcome, from any thread."""
        if isinstance(error, StopIteration):  # asyncio cannot carry it: who waits would for ever
            failure = RuntimeError("what was called in a thread raised StopIteration")
            failure.__cause__ = error
            error = failure
        self._arrivals.ring(self.future, result, error)


@contextmanager
def together() -> Iterator[None]:
    """Wake loops only at the end of a block, for all outcomes that this thread has in it."""
    held = _HERE.held = set()
    try:
        yield
    finally:
        _HERE.held = None
        for arrivals in held:
            arrivals.wake()


def _call(arrival: Arrival[T], function: Callable[[], T]) -> None:
    if arrival.is_wanted:
        arrival.tell(*_outcome(function))


def _outcome(function: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    # In a function of its own, for an error keeps the variables of where it was caught alive.
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001 it is the caller's
        return None, error


def _arrivals_of(loop: asyncio.AbstractEventLoop) -> "_Arrivals":
    last = _HERE.last
    if last is not None and last.is_of(loop):  # as a rule: a thread has one loop at a time
        return last
    found = _ARRIVALS.get(loop)
    if found is None:
        found = _ARRIVALS[loop] = _Arrivals(loop)
    _HERE.last = found
    return found


class _Arrivals:
    """What a loop has yet to be told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # else the table of loops would keep this one alive
        self._ready: deque[_Outcome] = deque()
        self._rung = False

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether it is this loop's."""
        return self._loop() is loop

    def ring(
        self, waiting: "asyncio.Future[Any]", result: Any, error: BaseException | None
    ) -> None:
        """Tell an outcome soon, from any thread."""
        # First what is to be seen, then the look whether somebody is on the way to see it: so
        # what comes too late for one round finds that it must call for the next.
        self._ready.append((waiting, result, error))
        if _HERE.held is None:
            self.wake()
        else:
            _HERE.held.add(self)

    def wake(self) -> None:
        """Have the loop tell what is ready."""
        if not self._rung:
            self._rung = True
            loop = self._loop()
            if loop is not None:
                try:
                    loop.call_soon_threadsafe(self._tell)
                except RuntimeError:  # it is closed, and nobody waits any more
                    self._ready.clear()  # each holds the loop, which would hold this for ever
                    self._rung = False

    def _tell(self) -> None:
        self._rung = False
        while self._ready:
            waiting, result, error = self._ready.popleft()
            if waiting.done():
                continue
            if error is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(result)


_ARRIVALS: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Arrivals]" = WeakKeyDictionary()


class _Here(threading.local):
    """What one thread knows."""

    held: set[_Arrivals] | None = None
    last: _Arrivals | None = None


_HERE = _Here()
