"""Questions about all runs, by the names of `StateBackend.runs`; see `state.runs`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents import plain, plain_object
from temporal_state.runs import (
    AuditLine,
    Evaluation,
    Listed,
    Run,
    RunPage,
    Stats,
    StepStats,
    from_plain,
    to_plain,
)
from temporal_state.state._context import perform_here
from temporal_state.temporal.requests import (
    BackgroundRuns,
    FailedRuns,
    GetStats,
    GetStepStats,
    ListAudit,
    ListEvaluations,
    ListRuns,
    Request,
)

DAY = timedelta(days=1)


async def list(
    *,
    status: str | Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    ended_since: datetime | None = None,
    ended_until: datetime | None = None,
    **more: Any,
) -> RunPage:
    """Return runs, the newest first, by all the filters of `Runs.list`."""
    times = {"since": since, "until": until, "ended_since": ended_since, "ended_until": ended_until}
    wanted = None if metadata is None else plain_object(dict(metadata), "metadata")
    asked = {name: to_plain(time) for name, time in times.items()}
    return await _page(ListRuns(status=_statuses(status), metadata=wanted, **asked, **more))


async def failed(*, within: timedelta | None = DAY, **more: Any) -> RunPage:
    """Return runs that failed or timed out, those that ended last first; see `Runs.failed`."""
    return await _page(FailedRuns(within_seconds=to_plain(within), **more))


async def background(
    workflow_id: str | None = None, *, status: str | Iterable[str] | None = None, **more: Any
) -> RunPage:
    """Return the runs that a run, by default the calling one, started; see `Runs.background`."""
    return await _page(BackgroundRuns(workflow_id=workflow_id, status=_statuses(status), **more))


async def stats(
    *, since: datetime | None = None, until: datetime | None = None, namespace: str | None = None
) -> Stats:
    """Return sums of all runs, or of those that started in a window; see `Runs.stats`."""
    window = {"since": to_plain(since), "until": to_plain(until)}
    return from_plain(Stats, await perform_here(GetStats(**window, namespace=namespace)))


async def step_stats(
    *, since: datetime | None = None, until: datetime | None = None, **more: Any
) -> Sequence[StepStats]:
    """Return sums of the steps of closed runs, by name and status; see `Runs.step_stats`."""
    request = GetStepStats(since=to_plain(since), until=to_plain(until), **more)
    return [from_plain(StepStats, one) for one in await perform_here(request)]


async def evaluations(
    workflow_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    **more: Any,
) -> Listed[Evaluation]:
    """Return judgements, of one workflow's run or of all; see `Runs.evaluations`."""
    window = {"since": to_plain(since), "until": to_plain(until)}
    page = await perform_here(ListEvaluations(workflow_id=workflow_id, **window, **more))
    return Listed([from_plain(Evaluation, one) for one in page["items"]], page["cursor"])


async def audit(
    *, since: datetime | None = None, until: datetime | None = None, **more: Any
) -> Listed[AuditLine]:
    """Return who deleted and restored what, the oldest first; see `Audit.list`."""
    page = await perform_here(ListAudit(since=to_plain(since), until=to_plain(until), **more))
    return Listed([from_plain(AuditLine, one) for one in page["items"]], page["cursor"])


def _statuses(status: str | Iterable[str] | None) -> Any:
    if status is None or isinstance(status, str):
        return status
    return plain(sorted(status), "status")


async def _page(request: Request) -> RunPage:
    page = await perform_here(request)
    return RunPage((from_plain(Run, run) for run in page["items"]), page["cursor"])
