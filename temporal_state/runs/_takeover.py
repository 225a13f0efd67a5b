"""Finding what another run has recorded, so that a resumed one need not do it again.

What a run had itself resumed counts as its own: it may have ended before it came to all of that.
Nothing found on the way from the run that was resumed is no error: what is not known to be done is
done. But that run itself must be there, since somebody has named it: without its record, or with
another store than was meant, all would be done again in silence.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from temporal_state.errors import NotRecordedError
from temporal_state.runs._digest import step_key
from temporal_state.runs._outcomes import Outcome
from temporal_state.runs._own import ChainRef
from temporal_state.runs._records import Run
from temporal_state.runs._refs import RunRef
from temporal_state.runs._source import Home, Source, times_continued

KEPT_BYTES = 64 * 1024 * 1024
RUN_BYTES = 4096
"""About what a run takes in memory beside its steps."""

PATIENCE = timedelta(seconds=4)
NAP = 0.1
MAX_FORMER = 1000


class Reader(Protocol):
    """What must be readable of runs; see `Runs`."""

    async def get(
        self, workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
    ) -> Run | None:
        """Return a run."""
        ...

    async def outcomes(self, ref: RunRef) -> Mapping[str, Outcome]:
        """Return how a run's steps stand, by the key of the call."""
        ...

    async def of_workflow(self, workflow_id: str, *, namespace: str | None = None) -> Sequence[Run]:
        """Return all runs of a workflow id, the newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the record of a run has.

    Attributes:
        run: The run.
        steps: How its steps stand, by the key of the call.
        lineage: By what its changes are named: its own run id, or that of the run it resumed.
        home: Whose document its own is.
        limited: Whether later steps are left out, because they are to be done again.
        size: About how many bytes all this takes in memory.
    """

    run: Run
    steps: Mapping[str, Outcome]
    lineage: str
    home: ChainRef
    limited: bool
    size: int

    def step(self, content: str) -> Outcome | None:
        """Return how the step stands that a call with this content was."""
        return self.steps.get(step_key(self.run.original, content))


class Takeover:
    """Runs that others take over from, with their steps; the latest ones are kept in memory."""

    def __init__(self, runs: Reader) -> None:
        self._runs = runs
        self._known: OrderedDict[Source, asyncio.Task[Recorded | None]] = OrderedDict()

    async def recorded(self, source: Source, *, ended: bool = False) -> Recorded | None:
        """Return what was recorded of a source; ``None`` if its way leads to no run.

        Args:
            source: Whose record it is.
            ended: Whether it is known that the run is over, so that there is no end to wait for.

        Raises:
            NotRecordedError: The run at the beginning of the way is not recorded.
        """
        task = self._known.get(source)
        if task is None or _is_of_no_use(task):
            task = self._known[source] = asyncio.create_task(self._read(source, ended=ended))
        self._known.move_to_end(source)
        found = await asyncio.shield(task)
        self._forget()
        return found

    async def former(self, recorded: Recorded) -> Recorded | None:
        """Return what was recorded of the run that a run resumed, as far as that is still known.

        Who resumes a resumed run goes on with all of them: it may have ended before it had come to
        all that they had done.
        """
        source = recorded.run.resumed_from
        try:
            return None if source is None else await self.recorded(source, ended=True)
        except NotRecordedError:  # it has been dropped since
            return None

    async def unfinished(self, recorded: Recorded, content: str) -> Sequence[str]:
        """Return the keys of a call in a run and those that it resumed, the latest first.

        Only back to where it had completed, or is to be done again as a whole.
        """
        keys: list[str] = []
        former: Recorded | None = recorded
        while former is not None and len(keys) < MAX_FORMER:
            step = former.step(content)
            if former.limited if step is None else step.completed:
                break
            keys.append(step_key(former.run.original, content))
            former = await self.former(former)
        return keys

    def _forget(self) -> None:
        """Keep the latest ones that fit, and one in any case."""
        room = KEPT_BYTES
        newest, *others = reversed(self._known.items())
        for source, task in [newest, *others]:
            found = None if not task.done() or _is_of_no_use(task) else task.result()
            room -= RUN_BYTES if found is None else found.size
            if room < 0 and source != newest[0] and task.done():
                del self._known[source]

    async def _read(self, source: Source, *, ended: bool) -> Recorded | None:
        run = await (resolve(self._runs, source) if ended else self._ended(source))
        if run is None:
            return None
        steps = await self._runs.outcomes(run.ref)
        before = None if source.way else source.before
        if before is not None:
            steps = {key: step for key, step in steps.items() if step.number < before}
        return Recorded(
            run,
            steps,
            await self._lineage(run),
            await document_home(self._runs, run),
            limited=before is not None,
            size=sum(step.size for step in steps.values()) + RUN_BYTES,
        )

    async def _ended(self, source: Source) -> Run | None:
        """Return a run once its record has its end, which may just be on its way to the store.

        A run that nobody has seen end has no end, so this does not wait for long.
        """
        naps = PATIENCE.total_seconds() / NAP
        while (run := await resolve(self._runs, source)) is not None:
            if run.ended is not None or naps <= 0:
                break
            naps -= 1
            await asyncio.sleep(NAP)
        return run

    async def _lineage(self, run: Run) -> str:
        for _ in range(MAX_FORMER):
            source = run.resumed_from
            if source is None:
                break
            try:
                former = await resolve(self._runs, source)
            except NotRecordedError:  # it has been dropped since; its name is still known
                return source.run_id if not source.way else run.original
            if former is None:
                break
            run = former
        return run.original

    async def home(self, home: Home) -> ChainRef | None:
        """Return whose document is meant; ``None`` if its way leads to no run.

        Raises:
            NotRecordedError: The run at the beginning of the way is not recorded.
        """
        if isinstance(home, ChainRef):
            return home
        found = await self.recorded(home)
        return None if found is None else found.home


