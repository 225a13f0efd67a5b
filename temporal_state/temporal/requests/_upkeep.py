"""Taking away what is old or unwanted; regular activities, since they may take their time."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict
from datetime import timedelta
from typing import Any

from temporal_state.errors import InvalidValueError
from temporal_state.temporal.requests._base import Request, Scope, request
from temporal_state.temporal.requests._questions import DAY, to_duration
from temporal_state.temporal.requests._runs import RunsRequest


@request
class DeleteRun(Request):
    """Delete a run with all that belongs to it. Returns what was deleted, or nothing.

    Attributes:
        workflow_id: Which workflow.
        run_id: Which run; by default the newest.
        namespace: Temporal's namespace; by default the calling run's.
        actor: Who asks for it, for the audit.
        force: Delete it although it is running.
    """

    operation = "runs.delete"
    changes = True
    regular = True
    lengthy = True
    _: KW_ONLY
    workflow_id: str
    run_id: str | None = None
    namespace: str | None = None
    actor: str | None = None
    force: bool = False

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        deleted = await scope.backend.runs.delete(
            **{**vars(self), "namespace": self.namespace or scope.namespace}
        )
        return None if deleted is None else asdict(deleted)


@request
class TrimCheckpoints(RunsRequest):
    """Drop all but the newest checkpoints of a run. Returns how many were dropped."""

    operation = "runs.trim_checkpoints"
    changes = True
    regular = True
    lengthy = True
    _: KW_ONLY
    keep: int

    def reading(self) -> None:
        """See base class."""

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        run = await scope.backend.runs.get(**self.which(scope))
        return 0 if run is None else await scope.backend.runs.trim_checkpoints(run.ref, self.keep)


@request
class Upkeep(Request):
    """Something that maintenance does with many runs.

    Attributes:
        older_than_seconds: How old what it is done with must be, or how old by its status.
        namespace: Temporal's namespace; by default the calling run's.
        dry_run: Do nothing, and return how many there would be.
    """

    changes = True
    regular = True
    lengthy = True
    _: KW_ONLY
    older_than_seconds: float | Mapping[str, float]
    namespace: str | None = None
    dry_run: bool = False

    def ages(self) -> timedelta | Mapping[str, timedelta]:
        """Return how old what it is done with must be."""
        if isinstance(self.older_than_seconds, Mapping):
            return {status: _age(age) for status, age in self.older_than_seconds.items()}
        return _age(self.older_than_seconds)


def _age(seconds: Any) -> timedelta:
    age = to_duration(seconds, "older_than_seconds")
    if age is None:
        raise InvalidValueError("older_than_seconds=None would be all there is; give seconds")
    return age


@request
class Cleanup(Upkeep):
    """Delete runs that ended long ago, never a running one. Returns how many.

    Attributes:
        limit: At most that many, so that it ends in time; call it again until it returns less.
        actor: Who asks for it, for the audit.
    """

    operation = "runs.cleanup"
    _: KW_ONLY
    limit: int | None = 100
    actor: str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.maintenance.cleanup(
            older_than=self.ages(),
            namespace=self.namespace or scope.namespace,
            limit=self.limit,
            dry_run=self.dry_run,
            actor=self.actor,
        )


@request
class FailStale(Upkeep):
    """Let runs by hand of which there was no news for long have failed. Returns how many."""

    operation = "runs.fail_stale"

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        age = self.ages()
        if not isinstance(age, timedelta):
            raise InvalidValueError("older_than_seconds has statuses; give one number of seconds")
        return await scope.backend.maintenance.fail_stale(
            older_than=age, namespace=self.namespace or scope.namespace, dry_run=self.dry_run
        )


@request
class FoldFeed(Request):
    """Drop what the feed said of changes long ago. Returns how many entries.

    Attributes:
        older_than_seconds: How long ago; at least a day.
    """

    operation = "runs.fold_feed"
    changes = True
    regular = True
    lengthy = True
    _: KW_ONLY
    older_than_seconds: float = 7 * DAY

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        return await scope.backend.runs.fold_feed(_age(self.older_than_seconds))
