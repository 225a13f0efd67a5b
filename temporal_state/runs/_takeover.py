"""Finding what another run has recorded, so that a resumed one need not do it again.

Nothing found is no error: what is not known to be done is done.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from temporal_state.runs._digest import step_key
from temporal_state.runs._own import ChainRef
from temporal_state.runs._records import Run, Step
from temporal_state.runs._source import CONTINUED, Home, Source

KEPT = 16


class Reader(Protocol):
    """What must be readable of runs; see `Runs`."""

    async def get(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> Run | None:
        """Return a run."""
        ...

    async def steps(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str = "default"
    ) -> Sequence[Step]:
        """Return a run's steps."""
        ...

    async def of_workflow(self, workflow_id: str, *, namespace: str = "default") -> Sequence[Run]:
        """Return all runs of a workflow id, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of a run has.

    Attributes:
        run: The run.
        steps: Its steps, by the key of the call.
        lineage: By what its changes are named: its own run id, or that of the run it resumed.
        home: Whose document its own is.
        limited: Whether later steps are left out, because they are to be done again.
        former: The same of the run that this one resumed.
    """

    run: Run
    steps: Mapping[str, Step]
    lineage: str
    home: ChainRef
    limited: bool
    former: "Recorded | None" = None

    def step(self, content: str) -> Step | None:
        """Return the step that a call with this content was."""
        return self.steps.get(step_key(self.run.original, content))

    def unfinished(self, content: str) -> Sequence[str]:
        """Return the keys of a call in this run and those before it, the latest first.

        Only back to where it had completed, or is to be done again as a whole.
        """
        step = self.step(content)
        if (step is None and self.limited) or (step is not None and step.status == "completed"):
            return []
        former = [] if self.former is None else self.former.unfinished(content)
        return [step_key(self.run.original, content), *former]


class Takeover:
    """Runs that others take over from, with their steps; the latest few are kept in memory."""

    def __init__(self, runs: Reader) -> None:
        self._runs = runs
        self._known: OrderedDict[Source, asyncio.Task[Recorded | None]] = OrderedDict()

    async def recorded(self, source: Source) -> Recorded | None:
        """Return what was recorded of a source; ``None`` if there is no such run."""
        task = self._known.get(source)
        if task is None or _is_of_no_use(task):
            task = self._known[source] = asyncio.create_task(self._read(source))
        self._known.move_to_end(source)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return await asyncio.shield(task)

    async def _read(self, source: Source) -> Recorded | None:
        run = await resolve(self._runs, source)
        if run is None:
            return None
        former = None if run.resumed_from is None else await self.recorded(run.resumed_from)
        steps = await self._runs.steps(run.workflow_id, run_id=run.run_id, namespace=run.namespace)
        before = None if source.way else source.before
        return Recorded(
            run,
            {s.key: s for s in steps if s.key and (before is None or s.number < before)},
            run.original if former is None else former.lineage,
            await self.home_of(run),
            limited=before is not None,
            former=former,
        )

    async def home_of(self, run: Run) -> ChainRef:
        """Return whose document a run's own document is."""
        own = ChainRef(run.namespace, run.workflow_id, run.chain)
        return own if run.home is None else await self.home(run.home) or own

    async def home(self, home: Home) -> ChainRef | None:
        """Return whose document is meant; ``None`` if that is no longer known."""
        if isinstance(home, ChainRef):
            return home
        found = await self.recorded(home)
        return None if found is None else found.home


def _is_of_no_use(task: "asyncio.Task[Recorded | None]") -> bool:
    if task.get_loop() is not asyncio.get_running_loop():
        return True
    return task.done() and (task.cancelled() or task.exception() is not None)


async def resolve(runs: Reader, source: Source) -> Run | None:
    """Return the run at the end of a source's way, if there is one."""
    found = await runs.get(source.workflow_id, run_id=source.run_id, namespace=source.namespace)
    before = source.before
    for part in source.way:
        if found is None:
            return None
        if part == CONTINUED:
            found = await _continued(runs, found)
        else:
            found = await _child(runs, found, part, before)
        before = None
    return found


async def _continued(runs: Reader, run: Run) -> Run | None:
    others = await runs.of_workflow(run.workflow_id, namespace=run.namespace)
    by_former = {other.continued_from: other for other in reversed(others)}
    found = by_former.get(run.run_id)
    while found is not None and found.status != "continued_as_new":
        retry = by_former.get(found.run_id)
        if retry is None:
            break
        found = retry
    return found


async def _child(runs: Reader, parent: Run, content: str, before: int | None) -> Run | None:
    key = step_key(parent.original, content)
    steps = await runs.steps(parent.workflow_id, run_id=parent.run_id, namespace=parent.namespace)
    for step in steps:
        if step.key == key and (before is None or step.number < before):
            others = await runs.of_workflow(step.id, namespace=parent.namespace)
            return _last_attempt(parent, others)
    return None


def _last_attempt(parent: Run, others: Sequence[Run]) -> Run | None:
    # Not a run that continued another as new: whoever looks for that one says so in its way.
    continued = {other.run_id for other in others if other.status == "continued_as_new"}
    for other in others:
        of_parent = other.parent is not None and other.parent["run_id"] == parent.run_id
        if of_parent and other.continued_from not in continued:
            return other
    return None
