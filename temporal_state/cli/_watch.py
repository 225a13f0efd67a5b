"""Which runs are followed, read from the store again and again; Temporal is not asked.

A run has ended when Temporal has confirmed its end, or when nothing has been heard of it for a
while: an end that a worker saw may be taken back, and a run that was continued as new goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporal_state.errors import NotRecordedError
from temporal_state.runs import Run, Runs

GRACE = timedelta(seconds=10)
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to follow: workflow ids, or all runs that a filter finds.

    Attributes:
        workflow_ids: The newest run of each.
        status: Else runs with this status, when they are first seen, ...
        workflow_type: ... and of this type.
        namespace: Temporal's namespace.
    """

    workflow_ids: Sequence[str]
    status: str | None
    workflow_type: str | None
    namespace: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One followed run at one moment.

    Attributes:
        run: What its record says; ``None`` if it has none (yet, or any more).
        over: Whether nothing more will come.
    """

    workflow_id: str
    run: Run | None
    over: bool


@dataclass(slots=True)
class Watch:
    """Follows runs in one store.

    Attributes:
        runs: The records.
        wanted: What to follow.
        wait: Whether to wait for workflow ids of which there is no record.
    """

    runs: Runs
    wanted: Wanted
    wait: bool
    _followed: dict[str, Run | None] = field(default_factory=dict)

    async def looks(self, every: timedelta) -> AsyncIterator[Sequence[Seen]]:
        """Yield what is known of all followed runs, at once and then time and again."""
        await self._begin()
        while True:
            yield await self.look()
            await asyncio.sleep(every.total_seconds())

    async def look(self) -> Sequence[Seen]:
        """Return what is known of all followed runs now."""
        if not self.wanted.workflow_ids:
            await self._find()
        ids = [*self._followed]
        found: list[Seen] = []
        for start in range(0, len(ids), AT_ONCE):
            found += await asyncio.gather(*map(self._one, ids[start : start + AT_ONCE]))
        for seen in found:
            self._followed[seen.workflow_id] = seen.run or self._followed[seen.workflow_id]
        return found

    async def _begin(self) -> None:
        for workflow_id in self.wanted.workflow_ids:
            run = await self._newest(workflow_id)
            if run is None and not self.wait:
                raise NotRecordedError(
                    f"there is no record of workflow {workflow_id!r} in namespace "
                    f"{self.wanted.namespace!r}; give --wait to wait for it"
                )
            self._followed[workflow_id] = run

    async def _find(self) -> None:
        found = await self.runs.list(
            status=self.wanted.status,
            workflow_type=self.wanted.workflow_type,
            limit=None,
            namespace=self.wanted.namespace,
        )
        for run in found:
            self._followed.setdefault(run.workflow_id, run)

    async def _one(self, workflow_id: str) -> Seen:
        run, before = await self._newest(workflow_id), self._followed[workflow_id]
        if run is None:
            return Seen(workflow_id, before, over=before is not None or not self.wait)
        return Seen(workflow_id, run, over=_is_over(run, self.runs.engine.now()))

    async def _newest(self, workflow_id: str) -> Run | None:
        return await self.runs.get(workflow_id, namespace=self.wanted.namespace)


def _is_over(run: Run, now: datetime) -> bool:
    if run.ended is None:
        return False
    is_final = run.confirmed and run.status != "continued_as_new"
    return is_final or now - max(run.ended, run.updated) > GRACE
