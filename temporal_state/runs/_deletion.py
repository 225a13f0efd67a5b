"""Deleting a run with all that belongs to it.

The run's own object goes last, so that what a crash left is found and deleted by the next call.
"""

from dataclasses import dataclass

from temporal_state.runs._audit import Audit
from temporal_state.runs._evaluations import Evaluations
from temporal_state.runs._objects import Objects
from temporal_state.runs._own import ChainRef, OwnDocuments
from temporal_state.runs._records import Run
from temporal_state.runs._refs import RunLayout


@dataclass(frozen=True, slots=True)
class DeletedRun:
    """What was deleted.

    Attributes:
        namespace: The run's namespace.
        workflow_id: Its workflow id.
        run_id: Its run id.
        status: What it was.
        objects: How many objects its record had, with steps, values and checkpoints.
        evaluations: How many judgements of it there were.
        document: Whether its own document was deleted with it.
    """

    namespace: str
    workflow_id: str
    run_id: str
    status: str
    objects: int
    evaluations: int
    document: bool


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes runs."""

    objects: Objects
    places: RunLayout
    own: OwnDocuments
    evaluations: Evaluations
    audit: Audit

    async def delete(
        self, run: Run, home: ChainRef, *, actor: str | None, with_document: bool
    ) -> DeletedRun:
        """Delete a run, and its own document, which is that of ``home``, if that is asked for."""
        folder, last = self.places.folder(run.ref), self.places.run(run.ref)
        keys = [key for key in await self.objects.keys(folder) if key != last]
        judged = await self.evaluations.values_of(folder)
        chain = self.own.one(home)
        document = with_document and await chain.exists()
        deleted = DeletedRun(
            run.namespace,
            run.workflow_id,
            run.run_id,
            run.status,
            objects=len(keys) + 1,
            evaluations=len(judged),
            document=document,
        )
        await self.audit.write(
            "run.delete",
            {name: getattr(run, name) for name in ("namespace", "workflow_id", "run_id")},
            actor=actor,
            details={name: getattr(deleted, name) for name in ("status", "objects", "document")},
        )
        await self.objects.delete([self.evaluations.key_of(value) for value in judged])
        await self.objects.delete(keys)
        if with_document:
            loops = self.own.layout.loops(home.namespace, home.workflow_id, home.chain)
            await self.objects.delete([*await self.objects.keys(loops), chain.address.key])
        await self.own.leave(home, run.ref)
        mark = self.places.started_by_hand(run.namespace, run.workflow_id, run.run_id)
        await self.objects.delete([mark, last])
        return deleted
