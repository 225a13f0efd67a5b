"""Questions about all runs, which the catalog answers, and about what was said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from datetime import timedelta
from typing import Any

from temporal_state.errors import InvalidValueError
from temporal_state.runs import Listed, RunPage, to_plain
from temporal_state.temporal.requests._base import Request, Scope, check_types, request, time_in

TIMES = ("since", "until", "ended_since", "ended_until")
DAY = 24 * 3600.0


@request
class Question(Request):
    """A question: its fields are the arguments of the method of `Runs` that has its name.

    Attributes:
        namespace: Temporal's namespace; by default the calling run's.
    """

    _: KW_ONLY
    namespace: str | None = None

    def reading(self) -> "Request":
        """See base class."""
        return self

    def arguments(self, scope: Scope) -> dict[str, Any]:
        """Return the arguments of the method; times travel as text, durations as seconds."""
        given = {**vars(self), "namespace": self.namespace or scope.namespace}
        for name in TIMES:
            if given.get(name) is not None:
                given[name] = time_in(given[name], name)
        for name in [name for name in given if name.endswith("_seconds")]:
            seconds = given.pop(name)
            given[name.removesuffix("_seconds")] = to_duration(seconds, name)
        return given

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        check_types(self)
        method = getattr(scope.backend.runs, self.operation.removeprefix("runs."))
        return fitting(scope, await method(**self.arguments(scope)), self.operation)


def to_duration(seconds: Any, name: str) -> timedelta | None:
    """Return a duration that travels as seconds.

    Raises:
        InvalidValueError: It is none.
    """
    try:
        return None if seconds is None else timedelta(seconds=seconds)
    except (TypeError, OverflowError, ValueError) as error:
        raise InvalidValueError(f"{name}={seconds!r} is no duration; give seconds") from error


def fitting(scope: Scope, found: Any, operation: str) -> Any:
    """Return what was found as JSON; a page as ``{"items": [...], "cursor": ...}``."""
    if isinstance(found, RunPage | Listed):
        found = {"items": [*found], "cursor": found.cursor}
    what = f"what {operation} found is too large, ask for less at once, or read it elsewhere"
    return scope.fitting(to_plain(found), what)


@request
class ListRuns(Question):
    """List runs, the newest first. Returns ``{"items": [...], "cursor": ...}``."""

    operation = "runs.list"
    _: KW_ONLY
    status: str | Sequence[str] | None = None
    workflow_type: str | None = None
    workflow_id: str | None = None
    parent: str | None = None
    chain: str | None = None
    kind: str | None = None
    metadata: Mapping[str, Any] | None = None
    since: str | None = None
    until: str | None = None
    ended_since: str | None = None
    ended_until: str | None = None
    limit: int | None = 100
    offset: int = 0
    cursor: str | None = None


@request
class FailedRuns(Question):
    """List runs that failed or timed out, those that ended last first. Returns a page.

    Attributes:
        within_seconds: Only those that ended in so long a time until now.
    """

    operation = "runs.failed"
    _: KW_ONLY
    within_seconds: float | None = DAY
    parent: str | None = None
    workflow_type: str | None = None
    limit: int | None = 100
    cursor: str | None = None


@request
class BackgroundRuns(Question):
    """List the runs that a run has started. Returns a page.

    Attributes:
        workflow_id: Whose children; ``None`` is the calling run.
    """

    operation = "runs.background"
    _: KW_ONLY
    workflow_id: str | None = None
    run_id: str | None = None
    status: str | Sequence[str] | None = None
    limit: int | None = 100
    offset: int = 0
    cursor: str | None = None

    def arguments(self, scope: Scope) -> dict[str, Any]:
        """See base class."""
        given = super().arguments(scope)
        if self.workflow_id is None:
            ref = scope.recorded_run("a question without workflow_id").ref
            given |= {"workflow_id": ref.workflow_id, "namespace": ref.namespace}
            given |= {"run_id": ref.run_id}
        return given


@request
class GetStats(Question):
    """Add up all runs, or those that started in a window. Returns the fields of `Stats`."""

    operation = "runs.stats"
    _: KW_ONLY
    since: str | None = None
    until: str | None = None


@request
class GetStepStats(Question):
    """Add up the steps of closed runs, by name and status. Returns a list of their sums."""

    operation = "runs.step_stats"
    _: KW_ONLY
    name: str | None = None
    status: str | None = None
    since: str | None = None
    until: str | None = None


@request
class ListEvaluations(Question):
    """List judgements, the newest first, of a run or of all. Returns a page."""

    operation = "runs.evaluations"
    _: KW_ONLY
    workflow_id: str | None = None
    run_id: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int = 100
    cursor: str | None = None


@request
class ListAudit(Request):
    """List who deleted and restored what, the oldest first. Returns a page."""

    operation = "audit.list"
    _: KW_ONLY
    since: str | None = None
    until: str | None = None
    limit: int = 100
    cursor: str | None = None

    def reading(self) -> "Request":
        """See base class."""
        return self

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        check_types(self)
        found = await scope.backend.audit.list(
            since=None if self.since is None else time_in(self.since, "since"),
            until=None if self.until is None else time_in(self.until, "until"),
            limit=self.limit,
            cursor=self.cursor,
        )
        return fitting(scope, found, self.operation)