async def document_home(runs: Reader, run: Run) -> ChainRef:
    """Return whose document a run's own is: its own chain's, if another is not known any more."""
    own = ChainRef(run.namespace, run.workflow_id, run.chain)
    return own if run.home is None else await find_home(runs, run.home) or own


async def find_home(runs: Reader, home: Home) -> ChainRef | None:
    """Return whose document is meant; ``None`` if the runs on the way to it are gone.

    No end is waited for: a run's chain is known from its beginning.
    """
    if isinstance(home, ChainRef):
        return home
    try:
        found = await resolve(runs, home)
    except NotRecordedError:
        return None
    return None if found is None else await document_home(runs, found)


def _is_of_no_use(task: "asyncio.Task[Recorded | None]") -> bool:
    if task.get_loop() is not asyncio.get_running_loop():
        return True
    return task.done() and (task.cancelled() or task.exception() is not None)


async def resolve(runs: Reader, source: Source) -> Run | None:
    """Return the run at the end of a source's way, if there is one.

    A resumed run may have ended before it came to that child, or that run which continued one: then
    it is the counterpart that the run which it resumed had.

    Raises:
        NotRecordedError: The run at the beginning is not recorded.
    """
    begin = await _first(runs, source)
    for _ in range(MAX_FORMER):
        found = await _along(runs, begin, source)
        former = begin.resumed_from
        if found is not None or former is None or source.before is not None:
            return found
        source = replace(former, way=(*former.way, *source.way))
        try:
            begin = await _first(runs, source)
        except NotRecordedError:  # it has been dropped since
            break
    return None


async def _first(runs: Reader, source: Source) -> Run:
    found = await runs.get(source.workflow_id, run_id=source.run_id, namespace=source.namespace)
    if found is None:
        raise NotRecordedError(
            f"run {source.run_id} of {source.workflow_id!r} in namespace {source.namespace!r}, "
            "which this one resumes, is not in the worker's store: either its record was deleted, "
            "or the worker has another store, app or tenant than the one who resumed it"
        )
    return found


async def _along(runs: Reader, begin: Run, source: Source) -> Run | None:
    found: Run | None = begin
    before = source.before
    for part in source.way:
        if found is None:
            return None
        times = times_continued(part)
        if times:
            found = await _continued(runs, found, times)
        else:
            found = await _child(runs, found, part, before)
        before = None
    return found


async def _continued(runs: Reader, run: Run, times: int) -> Run | None:
    if run.ended is not None and run.status != "continued_as_new":
        return None
    others = await runs.of_workflow(run.workflow_id, namespace=run.namespace)
    by_former = {other.continued_from: other for other in reversed(others)}
    found: Run | None = run
    while found is not None and times > 0:
        found, times = _next(by_former, found), times - 1
    return found


def _next(by_former: Mapping[str | None, Run], run: Run) -> Run | None:
    found = by_former.get(run.run_id)
    while found is not None and found.status != "continued_as_new":
        retry = by_former.get(found.run_id)
        if retry is None:
            break
        found = retry
    return found


async def _child(runs: Reader, parent: Run, content: str, before: int | None) -> Run | None:
    step = (await runs.outcomes(parent.ref)).get(step_key(parent.original, content))
    if step is None or (before is not None and step.number >= before):
        return None
    others = await runs.of_workflow(step.id, namespace=parent.namespace)
    return _last_attempt(parent, others)


def _last_attempt(parent: Run, others: Sequence[Run]) -> Run | None:
    # Not a run that continued another as new: whoever looks for that one says so in its way.
    continued = {other.run_id for other in others if other.status == "continued_as_new"}
    for other in others:
        of_parent = other.parent is not None and other.parent["run_id"] == parent.run_id
        if of_parent and other.continued_from not in continued:
            return other
    return None
