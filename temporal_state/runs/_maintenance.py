"""Keeping a store tidy: what is old goes, what has stopped is said to have failed.

One call does all parts in turn, each in pieces of bounded size, so that it can be stopped between
any two and goes on where it was. A part that fails is reported and hides no other, and so does one
run whose record is damaged. What a run is still doing is never taken away: a running run stays,
whatever its age, and so do snapshots.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents import Documents, Keys
from temporal_state.errors import ConflictError, InvalidValueError, StateError
from temporal_state.runs._ended import EndedRuns
from temporal_state.runs._records import Failure, Run
from temporal_state.runs._report import Piece, Report, Tally
from temporal_state.runs._retention import Retention
from temporal_state.runs._store import Runs

ACTOR = "maintenance"
OPEN = frozenset({"scheduled", "started"})
PIECE = 1000
MOMENT = timedelta(minutes=1)
"""So old is what goes on its end, which workers do sooner, and may be doing."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Keeps the store of one application (and tenant) tidy."""

    documents: Documents
    keys: Keys
    runs: Runs

    async def run(
        self, retention: Retention | None = None, *, time_limit: timedelta | None = None
    ) -> Report:
        """Do all that is due; a part that fails is reported, and the others are done.

        Args:
            retention: What is kept of runs; by default all is.
            time_limit: Begin with no more pieces after so long.
        """
        clock = asyncio.get_running_loop().time
        end = None if time_limit is None else clock() + time_limit.total_seconds()
        report = Report()
        for part in PARTS:
            cursor, begun = None, False
            try:
                while not begun or cursor is not None:
                    if end is not None and clock() > end:
                        report.unfinished.append(part)
                        break
                    piece = await self.piece(part, retention or Retention(), cursor)
                    cursor, begun = piece.cursor, True
                    report.add(part, piece)
            except StateError as error:
                report.errors[part] = f"{type(error).__name__}: {error}"
        return report

    async def piece(
        self, part: str, retention: Retention, cursor: str | None = None, *, limit: int = PIECE
    ) -> Piece:
        """Do one piece of one part.

        Args:
            part: One of `PARTS`.
            retention: What is kept of runs.
            cursor: The ``cursor`` of the piece before.
            limit: So many records or objects at most are looked at or removed.

        Raises:
            InvalidValueError: There is no such part.
            StateError: It failed; what it did so far stays.
        """
        if part not in PARTS:
            raise InvalidValueError(f"part={part!r} is none of {', '.join(PARTS)}")
        return await PARTS[part](self, retention, cursor, limit)

    async def cleanup(
        self,
        *,
        older_than: timedelta | Mapping[str, timedelta],
        namespace: str | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Delete closed runs with all that belongs to them; return how many.

        Never a running run nor what an open one takes over from, and never a snapshot. Each leaves
        a line in the audit.

        Args:
            older_than: So long ago they must have ended: all, or those of each status named.
            namespace: Temporal's namespace; by default the backend's.
            limit: At most that many.
            dry_run: Delete nothing, and return how many there would be.
            actor: Who asks for it, for the audit.
            progress: Is called after each run, with how many there were.

        Raises:
            InvalidValueError: ``older_than`` names no status.
            DamagedObjectError: Some could not be deleted; the message names them, all others were.
        """
        retention = Retention(runs=older_than, namespace=namespace)
        if not retention.ages():
            raise InvalidValueError(f"older_than={older_than} names no status; give one, or an age")
        tally, in_use = Tally(), await self.runs.in_use()
        async for run in self._all(self._closed(retention)):
            if limit is not None and tally.done >= limit:
                break
            if retention.is_over(run, self._now()):
                deleting = self._delete(run, actor or ACTOR, in_use, dry_run=dry_run)
                await tally.count(run, deleting)
                if progress is not None:
                    progress(tally.done)
        return tally.total("deleted")

    async def fail_stale(
        self, *, older_than: timedelta, namespace: str | None = None, dry_run: bool = False
    ) -> int:
        """Record that runs which are written by hand have failed; return how many.

        Only such as had no news for so long. Of a run on Temporal, Temporal knows whether it still
        runs: see `reconcile`. The end is not confirmed, so a late one by hand replaces it.

        Args:
            older_than: How long there was no news of them.
            namespace: Temporal's namespace; by default the backend's.
            dry_run: Record nothing, and return how many there would be.

        Raises:
            DamagedObjectError: Some could not be changed; the message names them, all others were.
        """
        retention = Retention(stale=older_than, namespace=namespace)
        tally = Tally()
        async for run in self._all(_running(retention)):
            if retention.is_stale(run, self._now()):
                await tally.count(run, self._fail(run, older_than, dry_run=dry_run))
        return tally.total("changed")

    async def trim_checkpoints(self, keep: int, *, namespace: str | None = None) -> int:
        """Drop all but the newest checkpoints of every run; return how many.

        Raises:
            DamagedObjectError: Those of some runs could not be dropped; the message names the runs.
        """
        tally = Tally()
        async for run in self._all({"namespace": namespace}):
            await tally.count(run, self.runs.trim_checkpoints(run.ref, keep))
        return tally.total("trimmed")

    async def _all(self, filters: Mapping[str, Any]) -> AsyncIterator[Run]:
        cursor = None
        while True:
            page = await self.runs.list(**filters, limit=PIECE, cursor=cursor)
            for run in page:
                yield run
            cursor = page.cursor
            if cursor is None:
                return

    def _closed(self, retention: Retention) -> Mapping[str, Any]:
        ages = {**retention.ages(), **dict.fromkeys(retention.on_end, MOMENT)}
        return {
            "status": sorted(ages),
            "ended_until": self._now() - min(ages.values()) + timedelta(microseconds=1),
            "namespace": retention.namespace,
        }

    async def _delete(
        self, run: Run, actor: str, in_use: Mapping[str, str], *, dry_run: bool = False
    ) -> bool:
        if dry_run:
            return True
        try:
            deleted = await self.runs.delete(
                run.workflow_id,
                run_id=run.run_id,
                namespace=run.namespace,
                actor=actor,
                in_use=in_use,
            )
        except ConflictError:
            return False  # it has been found to be running, or an open run takes over from it
        return deleted is not None

    async def _fail(self, run: Run, age: timedelta, *, dry_run: bool = False) -> bool:
        if dry_run:
            return True
        error = Failure("StaleError", f"there was no news of it for {age}")
        names = {"run_id": run.run_id, "namespace": run.namespace}
        for step in await self.runs.steps(run.workflow_id, **names):
            if step.status in OPEN:
                await self.runs.step(
                    run.ref,
                    number=step.number,
                    name=step.name,
                    kind=step.kind,
                    id=step.id,
                    status="failed",
                    error=error,
                    attempt=step.attempt or 1,
                    worker=step.worker,
                )
        try:
            await self.runs.finish(run.ref, "failed", error=error, confirmed=False)
        except ConflictError:
            return False  # it has ended meanwhile
        return True

    def _now(self) -> datetime:
        return self.runs.engine.now()

    async def _of_each(
        self,
        filters: Mapping[str, Any],
        cursor: str | None,
        limit: int,
        do: Callable[[Run], Awaitable[int]],
    ) -> Piece:
        page = await self.runs.list(**filters, limit=limit, cursor=cursor)
        tally = Tally()
        for run in page:
            await tally.count(run, do(run))
        return tally.piece(page.cursor)

    async def stale_piece(self, retention: Retention, cursor: str | None, limit: int) -> Piece:
        """Let stale runs fail."""
        age = retention.stale
        if age is None:
            return Piece(0)

        async def do(run: Run) -> int:
            return int(retention.is_stale(run, self._now()) and await self._fail(run, age))

        return await self._of_each(_running(retention), cursor, limit, do)

    async def runs_piece(self, retention: Retention, cursor: str | None, limit: int) -> Piece:
        """Delete old runs, and those that are not to be kept at all."""
        if not (retention.ages() or retention.on_end):
            return Piece(0)
        in_use = await self.runs.in_use()
        ended = EndedRuns(self.runs, retention.on_end, ACTOR, in_use)

        async def do(run: Run) -> int:
            if retention.is_over(run, self._now()):
                return int(await self._delete(run, ACTOR, in_use))
            return await ended.delete(run.ref) if run.status in retention.on_end else 0

        return await self._of_each(self._closed(retention), cursor, limit, do)

    async def checkpoints_piece(
        self, retention: Retention, cursor: str | None, limit: int
    ) -> Piece:
        """Drop old checkpoints."""
        keep = retention.checkpoints
        if keep is None:
            return Piece(0)

        async def do(run: Run) -> int:
            return await self.runs.trim_checkpoints(run.ref, keep)

        filters = {"namespace": retention.namespace}
        return await self._of_each(filters, cursor, limit, do)

    async def keys_piece(self, _: Retention, cursor: str | None, limit: int) -> Piece:
        """Take away keys that have expired, and what deleted ones have left behind."""
        swept = await self.keys.clean(cursor, limit=limit)
        return Piece(swept.removed, swept.cursor)

    async def documents_piece(self, _: Retention, cursor: str | None, limit: int) -> Piece:
        """Remove what deleted and expired documents have left behind."""
        swept = await self.documents.clean(cursor, limit=limit)
        return Piece(swept.removed, swept.cursor)

    async def transactions_piece(self, _: Retention, __: str | None, ___: int) -> Piece:
        """Bring transactions that dead processes left behind to their end."""
        return Piece(await self.documents.sweep_transactions())

    async def feed_piece(self, _: Retention, __: str | None, ___: int) -> Piece:
        """Drop what the feed said of changes long ago."""
        return Piece(await self.runs.fold_feed())


def _running(retention: Retention) -> Mapping[str, Any]:
    return {"status": "running", "namespace": retention.namespace}


PARTS: Mapping[str, Callable[[Maintenance, Retention, str | None, int], Awaitable[Piece]]] = {
    "transactions": Maintenance.transactions_piece,
    "stale": Maintenance.stale_piece,
    "runs": Maintenance.runs_piece,
    "checkpoints": Maintenance.checkpoints_piece,
    "keys": Maintenance.keys_piece,
    "documents": Maintenance.documents_piece,
    "feed": Maintenance.feed_piece,
}
"""All parts, in the order in which they are done."""
