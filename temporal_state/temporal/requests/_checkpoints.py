"""Operations on what is recorded of runs, from within a run."""

import asyncio
from dataclasses import KW_ONLY
from typing import TYPE_CHECKING, Any

from temporal_state.runs import MAX_FORMER, Checkpoint, Run, resolve, to_plain
from temporal_state.temporal.requests._base import Request, Scope, request

if TYPE_CHECKING:
    from temporal_state.runs import Runs

PATIENCE = 5.0
NAP = 0.1


@request
class LastCheckpoint(Request):
    """Read the newest checkpoint before this run. Returns a JSON object, or nothing.

    It is one of its chain's runs before it; of a chain's first run, of the run that it resumes, or
    of the one that that run had resumed.

    Attributes:
        number: The number that it has at least, if that is known. It may just be on its way to the
            store, so it is waited for, though not for long: the store may never have got it.
    """

    operation = "own.last_checkpoint"
    never_reused = True
    _: KW_ONLY
    number: int = 0

    def reading(self) -> "LastCheckpoint":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        naps = PATIENCE / NAP
        while True:
            found = await self._newest(scope)
            if (found.number if found is not None else 0) >= self.number or naps <= 0:
                break
            naps -= 1
            await asyncio.sleep(NAP)
        if found is None:
            return None
        return scope.fitting(to_plain(found), "the document of the last checkpoint is too large")

    async def _newest(self, scope: Scope) -> Checkpoint | None:
        runs, this = scope.backend.runs, scope.calling_run()
        for run in await runs.of_workflow(this.workflow_id, namespace=this.namespace):
            if run.chain == this.chain and run.run_id != this.run_id:
                found = await _last_of(runs, run)
                if found is not None:
                    return found
        source = this.source
        for _ in range(MAX_FORMER):
            former = None if source is None else await resolve(runs, source)
            found = None if former is None else await _last_of(runs, former)
            if found is not None or former is None:
                return found
            source = former.resumed_from  # it ended before it had one
        return None


async def _last_of(runs: "Runs", run: Run) -> Checkpoint | None:
    return await runs.load_checkpoint(run.workflow_id, run_id=run.run_id, namespace=run.namespace)
