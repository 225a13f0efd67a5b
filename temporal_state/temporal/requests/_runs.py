"""Reading the records of runs: what was recorded, possibly a flush behind what has happened."""

from dataclasses import KW_ONLY
from typing import Any

from temporal_state.runs import to_plain
from temporal_state.temporal.requests._base import Request, Scope, request


@request
class RunsRequest(Request):
    """A question about one run.

    Attributes:
        workflow_id: Which workflow; ``None`` is the calling run.
        run_id: Which run of it; by default the newest.
        namespace: Temporal's namespace; by default the calling run's.
    """

    _: KW_ONLY
    workflow_id: str | None = None
    run_id: str | None = None
    namespace: str | None = None

    def reading(self) -> "Request | None":
        """See base class."""
        return self

    def which(self, scope: Scope) -> dict[str, Any]:
        """Return the run that is meant, as `Runs` takes it."""
        if self.workflow_id is not None:
            named = {
                "workflow_id": self.workflow_id,
                "namespace": self.namespace or scope.namespace,
            }
            return {**named, "run_id": self.run_id}
        ref = scope.recorded_run("a question without workflow_id").ref
        return {"workflow_id": ref.workflow_id, "namespace": ref.namespace, "run_id": ref.run_id}

    def fitting(self, scope: Scope, result: Any) -> Any:
        """Return a result as JSON, if it is small enough."""
        what = f"{self.operation} of workflow {self.workflow_id!r} is too large, read it elsewhere"
        return scope.fitting(to_plain(result), what)


@request
class GetRun(RunsRequest):
    """Read a run. Returns its fields, or nothing when there is none."""

    operation = "runs.get"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return self.fitting(scope, await scope.backend.runs.get(**self.which(scope)))


@request
class GetSteps(RunsRequest):
    """Read a run's steps. Returns a list of their fields."""

    operation = "runs.steps"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return self.fitting(scope, await scope.backend.runs.steps(**self.which(scope)))


@request
class GetStep(RunsRequest):
    """Read one step of a run, by its number. Returns its fields, or nothing."""

    operation = "runs.get_step"
    _: KW_ONLY
    number: int

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.runs.get_step(number=self.number, **self.which(scope))
        return self.fitting(scope, found)


@request
class GetHistory(RunsRequest):
    """Read a run's checkpoints. Returns a list of their fields."""

    operation = "runs.history"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return self.fitting(scope, await scope.backend.runs.history(**self.which(scope)))


@request
class GetSpans(RunsRequest):
    """Read a run's spans, its steps among them. Returns a list of their fields."""

    operation = "runs.spans"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return self.fitting(scope, await scope.backend.runs.spans(**self.which(scope)))


@request
class GetDocument(RunsRequest):
    """Read the own document of a run. Returns a JSON object."""

    operation = "runs.document"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return self.fitting(scope, await scope.backend.runs.document(**self.which(scope)))


@request
class GetRunsOf(RunsRequest):
    """Read all runs of a workflow id, the newest first. Returns a list of their fields."""

    operation = "runs.of_workflow"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        which = self.which(scope)
        del which["run_id"]
        return self.fitting(scope, await scope.backend.runs.of_workflow(**which))


@request
class LoadCheckpoint(RunsRequest):
    """Read one checkpoint of a run, by default the latest. Returns its fields, or nothing.

    Attributes:
        which_one: Its number, or its name.
    """

    operation = "runs.load_checkpoint"
    _: KW_ONLY
    which_one: int | str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        which = self.which(scope)
        return self.fitting(
            scope, await scope.backend.runs.load_checkpoint(which=self.which_one, **which)
        )


@request
class DiffCheckpoints(RunsRequest):
    """Compare two checkpoints of a run, each by number or name. Returns what changed."""

    operation = "runs.diff"
    _: KW_ONLY
    a: int | str
    b: int | str

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.runs.diff(a=self.a, b=self.b, **self.which(scope))
        return self.fitting(scope, found)
