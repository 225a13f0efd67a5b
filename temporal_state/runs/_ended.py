"""Deleting runs as soon as they have ended, for users who keep no record of what went well.

Only what nobody can need: not what an open run resumes, or what came from that; not a child of a
run that stays, since whoever resumes that one takes over from its children; not an attempt after
which Temporal may make another. Workers ask the records only, since for the catalog many of them
would have to build one first. So what was resumed at all stays, for maintenance, which asks it.
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
        """Delete a run, and those that it had started, unless it may be needed; return how many.

        Raises:
            StateError: The store fails, or a record is damaged; what is left can be deleted later.
        """
        run = await self._get(ref.workflow_id, ref.run_id, ref.namespace)
        if run is None or not self._is_over(run) or await self._is_needed(run):
            return 0
        children = [child async for child in self._children(run)]
        try:
            found = await self.runs.delete(
                run.workflow_id,
                run_id=run.run_id,
                namespace=run.namespace,
                actor=self.actor,
                in_use=self.in_use or {},
            )
        except ConflictError:
            return 0  # an open run needs it, or is about to be there
        return (found is not None) + sum([await self.delete(child) for child in children])

    def _is_over(self, run: Run) -> bool:
        if not (run.confirmed and run.ended is not None and run.status in self.statuses):
            return False
        long_ago = self.runs.engine.now() - run.ended > HELD_FOR
        return long_ago or not may_be_retried(run)

    async def _is_needed(self, run: Run) -> bool:
        if run.parent is not None:
            parent = run.parent
            starter = await self._get(
                parent["workflow_id"], parent["run_id"], parent.get("namespace", run.namespace)
            )
            if starter is not None and not self._is_over(starter):
                return True
        if self.in_use is not None:
            return False  # deleting looks at that
        former = [one.ref async for one in came_from(self.runs, run)]
        return any([await self.runs.was_resumed(ref) for ref in (run.ref, *former)])

    async def _children(self, run: Run) -> AsyncIterator[RunRef]:
        names = {"run_id": run.run_id, "namespace": run.namespace}
        steps = await self.runs.steps(run.workflow_id, **names)
        for id in sorted({step.id for step in steps if step.kind == "child"}):
            for child in await self.runs.of_workflow(id, namespace=run.namespace):
                if child.parent is not None and child.parent["run_id"] == run.run_id:
                    yield child.ref

    async def _get(self, workflow_id: str, run_id: str, namespace: str) -> Run | None:
        return await self.runs.get(workflow_id, run_id=run_id, namespace=namespace)
