"""Reading the records of runs: what was recorded, possibly a flush behind what has happened."""

from dataclasses import KW_ONLY
from typing import Any

from temporal_state.documents import from_text
from temporal_state.runs import to_plain
from temporal_state.temporal.requests._base import Request, Scope, request


@request
class RunsRequest(Request):
    """A question about one run.

    Attributes:
        workflow_id: Which workflow; ``None`` is the calling run.
        run_id: Which run of it; by default the newest.
        namespace: Temporal's namespace.
    """

    _: KW_ONLY
    workflow_id: str | None = None
    run_id: str | None = None
    namespace: str = "default"

    def reading(self) -> "Request":
        """See base class."""
        return self

    def which(self, scope: Scope) -> dict[str, Any]:
        """Return the run that is meant, as `Runs` takes it."""
        if self.workflow_id is not None:
            named = {"workflow_id": self.workflow_id, "namespace": self.namespace}
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
class ListRuns(Request):
    """List runs, the newest first; see `Runs.list`. Returns a list of their fields."""

    operation = "runs.list"
    _: KW_ONLY
    status: str | None = None
    workflow_type: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    namespace: str = "default"

    def reading(self) -> "Request":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        found = await scope.backend.runs.list(
            status=self.status,
            workflow_type=self.workflow_type,
            since=None if self.since is None else from_text(self.since),
            until=None if self.until is None else from_text(self.until),
            limit=self.limit,
            namespace=self.namespace,
        )
        what = f"a page of {self.limit} runs is too large, ask for fewer"
        return scope.fitting(to_plain(found), what)
