"""Reconciles records with Temporal, one by one, and counts what came of it."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from temporalio.client import Client

from temporal_state.backend import StateBackend
from temporal_state.errors import NotRecordedError, StateError
from temporal_state.runs import Patch, Run, RunRef
from temporal_state.temporal._capture import CaptureSettings, ValueEncoder
from temporal_state.temporal._decoder import Decoder, UndecodableError
from temporal_state.temporal._filling import Filling
from temporal_state.temporal._inquiry import ENDS, RUNNING, Inquiry
from temporal_state.temporal._recording import Recording
from temporal_state.temporal._wire import MAINTENANCE

WRITER = "reconcile"
PAGE = 100
_RUN_ID = re.compile(r"[0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one record.

    Attributes:
        before: Its status; ``None`` if there was no record.
        after: Its status now.
        steps: How many steps were added or completed.
    """

    workflow_id: str
    run_id: str
    before: str | None
    after: str
    steps: int


@dataclass(slots=True)
class Reconciliation:
    """What came of reconciling some records.

    Attributes:
        looked_at: How many records were looked at.
        running: How many runs are open in Temporal, as recorded.
        changed: What was changed.
        unknown: Runs that Temporal does not know, by workflow id and run id.
        errors: Runs whose record or history could not be read or written, and why.
        calls: How many calls of Temporal were made.
        cursor: Where to go on, if ``limit`` or ``time_limit`` ended it.
    """

    looked_at: int = 0
    running: int = 0
    changed: list[Change] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)
    calls: int = 0
    cursor: str | None = None


@dataclass(slots=True)
class Reconciler:
    """Reconciles records one by one, and counts."""

    inquiry: Inquiry
    backend: StateBackend
    settings: CaptureSettings
    progress: Callable[[Reconciliation], None] | None = None
    result: Reconciliation = field(default_factory=Reconciliation)

    @property
    def client(self) -> Client:
        """The client by which Temporal is asked."""
        return self.inquiry.client

    async def one_asked_for(self, workflow_id: str, run_id: str | None) -> None:
        """Reconcile one run, with all its steps."""
        namespace = self.client.namespace
        run = await self.backend.runs.get(workflow_id, run_id=run_id, namespace=namespace)
        if run is not None:
            await self._one(run.workflow_id, run.run_id, run)
            return
        known = await self.inquiry.described(workflow_id, run_id or "")
        if known is None:
            raise NotRecordedError(
                f"neither the store nor Temporal knows a run {run_id or ''} of {workflow_id!r} in "
                f"{namespace!r}; look at the namespace and the store's app"
            )
        await self._one(workflow_id, known.execution.run_id, None)

    async def all_unsettled(
        self,
        older_than: timedelta,
        limit: int,
        time_limit: timedelta | None,
        cursor: str | None,
    ) -> None:
        """Reconcile the records that may be wrong, the newest first."""
        clock = asyncio.get_running_loop().time
        deadline = None if time_limit is None else clock() + time_limit.total_seconds()
        latest, runs = self.backend.clock() - older_than, self.backend.runs
        while True:
            page = await runs.list(
                unsettled=True,
                namespace=self.client.namespace,
                limit=min(PAGE, limit - self.result.looked_at),
                cursor=cursor,
            )
            await self._several([run for run in page if run.updated <= latest])
            cursor = page.cursor
            late = deadline is not None and clock() > deadline
            if cursor is None or late or self.result.looked_at >= limit:
                break
        self.result.cursor = cursor

    async def all_missing(self, limit: int, recording: Recording) -> None:
        """Make records of runs that have none, as far as Temporal lists them.

        Not of those that are not to be recorded, maintenance and what ``recording`` excludes, nor
        of those that were deleted on their end.
        """
        runs = self.backend.runs
        async for known in self.inquiry.listed(""):
            id, run_id = known.execution.workflow_id, known.execution.run_id
            if self.result.looked_at >= limit:
                return
            if known.type.name in {MAINTENANCE, *recording.exclude}:
                continue
            if ENDS.get(known.status) in recording.delete_ended:
                continue
            if await runs.get(id, run_id=run_id, namespace=self.client.namespace) is None:
                await self._one(id, run_id, None)

    async def _several(self, runs: Sequence[Run]) -> None:
        ids = [run.run_id for run in runs if _RUN_ID.fullmatch(run.run_id)]
        known: dict[str, int] = {}
        if len(ids) > 1:
            quoted = ", ".join(f"'{id}'" for id in ids)
            async for info in self.inquiry.listed(f"RunId IN ({quoted})"):
                known[info.execution.run_id] = info.status
        for run in runs:
            if run.status == "running" and known.get(run.run_id) == RUNNING and not run.paused:
                self.result.looked_at += 1
                self.result.running += 1
                self._tell()
            else:
                await self._one(run.workflow_id, run.run_id, run)

    async def _one(self, workflow_id: str, run_id: str, run: Run | None) -> None:
        self.result.looked_at += 1
        try:
            await self._settle(workflow_id, run_id, run)
        except StateError as error:
            if error.retryable:
                raise
            self.result.errors.append((workflow_id, run_id, str(error)))
        self._tell()

    async def _settle(self, workflow_id: str, run_id: str, run: Run | None) -> None:
        history = await self.inquiry.history(workflow_id, run_id)
        if history is None:
            self.result.unknown.append((workflow_id, run_id))
            if run is not None and run.known_to_temporal:
                await self.backend.runs.mark_unknown(run.ref)
            return
        runs = self.backend.runs
        steps = await runs.steps(workflow_id, run_id=run_id, namespace=self.client.namespace)
        ref = RunRef(self.client.namespace, workflow_id, run_id, history.started)
        filling = Filling(
            ref if run is None else run.ref,
            history,
            run,
            steps,
            self.settings,
            Decoder(self.client.data_converter),
        )
        patch = await self._patch(filling)
        self.result.running += history.end is None
        if len(patch) == 0:
            return
        loop = asyncio.get_running_loop()
        await ValueEncoder(self.settings, self.client.data_converter, loop).encode(patch)
        engine = self.backend.documents.engine
        await engine.to_the_end(runs.write(patch, WRITER), f"reconciling run {run_id!r}")
        before = None if run is None else run.status
        after = before if patch.header is None else patch.header["status"]
        change = Change(workflow_id, run_id, before, str(after), len(patch.steps))
        self.result.changed.append(change)

    async def _patch(self, filling: Filling) -> Patch:
        try:
            return await filling.patch()
        except UndecodableError as error:
            why = f"values are left out, since the codec cannot decode them ({error})"
            self.result.errors.append((filling.ref.workflow_id, filling.ref.run_id, why))
            nothing = CaptureSettings("none")
            return await replace(filling, settings=nothing, decoder=Decoder(None)).patch()

    def _tell(self) -> None:
        self.result.calls = self.inquiry.pace.calls
        if self.progress is not None:
            self.progress(self.result)
