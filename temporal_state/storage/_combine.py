"""A queue for each key whose waiting changes are written together.

Sixty-four tasks that change one document would otherwise wait for sixty-four flushes, one after the
other. Here the first becomes a job on the pool; whoever comes while it waits for the disk joins the
next batch, which reads once, applies all changes in order and writes once. There is no timer, so
one writer alone pays no delay. Nothing here knows what a commit is, so every store can use it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import TypeAlias

from temporal_state.storage._protocol import Change

Commit: TypeAlias = Callable[[str, Change], None]
"""Reads the object of a key, applies the change, and writes the result durably if there is one."""


class Combiner:
    """Joins the changes that wait for the same key into one commit.

    Args:
        commit: What reads, changes and writes; may apply the change more than once.
        executor: Where commits run.
    """

    def __init__(self, commit: Commit, executor: Executor) -> None:
        self._commit = commit
        self._executor = executor
        self._lock = threading.Lock()
        self._waiting: dict[str, list[_Waiter]] = {}  # a key is here while a job serves it

    def submit(self, key: str, change: Change) -> Future[None]:
        """Queue a change; the future is done when it is durable, or has what went wrong.

        Cancelling the future drops the change if it is still queued.

        Raises:
            RuntimeError: The executor was shut down.
        """
        waiter = _Waiter(change)
        with self._lock:
            if key in self._waiting:
                self._waiting[key].append(waiter)
                return waiter.future
            self._executor.submit(self._serve, key)
            self._waiting[key] = [waiter]
        return waiter.future

    def _serve(self, key: str) -> None:
        while True:
            with self._lock:
                waiters, self._waiting[key] = self._waiting[key], []
            _Batch(waiters).run(key, self._commit)
            if self._hand_on(key):
                return

    def _hand_on(self, key: str) -> bool:
        # The next batch goes to the end of the pool's queue, so that one busy key cannot keep a
        # thread from the others. A pool that shuts down takes no more: then go on right here.
        with self._lock:
            if not self._waiting[key]:
                del self._waiting[key]
                return True
            try:
                self._executor.submit(self._serve, key)
            except RuntimeError:
                return False
            return True


class _Waiter:
    """A change, and the future of the caller who waits for it."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.future: Future[None] = Future()
        self.failure: BaseException | None = None
        self.tentative = False


class _Batch:
    """Changes that one commit applies in order."""

    def __init__(self, waiters: Sequence[_Waiter]) -> None:
        self._waiters = [w for w in waiters if w.future.set_running_or_notify_cancel()]
        self._folded = False

    def run(self, key: str, commit: Commit) -> None:
        if not self._waiters:
            return
        failure: BaseException | None = None
        try:
            commit(key, self._fold)
        except BaseException as error:  # noqa: BLE001 - a caller who is not told waits for ever
            failure = error
        for waiter in self._waiters:
            self._settle(waiter, failure)

    def _fold(self, data: bytes | None) -> bytes | None:
        self._folded = True
        changed = False
        for waiter in self._waiters:
            result = _apply(waiter, data)
            if result is not None:
                data, changed = result, True
            waiter.tentative = changed
        return data if changed else None

    def _settle(self, waiter: _Waiter, failure: BaseException | None) -> None:
        # Who came after the first change has seen bytes that a failed commit never stored. Neither
        # "nothing to do" nor an error of its own can be trusted then.
        if failure is not None and (waiter.tentative or not self._folded):
            waiter.failure = failure
        if waiter.failure is None:
            waiter.future.set_result(None)
        else:
            waiter.future.set_exception(waiter.failure)


def _apply(waiter: _Waiter, data: bytes | None) -> bytes | None:
    waiter.failure = None
    try:
        return waiter.change(data)
    except StopIteration as error:  # asyncio cannot carry it: the caller would wait for ever
        waiter.failure = RuntimeError("a change raised StopIteration")
        waiter.failure.__cause__ = error
    except BaseException as error:  # noqa: BLE001 - this caller's alone, so it goes to its future
        waiter.failure = error
    return None
