"""Resumes the runs that a crash or a bug has left behind, each once, and says what became of which.

The record tells which ones come into question; whether a run is dead is Temporal's to say. Only the
newest run of a workflow id is resumed: after an older one, life went on.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from temporal_state.backend import StateBackend
from temporal_state.errors import ConfigurationError
from temporal_state.runs import Run
from temporal_state.temporal._plan import describe, plan_resume
from temporal_state.temporal._resume import start

log = logging.getLogger("temporal_state")

LOST = "lost"
DEAD = ("failed", "timed_out", "terminated", LOST)
STATUSES = {*DEAD, "cancelled"}


@dataclass(frozen=True, kw_only=True)
class Recover:
    """Which runs are resumed, and how fast.

    Attributes:
        status: ``failed``, ``timed_out``, ``terminated``, ``cancelled``, or ``lost``: the record
            says that it is running, but Temporal that it failed, timed out or was terminated.
        workflow_type: Only runs of this type.
        task_queue: Only runs on this task queue.
        since: Only those started at or after this time.
        until: Only those started before this time.
        limit: At most so many runs of each status are looked at, the newest first.
        at_once: So many are resumed at the same time.
        per_second: At most so many runs are asked Temporal for in a second.
        timeout: How long all of it may take; what was resumed by then is.
    """

    status: Collection[str] = DEAD
    workflow_type: str | None = None
    task_queue: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    at_once: int = 4
    per_second: float = 10
    timeout: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        unknown = set(self.status) - STATUSES
        if isinstance(self.status, str) or unknown:
            raise ConfigurationError(
                f"status={self.status!r} cannot be recovered from; give several of "
                f"{', '.join(sorted(STATUSES))}"
            )
        if self.at_once < 1 or self.limit < 1 or self.per_second <= 0:
            raise ConfigurationError(f"{self!r} has a limit below its least sensible value")


@dataclass(slots=True)
class Recovery:
    """What became of the runs that came into question.

    Attributes:
        resumed: The handles of the new runs.
        refused: Runs that were not resumed, and why.
        looked_at: How many runs were looked at.
        complete: Whether all were looked at before the time was up.
    """

    resumed: list[WorkflowHandle[Any, Any]] = field(default_factory=list)
    refused: list[tuple[Run, str]] = field(default_factory=list)
    looked_at: int = 0
    complete: bool = False


async def recover(
    client: Client,
    backend: StateBackend,
    *,
    namespace: str | None = None,
    progress: Callable[[Recovery], None] | None = None,
    **filters: Any,
) -> Recovery:
    """Resume the runs that failed, timed out, were terminated or are lost.

    Whoever calls this twice resumes a run once: the second finds the new run instead. A resumed run
    that fails again is resumed again by the next call.

    Args:
        client: Where the new runs start.
        backend: The store with the records.
        namespace: Of the old runs; by default the client's.
        progress: Is called after each run, with what became of those so far.
        **filters: The attributes of `Recover`: which runs, and how fast.

    Raises:
        StoreError: The store cannot tell which runs come into question.
        ConfigurationError: There is no such filter.
    """
    known = {attribute.name for attribute in fields(Recover)}
    if unknown := filters.keys() - known:
        raise ConfigurationError(
            f"recover() has no filter {', '.join(sorted(unknown))}; it has {', '.join(known)}"
        )
    chosen = Recover(**filters)
    work = Recovering(client, backend, chosen, namespace or client.namespace, progress)
    return await work.run()


@contextlib.asynccontextmanager
async def recovering(
    worker: Worker, backend: StateBackend, chosen: Recover | None
) -> AsyncIterator[None]:
    """Recover runs of a worker's task queue beside it, for as long as it runs at most."""
    if chosen is None:
        yield
        return
    task = asyncio.create_task(_recover_quietly(worker, backend, chosen))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _recover_quietly(worker: Worker, backend: StateBackend, chosen: Recover) -> None:
    chosen = replace(chosen, task_queue=chosen.task_queue or worker.task_queue)
    try:
        found = await Recovering(worker.client, backend, chosen, worker.client.namespace).run()
    except Exception:
        log.exception("the worker goes on, but could not find out which runs to recover")
        return
    log.info(
        "%d runs of %s resumed, %d refused",
        len(found.resumed),
        chosen.task_queue,
        len(found.refused),
    )
    for run, why in found.refused:
        log.warning("run %s of %r is not resumed: %s", run.run_id, run.workflow_id, why)


@dataclass(slots=True)
class Recovering:
    """One recovery on its way."""

    client: Client
    backend: StateBackend
    chosen: Recover
    namespace: str
    progress: Callable[[Recovery], None] | None = None
    recovery: Recovery = field(default_factory=Recovery)
    _next: float = 0.0

    async def run(self) -> Recovery:
        """Resume what comes into question; return what became of it."""
        limit = asyncio.timeout(self.chosen.timeout.total_seconds())
        try:
            async with limit:
                runs = iter(await self._candidates())
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(self.chosen.at_once):
                        tasks.create_task(self._one_after_the_other(runs))
            self.recovery.complete = True
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning("the recovery of runs was ended after %s", self.chosen.timeout)
        return self.recovery

    async def _candidates(self) -> Sequence[Run]:
        found: list[Run] = []
        for status in self.chosen.status:
            found += await self.backend.runs.list(
                status="running" if status == LOST else status,
                workflow_type=self.chosen.workflow_type,
                since=self.chosen.since,
                until=self.chosen.until,
                limit=self.chosen.limit,
                namespace=self.namespace,
            )
        queue = self.chosen.task_queue
        return [
            run
            for run in found
            if run.kind == "workflow" and (queue is None or run.task_queue == queue)
        ]

    async def _one_after_the_other(self, runs: Any) -> None:
        for run in runs:
            try:
                await self._resume(run)
            except Exception as error:  # noqa: BLE001 the others shall not suffer for this one
                self.recovery.refused.append((run, str(error) or repr(error)))
            self.recovery.looked_at += 1
            if self.progress is not None:
                self.progress(self.recovery)

    async def _resume(self, run: Run) -> None:
        newest = await self.backend.runs.get(run.workflow_id, namespace=self.namespace)
        if newest is None or newest.run_id != run.run_id:
            return  # life went on
        await self._my_turn()
        if run.status == "running" and not await self._may_be_dead(run):
            return
        plan = await plan_resume(
            self.client, self.backend, run.workflow_id, namespace=self.namespace
        )
        if plan.run.run_id != run.run_id:
            return  # life went on where nobody recorded it
        self.recovery.resumed.append(await start(self.client, self.backend, plan))

    async def _may_be_dead(self, run: Run) -> bool:
        """Return whether Temporal says so, or cannot tell; then planning finds the words."""
        known = await describe(self.client, run.workflow_id, run.run_id, self.namespace)
        return known is None or known.end in {*DEAD, *self.chosen.status}

    async def _my_turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._next = max(self._next + 1 / self.chosen.per_second, loop.time())
        await asyncio.sleep(self._next - loop.time())
