"""What becomes of runs afterwards: resumed, reconciled, or taken away; see `state.runs`."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from temporal_state import runs, temporal
from temporal_state.documents import plain
from temporal_state.runs import from_plain, to_plain
from temporal_state.state._context import perform_here
from temporal_state.temporal.requests import (
    Cleanup,
    DeleteRun,
    FailStale,
    FoldFeed,
    IsFresh,
    Reconciled,
    RecoverRuns,
    Resume,
    TrimCheckpoints,
)

if TYPE_CHECKING:
    from temporal_state.runs import DeletedRun
    from temporal_state.temporal import Freshness, Reconciliation


class StartedRun(TypedDict):
    """Which run was started."""

    workflow_id: str
    run_id: str


async def delete(
    workflow_id: str,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
    actor: str | None = None,
    force: bool = False,
) -> "DeletedRun | None":
    """Delete a run with all that belongs to it; see `Runs.delete`."""
    request = DeleteRun(
        workflow_id=workflow_id, run_id=run_id, namespace=namespace, actor=actor, force=force
    )
    found = await perform_here(request)
    return None if found is None else from_plain(runs.DeletedRun, found)


async def trim_checkpoints(workflow_id: str | None = None, *, keep: int, **more: Any) -> int:
    """Drop all but the newest checkpoints of a run, by default the calling one; return how many."""
    return int(await perform_here(TrimCheckpoints(workflow_id=workflow_id, keep=keep, **more)))


async def cleanup(
    *, older_than: timedelta | Mapping[str, timedelta], limit: int | None = 100, **more: Any
) -> int:
    """Delete runs that ended long ago, and return how many; see `Maintenance.cleanup`.

    At most ``limit`` at once, so that each call ends in time; go on until it returns fewer.
    """
    request = Cleanup(older_than_seconds=to_plain(older_than), limit=limit, **more)
    return int(await perform_here(request))


async def fail_stale(*, older_than: timedelta, **more: Any) -> int:
    """Let runs by hand without news have failed; return how many. See `Maintenance.fail_stale`."""
    return int(await perform_here(FailStale(older_than_seconds=to_plain(older_than), **more)))


async def fold_feed(*, older_than: timedelta = timedelta(days=7)) -> int:
    """Drop what the feed said of changes long ago; return how many. See `Runs.fold_feed`."""
    return int(await perform_here(FoldFeed(older_than_seconds=to_plain(older_than))))


async def reconcile(
    workflow_id: str | None = None, *, older_than: timedelta = timedelta(0), **more: Any
) -> "Reconciliation":
    """Make records say what Temporal says; see `temporal_state.temporal.reconcile`."""
    request = Reconciled(workflow_id=workflow_id, older_than_seconds=to_plain(older_than), **more)
    return from_plain(temporal.Reconciliation, await perform_here(request))


async def freshness(workflow_id: str, run_id: str | None = None) -> "Freshness":
    """Return how the record of a run stands to its history."""
    request = IsFresh(workflow_id=workflow_id, run_id=run_id)
    return from_plain(temporal.Freshness, await perform_here(request))


async def resume(
    workflow_id: str,
    run_id: str | None = None,
    *,
    namespace: str | None = None,
    from_step: int | None = None,
    lost: bool = False,
    args: Sequence[Any] | None = None,
    **options: Any,
) -> StartedRun:
    """Start a run anew that takes over what another has completed; see `temporal_state.resume`.

    Give ``run_id``, so that a call that is repeated returns the run that it has started before.
    Input and options are JSON values.
    """
    request = Resume(
        workflow_id=workflow_id,
        run_id=run_id,
        namespace=namespace,
        from_step=from_step,
        lost=lost,
        args=None if args is None else plain([*args], "args"),
        options=plain(options, "options"),
    )
    found: StartedRun = await perform_here(request)
    return found


async def recover(*, namespace: str | None = None, **filters: Any) -> dict[str, Any]:
    """Resume the runs that failed or were lost; see `temporal_state.recover` for the filters.

    Returns ``{"resumed": [...], "refused": [...], "complete": ...}``.
    """
    chosen = {name: plain(to_plain(value), name) for name, value in filters.items()}
    found: dict[str, Any] = await perform_here(RecoverRuns(namespace=namespace, filters=chosen))
    return found
