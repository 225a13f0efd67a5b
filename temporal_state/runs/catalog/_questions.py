"""What can be asked about all runs: lists, failures, children, sums."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from temporal_state.documents import Engine
from temporal_state.runs.catalog._answers import RunPage, Stats, StepStats
from temporal_state.runs.catalog._asked import check_part, filter_of, from_cursor, micros, to_cursor
from temporal_state.runs.catalog._catalog import Catalog
from temporal_state.runs.catalog._reads import (
    Found,
    find,
    sources_in_use,
    statistics,
    step_statistics,
)
from temporal_state.runs.catalog._rows import micros_of, run_of
from temporal_state.runs.catalog._select import FIRST, LAST, Filter, Part

T = TypeVar("T")

DAY = timedelta(days=1)
FAILED = ("failed", "timed_out")


class RunQuestions:
    """Answers by the catalog, which each question first brings up to date."""

    __slots__ = ()

    engine: Engine
    catalog: Catalog
    namespace: str

    async def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        workflow_type: str | None = None,
        workflow_id: str | None = None,
        parent: str | None = None,
        chain: str | None = None,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        unsettled: bool = False,
        since: datetime | None = None,
        until: datetime | None = None,
        ended_since: datetime | None = None,
        ended_until: datetime | None = None,
        limit: int | None = 100,
        offset: int = 0,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> RunPage:
        """Return runs, the newest first; large values are left to `get`.

        Windows of time include their first moment and not their last.

        Args:
            status: Only those with this status, or with one of several.
            workflow_type: Only those of this type.
            workflow_id: Only those of this workflow id.
            parent: Only those that a run of this workflow id has started.
            chain: Only those of this chain.
            kind: Only those of this kind: ``workflow``, ``activity``, ``manual`` or your own.
            metadata: Only those whose metadata contains this object: each of its keys, in objects
                within it as well, with an equal value.
            unsettled: Only those on Temporal that may change without a call by hand: they run, or
                their end is not confirmed.
            since: Only those started at or after this time.
            until: Only those started before this time.
            ended_since: Only those ended at or after this time.
            ended_until: Only those ended before this time.
            limit: At most that many; ``None``: all.
            offset: Leave out so many first.
            cursor: Go on behind the page that has this ``cursor``; its cost does not grow with
                the depth, as that of ``offset`` does.
            namespace: Temporal's namespace; by default the backend's.

        Raises:
            InvalidValueError: A status, time or cursor is none.
        """
        check_part(limit, offset)
        wanted = filter_of(
            namespace=namespace or self.namespace,
            status=status,
            metadata=metadata,
            unsettled=unsettled,
            since=since,
            until=until,
            ended_since=ended_since,
            ended_until=ended_until,
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            parent=parent,
            chain=chain,
            kind=kind,
        )
        return await self._page(wanted, Part(limit=limit, offset=offset, after=from_cursor(cursor)))

    async def failed(
        self,
        *,
        within: timedelta | None = DAY,
        parent: str | None = None,
        workflow_type: str | None = None,
        limit: int | None = 100,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> RunPage:
        """Return runs that failed or timed out, with their errors, those that ended last first.

        Args:
            within: Only those that ended in so long a time until now; ``None``: ever.
            parent: Only those that a run of this workflow id has started.
            workflow_type: Only those of this type.
            limit: At most that many; ``None``: all.
            cursor: Go on behind the page that has this ``cursor``.
            namespace: Temporal's namespace; by default the backend's.
        """
        check_part(limit, 0)
        wanted = filter_of(
            namespace=namespace or self.namespace,
            status=FAILED,
            ended_since=None if within is None else self.engine.now() - within,
            parent=parent,
            workflow_type=workflow_type,
        )
        return await self._page(wanted, Part(limit=limit, after=from_cursor(cursor), by_end=True))

    async def background(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        status: str | Iterable[str] | None = None,
        limit: int | None = 100,
        offset: int = 0,
        cursor: str | None = None,
        namespace: str | None = None,
    ) -> RunPage:
        """Return the runs that a run has started, the newest first.

        Args:
            workflow_id: Whose children.
            run_id: Only those of this run; by default of all runs of the workflow id.
            status: Only those with this status, or with one of several.
            limit: At most that many; ``None``: all.
            offset: Leave out so many first.
            cursor: Go on behind the page that has this ``cursor``.
            namespace: Temporal's namespace; by default the backend's.
        """
        check_part(limit, offset)
        wanted = filter_of(
            namespace=namespace or self.namespace,
            status=status,
            parent=workflow_id,
            parent_run=run_id,
        )
        return await self._page(wanted, Part(limit=limit, offset=offset, after=from_cursor(cursor)))

    async def stats(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        namespace: str | None = None,
    ) -> Stats:
        """Return sums of all runs, or of those that started in a window.

        Args:
            since: Only runs started at or after this time.
            until: Only runs started before this time.
            namespace: Temporal's namespace; by default the backend's.

        Raises:
            InvalidValueError: A time has no time zone.
        """
        first, end = _window(since, until)
        now = micros_of(self.engine.now())
        question = partial(
            statistics, namespace=namespace or self.namespace, since=first, until=end, now=now
        )
        return await self.catalog.ask(question)

    def stats_sync(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        namespace: str | None = None,
    ) -> Stats:
        """Return what `stats` does, to code that cannot await; blocks its thread meanwhile.

        It may be called on a thread whose event loop is running.
        """
        return _in_own_thread(partial(self.stats, since=since, until=until, namespace=namespace))

    async def step_stats(
        self,
        *,
        name: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        namespace: str | None = None,
    ) -> Sequence[StepStats]:
        """Return sums of the steps of closed runs, by name and status.

        Args:
            name: Only steps of this name.
            status: Only steps with this status.
            since: Only steps scheduled in the hour of this time or later.
            until: Only steps scheduled in the hour of this time or before.
            namespace: Temporal's namespace; by default the backend's.

        Raises:
            InvalidValueError: A time has no time zone.
        """
        first, end = _window(since, until)
        question = partial(
            step_statistics,
            namespace=namespace or self.namespace,
            since=first,
            until=end,
            name=name,
            status=status,
        )
        return await self.catalog.ask(question)

    async def in_use(self) -> Mapping[str, str]:
        """Return the ids of runs that open ones resume, each with one of those that do.

        Such a run is not deleted; neither is what came from it.
        """
        return await self.catalog.ask(sources_in_use)

    async def reindex(self, progress: Callable[[int], None] | None = None) -> None:
        """Make the catalog anew from the records, while others go on to read and write.

        It does so by itself when the catalog is gone or damaged.

        Args:
            progress: Called now and then with the number of runs that were read.
        """
        await self.catalog.rebuild(progress)

    async def _page(self, wanted: Filter, part: Part) -> RunPage:
        seal = self.catalog.seal
        wanted = replace(wanted, labels=seal.labels(wanted.labels))
        found: Found = await self.catalog.ask(partial(find, wanted=wanted, part=part))
        runs = [run_of(await seal.open(header)) for header in found.headers]
        return RunPage(runs, to_cursor(found.last))


def _window(since: datetime | None, until: datetime | None) -> tuple[int, int]:
    first, end = micros("since", since), micros("until", until)
    return (FIRST if first is None else first, LAST if end is None else end)


def _in_own_thread(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 raised in the thread of the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="temporal_state-stats")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
