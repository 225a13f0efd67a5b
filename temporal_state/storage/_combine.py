"""Changes that wait are written together, by key and, where the store gains from it, across keys.

Sixty-four tasks that change one document would otherwise wait for sixty-four flushes, one after the
other. Here the first starts a job on the pool; whoever comes while it waits for the disk joins the
next commit, which reads once, applies all changes in order and writes once. There is no timer, so
one writer alone pays no delay. Nothing here knows what a commit is, so every store can use it.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeAlias

from temporal_state.storage._arrivals import Arrival, together
from temporal_state.storage._protocol import Change

Commit: TypeAlias = Callable[[Mapping[str, Change]], Mapping[str, BaseException]]
"""Reads the object of each key, applies its change, and writes what there is to write, durably.

Returns what went wrong, by key; raising instead means that all went wrong. May apply a change more
than once, if only the last time counts.
"""


class Combiner:
    """Queues of changes by key, and the jobs that commit them.

    A key is in at most one commit at a time, so its changes are applied in order. Keys are taken in
    the order in which they began to wait, so none starves.

    Args:
        commit: What reads, changes and writes.
        executor: Where commits run.
        jobs: How many commits run side by side; leave threads for others.
        width: How many keys one commit takes at most.
    """

    def __init__(self, commit: Commit, executor: Executor, *, jobs: int, width: int = 1) -> None:
        self._commit = commit
        self._executor = executor
        self._jobs = jobs
        self._width = width
        self._lock = threading.Lock()
        self._working = 0
        self._waiting: dict[str, list[Waiter]] = {}
        self._behind: dict[str, list[Waiter]] = {}  # who came while their key was in a commit

    def submit(self, key: str, change: Change) -> "asyncio.Future[None]":
        """Queue a change; the future is done when it is durable, or has what went wrong.

        It is of the running loop. Cancelling it drops the change if it is still queued.

        Raises:
            RuntimeError: The executor was shut down.
        """
        waiter = Waiter(change)
        with self._lock:
            queue = self._behind.get(key, self._waiting.get(key))
            if queue is None:
                self._employ()
                queue = self._waiting[key] = []
            queue.append(waiter)
        return waiter.arrival.future

    def _employ(self) -> None:
        if self._working < self._jobs:
            self._executor.submit(self._work)
            self._working += 1

    def _work(self) -> None:
        while queues := self._take():
            groups = {key: Group(waiters) for key, waiters in queues.items()}
            failures = self._run({key: group for key, group in groups.items() if group})
            self._give_back(queues)
            with together():
                for key, group in groups.items():
                    group.settle(failures.get(key))

    def _take(self) -> dict[str, "list[Waiter]"]:
        with self._lock:
            keys = [key for key, _ in zip(self._waiting, range(self._width), strict=False)]
            self._behind.update((key, []) for key in keys)
            if not keys:
                self._working -= 1
            return {key: self._waiting.pop(key) for key in keys}

    def _run(self, groups: "Mapping[str, Group]") -> Mapping[str, BaseException]:
        if not groups:
            return {}
        try:
            return self._commit({key: group.fold for key, group in groups.items()})
        except BaseException as error:  # noqa: BLE001 - who is not told would wait for ever
            return dict.fromkeys(groups, error)

    def _give_back(self, keys: Mapping[str, object]) -> None:
        with self._lock:
            for key in keys:
                if queue := self._behind.pop(key):
                    self._waiting[key] = queue


class Waiter:
    """A change, and the caller on the running loop who waits for it."""

    __slots__ = ("arrival", "change", "failure", "tentative")

    def __init__(self, change: Change) -> None:
        self.change = change
        self.arrival: Arrival[None] = Arrival()
        self.failure: BaseException | None = None
        self.tentative = True  # rests on bytes that only the commit at hand would store

    def apply(self, data: bytes | None) -> bytes | None:
        """Return what the change makes of the bytes; keep what it raises for its caller."""
        self.failure = None
        try:
            return self.change(data)
        except BaseException as error:  # noqa: BLE001 - this caller's alone, so its future has it
            self.failure = error
        return None


class Group:
    """The changes of one key that one commit applies in order; false if nobody waits for any."""

    def __init__(self, waiters: Sequence[Waiter]) -> None:
        self._waiters = [waiter for waiter in waiters if waiter.arrival.is_wanted]

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def fold(self, data: bytes | None) -> bytes | None:
        """Return what all changes together make of the bytes; it may run again on others."""
        changed = False
        for waiter in self._waiters:
            result = waiter.apply(data)
            if result is not None:
                data, changed = result, True
            waiter.tentative = changed
        return data if changed else None

    def settle(self, failure: BaseException | None) -> None:
        """Tell each caller its own outcome, after a commit that failed or not."""
        # Who came after the first change has seen bytes that a failed commit never stored. Neither
        # "nothing to do" nor an error of its own can be trusted then.
        for waiter in self._waiters:
            failed = failure is not None and waiter.tentative
            waiter.arrival.tell(error=failure if failed else waiter.failure)
