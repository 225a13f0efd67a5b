"""Deleting runs as soon as they have ended, for users who keep no record of what went well.

Only what nobody can need: not what an open run resumes, or what came from that; not a child of a
run that stays, since whoever resumes that one takes over from its children; not a run after which
Temporal starts another, which may ask for its checkpoints. Children and former runs go with the one
that needed them, and before it, so that what a crash has left is found again by the last one.

Workers ask the records only, since for the catalog many of them would have to build one first. So
what was resumed at all stays, for maintenance, which asks the catalog.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

from temporal_state.errors import ConflictError
from temporal_state.runs._in_use import HELD_FOR, came_from, may_be_retried
from temporal_state.runs._records import Run
from temporal_state.runs._refs import RunRef
from temporal_state.runs._store import Runs


@dataclass(frozen=True, slots=True)
class EndedRuns:
    """Deletes runs that have ended, if they ended so that their user wants them gone.

    Attributes:
        runs: Where they are.
        statuses: How they must have ended.
        actor: Who deletes them, for the audit.
        in_use: What `Runs.in_use` returned; ``None``: whatever was resumed may be in use.
    """

    runs: Runs
    statuses: Collection[str]
    actor: str
    in_use: Mapping[str, str] | None = None

    async def delete(self, ref: RunRef) -> int:
        """Delete a run, and those that only it needed, unless it is needed; return how many.

        Raises:
            StateError: The store fails, or a record is damaged; what is left can be deleted later.
        """
        run = await self._get(ref.workflow_id, ref.run_id, ref.namespace)
        if run is None or not self._is_over(run) or await self._is_needed(run):
            return 0
        going = {run.run_id: run}
        waiting = [run]
        while waiting:
            async for other in self._needed_by(waiting.pop()):
                if other.run_id not in going:
                    going[other.run_id] = other
                    waiting.append(other)
        return sum([await self._delete(one) for one in reversed(going.values())])

    async def _delete(self, run: Run) -> bool:
        try:
            deleted = await self.runs.delete(
                run.workflow_id,
                run_id=run.run_id,
                namespace=run.namespace,
                actor=self.actor,
                in_use=self.in_use or {},
            )
        except ConflictError:
            return False  # an open run needs it, or is about to be there
        return deleted is not None

    def _is_over(self, run: Run) -> bool:
        if not (run.confirmed and run.ended is not None and run.status in self.statuses):
            return False
        if run.cron and run.status not in {"terminated", "cancelled"}:
            return False
        return not may_be_retried(run) or self.runs.engine.now() - run.ended > HELD_FOR

    async def _is_needed(self, run: Run) -> bool:
        if run.parent is not None:
            parent = run.parent
            starter = await self._get(
                parent["workflow_id"], parent["run_id"], parent.get("namespace", run.namespace)
            )
            if starter is not None and not self._is_over(starter):
                return True
        return await self._was_resumed(run)

    async def _was_resumed(self, run: Run) -> bool:
        if self.in_use is not None:
            return False  # deleting looks at that
        former = [one.ref async for one in came_from(self.runs, run)]
        return any([await self.runs.was_resumed(ref) for ref in (run.ref, *former)])

    async def _needed_by(self, run: Run) -> AsyncIterator[Run]:
        """Yield the runs that a run has started, and the one that continued as it."""
        names = {"run_id": run.run_id, "namespace": run.namespace}
        steps = await self.runs.steps(run.workflow_id, **names)
        for id in sorted({step.id for step in steps if step.kind == "child"}):
            for child in await self.runs.of_workflow(id, namespace=run.namespace):
                started = child.parent is not None and child.parent["run_id"] == run.run_id
                if started and self._is_over(child) and not await self._was_resumed(child):
                    yield child
        if run.continued_from is not None:
            former = await self._get(run.workflow_id, run.continued_from, run.namespace)
            if former is not None and former.status in {"continued_as_new", *self.statuses}:
                yield former

    async def _get(self, workflow_id: str, run_id: str, namespace: str) -> Run | None:
        return await self.runs.get(workflow_id, run_id=run_id, namespace=namespace)
