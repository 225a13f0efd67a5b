"""Operations of a run on its own record."""

from dataclasses import KW_ONLY
from typing import Any

from temporal_state.temporal.requests._base import Request, Scope, request


@request
class Checkpoint(Request):
    """Keep a checkpoint of the calling run. Returns ``{"number": ...}``.

    Its number is no argument: it depends on what was recorded, and a history must not.

    Attributes:
        name: One with a name is never dropped by retention.
        state: What is kept with it; by default the run's own document.
    """

    operation = "own.checkpoint"
    changes = True
    never_reused = True  # a run that resumes another has checkpoints of its own
    _: KW_ONLY
    name: str | None = None
    state: dict[str, Any] | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        run, version, state = scope.recorded_run("a checkpoint"), 0, self.state
        if state is None:
            document = await scope.backend.own_documents_for(scope.caller).one(scope.own()).read()
            if document is not None:
                version, state = document.version, document.value
        number = await scope.backend.runs.keep_checkpoint(
            run.ref,
            scope.call_name() or "",
            name=self.name,
            state=state or {},
            version=version,
            workflow_type=run.workflow_type,
            task_queue=run.task_queue,
            told=run.told,
            at=scope.caller.now,
        )
        return {"number": number}
