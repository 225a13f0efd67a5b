"""What needs Temporal as well as the store: does a record say what Temporal says; going on with it.

They use the client of the activity's worker, and keep of values what its plugin keeps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict
from typing import TYPE_CHECKING, Any

from temporalio import activity

from temporal_state import temporal
from temporal_state.errors import ConflictError, ContextError, InvalidValueError
from temporal_state.runs import to_plain
from temporal_state.temporal.requests._base import Request, Scope, request, time_in
from temporal_state.temporal.requests._questions import to_duration

if TYPE_CHECKING:
    from temporalio.client import Client


def client_here(operation: str) -> "Client":
    """Return the client of the calling activity's worker.

    Raises:
        ContextError: There is none.
    """
    try:
        return activity.client()
    except RuntimeError as error:
        raise ContextError(
            f"{operation} asks Temporal, and no client is known here ({error}); call it in "
            "workflow code or in an async activity, elsewhere the function of this name in "
            "temporal_state, with a client"
        ) from error


@request
class Reconciled(Request):
    """Make records say what Temporal says. Returns what came of it; see `Reconciliation`.

    Attributes:
        workflow_id: Only this one; by default all records that are not settled.
        run_id: Only this run of it; by default the newest.
        older_than_seconds: Only records without news for so long.
        calls_per_second: At most so many calls of Temporal.
        limit: Look at no more than so many records; ``cursor`` says where to go on.
        cursor: Go on behind the call that returned it.
    """

    operation = "runs.reconcile"
    changes = True
    regular = True
    lengthy = True
    never_reused = True
    _: KW_ONLY
    workflow_id: str | None = None
    run_id: str | None = None
    older_than_seconds: float = 0
    calls_per_second: float = 10
    limit: int = 100
    cursor: str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        age = to_duration(self.older_than_seconds, "older_than_seconds")
        if age is None:
            raise InvalidValueError("older_than_seconds=None is no duration; give 0 for any age")
        found = await temporal.reconcile(
            client_here(self.operation),
            scope.backend,
            self.workflow_id,
            self.run_id,
            older_than=age,
            calls_per_second=self.calls_per_second,
            limit=self.limit,
            cursor=self.cursor,
            recording=scope.recording or temporal.Recording(capture="none"),
        )
        return scope.fitting(to_plain(found), "what became of so many runs is too large")


@request
class IsFresh(Request):
    """Say how the record of a run stands to Temporal's history. Returns its `Freshness`."""

    operation = "runs.freshness"
    regular = True
    _: KW_ONLY
    workflow_id: str
    run_id: str | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        client = client_here(self.operation)
        return asdict(
            await temporal.freshness(client, scope.backend, self.workflow_id, self.run_id)
        )


@request
class Resume(Request):
    """Start a run anew that takes over what another has completed. Returns which run it is.

    Attributes:
        workflow_id: Whose run is resumed.
        run_id: Which one; by default the newest. With it, a call that is repeated returns the run
            that the first one has started.
        namespace: Of the old run; by default the worker's.
        from_step: Steps from this number on run again.
        lost: Resume also a run without an end that Temporal does not know.
        args: The new run's input, if it differs from the recorded one.
        options: Of Temporal's start, where they differ: ``id``, ``task_queue`` and so on.
    """

    operation = "runs.resume"
    changes = True
    regular = True
    lengthy = True
    never_reused = True
    _: KW_ONLY
    workflow_id: str
    run_id: str | None = None
    namespace: str | None = None
    from_step: int | None = None
    lost: bool = False
    args: Sequence[Any] | None = None
    options: Mapping[str, Any] | None = None

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        client = client_here(self.operation)
        given = {**(self.options or {}), "args": self.args, "namespace": self.namespace}
        try:
            handle = await temporal.resume(
                client,
                scope.backend,
                self.workflow_id,
                self.run_id,
                from_step=self.from_step,
                lost=self.lost,
                **given,
            )
        except ConflictError:
            known = await self._resumed_by(scope, client.namespace)
            if known is None:
                raise
            return known
        return {"workflow_id": handle.id, "run_id": handle.result_run_id}

    async def _resumed_by(self, scope: Scope, namespace: str) -> Any:
        id = (self.options or {}).get("id", self.workflow_id)
        newest = await scope.backend.runs.get(id, namespace=namespace)
        source = None if newest is None else newest.resumed_from
        if newest is None or source is None or source.run_id != self.run_id:
            return None
        return {"workflow_id": newest.workflow_id, "run_id": newest.run_id}


@request
class RecoverRuns(Request):
    """Resume the runs that failed, timed out, were terminated or are lost, each once.

    Returns ``{"resumed": [...], "refused": [...], "complete": ...}``.

    Attributes:
        namespace: Of the old runs; by default the worker's.
        filters: Which ones, and how fast: the attributes of `Recover`; ``timeout`` in seconds.
    """

    operation = "runs.recover"
    changes = True
    regular = True
    lengthy = True
    never_reused = True
    _: KW_ONLY
    namespace: str | None = None
    filters: Mapping[str, Any]

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        filters = dict(self.filters)
        for name in ("since", "until"):
            if filters.get(name) is not None:
                filters[name] = time_in(filters[name], name)
        if "timeout" in filters:
            filters["timeout"] = to_duration(filters["timeout"], "timeout")
        client = client_here(self.operation)
        found = await temporal.recover(client, scope.backend, namespace=self.namespace, **filters)
        return {
            "resumed": [
                {"workflow_id": one.id, "run_id": one.result_run_id} for one in found.resumed
            ],
            "refused": [
                {"workflow_id": run.workflow_id, "run_id": run.run_id, "reason": reason}
                for run, reason in found.refused
            ],
            "complete": found.complete,
        }
