"""The runs of one application: everything that can be asked of them and done with them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from temporal_state.documents import from_text
from temporal_state.errors import ConflictError, InvalidValueError, NotRecordedError
from temporal_state.runs._audit import Audit
from temporal_state.runs._by_hand import RunsByHand
from temporal_state.runs._decode import to_run
from temporal_state.runs._deletion import DeletedRun, Deletion
from temporal_state.runs._evaluations import Evaluation, Evaluations
from temporal_state.runs._in_use import HELD_FOR, may_go_on, refuse_in_use
from temporal_state.runs._listed import Listed, check_window
from temporal_state.runs._merge import Json
from temporal_state.runs._own import ChainRef
from temporal_state.runs._records import STEP_STATUSES, Run
from temporal_state.runs._refs import RUN_FILE, RunRef
from temporal_state.runs._span_store import SpanStore
from temporal_state.runs._spans import Span, new_span_id
from temporal_state.runs._takeover import document_home
from temporal_state.runs.catalog._catalog import Catalog
from temporal_state.runs.catalog._feed import Change
from temporal_state.runs.catalog._questions import RunQuestions
from temporal_state.runs.catalog._reads import is_resumed

JUST_NOW = timedelta(seconds=5)
LOOKS, NAP = 40, 0.1
"""So often to look whether what has just ended is confirmed, and so many seconds in between."""


@dataclass(frozen=True, slots=True)
class Runs(RunsByHand, RunQuestions):
    """The records of all runs of one application."""

    catalog: Catalog = field(kw_only=True, repr=False, compare=False)

    @property
    def audit(self) -> Audit:
        """Who deleted what."""
        return Audit(self.engine, self.layout)

    async def fold_feed(self, older_than: timedelta = timedelta(days=7)) -> int:
        """Drop what the feed said of changes long ago; return how many entries.

        A catalog that was not used for so long is built anew when it is.

        Args:
            older_than: At least a day.

        Raises:
            InvalidValueError: It is less.
        """
        return await self.feed.fold(older_than)

    async def span(
        self,
        ref: RunRef,
        *,
        name: str,
        start: datetime,
        end: datetime | None = None,
        span_id: str | None = None,
        parent_span_id: str | None = None,
        step: int | None = None,
        status: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Span:
        """Record a span of a run; one that is saved again with its id is still one.

        Args:
            ref: Which run.
            name: What it is called.
            start: When it began.
            end: When it ended; ``None`` if it is open.
            span_id: Give one, so that the call may be repeated; by default a new random one.
            parent_span_id: The span that it is a part of; it must be there.
            step: The number of the step in which it is, if it is in one.
            status: By default ``completed``, or ``started`` without an end.
            attributes: What else is known of it: a JSON object.

        Raises:
            InvalidValueError: The span cannot be; the message names it.
            ConflictError: It is there with another parent.
            TooLargeError: The run has too many spans.
        """
        span = Span(
            name=name,
            span_id=new_span_id() if span_id is None else span_id,
            parent_span_id=parent_span_id,
            step=step,
            start=start,
            end=end,
            status=status or ("started" if end is None else "completed"),
            attributes=dict(attributes or {}),
        )
        await self.add_spans(ref, [span])
        return span

    async def add_spans(self, ref: RunRef, spans: Iterable[Span]) -> None:
        """Record several spans of a run, in any order; all of them or, if one cannot be, none."""
        adding = self._spans.add(ref, spans)
        await self.engine.to_the_end(adding, f"recording spans of run {ref.run_id!r}")

    async def spans(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
        status: str | None = None,
        name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Sequence[Span]:
        """Return a run, its steps and its own spans as one tree, in the order of their starts.

        Args:
            workflow_id: Which workflow.
            run_id: Which run of it; by default the newest.
            namespace: Temporal's namespace; by default the backend's.
            status: Only spans with this status.
            name: Only spans with this name.
            since: Only those that started at or after this time.
            until: Only those that started before this time.

        Raises:
            InvalidValueError: A status is none, or a time has no time zone.
        """
        if status is not None and status not in STEP_STATUSES:
            raise InvalidValueError(f"status={status!r} is none of {sorted(STEP_STATUSES)}")
        check_window(since, until)
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return []
        return [
            span
            for span in sorted(await self._trace(key), key=lambda span: span.start)
            if (status is None or span.status == status)
            and (name is None or span.name == name)
            and (since is None or span.start >= since)
            and (until is None or span.start < until)
        ]

    async def evaluate(
        self,
        workflow_id: str | RunRef,
        score: float,
        feedback: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        step: int | None = None,
        evaluation_id: str | None = None,
        run_id: str | None = None,
        namespace: str | None = None,
        at: datetime | None = None,
    ) -> Evaluation:
        """Keep a judgement of a run or of one of its steps.

        Args:
            workflow_id: Which workflow; or which run, which is not looked up then.
            score: Any finite number.
            feedback: What is to be said about it.
            metadata: What else is known of it: a JSON object.
            step: The number of the step that is judged; by default the whole run is.
            evaluation_id: Give one, so that the call may be repeated.
            run_id: Which run; by default the newest.
            namespace: Temporal's namespace; by default the backend's.
            at: When it was said; by default now.

        Raises:
            NotRecordedError: There is no such run.
            InvalidValueError: A value cannot be.
            ConflictError: ``evaluation_id`` is that of a judgement that says something else.
        """
        if isinstance(workflow_id, RunRef):
            ref = workflow_id
        else:
            ref = (await self._known(workflow_id, run_id, namespace)).ref
        now = self.engine.now() if at is None else at
        adding = self._evaluations.add(
            ref,
            score,
            feedback=feedback,
            metadata=metadata or {},
            step=step,
            evaluation_id=evaluation_id,
            now=now,
        )
        return await self.engine.to_the_end(adding, f"evaluating run {ref.run_id!r}")

    async def evaluations(
        self,
        workflow_id: str | None = None,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Listed[Evaluation]:
        """Return judgements, the newest first, a page at a time.

        Args:
            workflow_id: Of a run of this workflow; by default of all runs.
            run_id: Which run; by default the newest.
            namespace: Temporal's namespace; by default the backend's.
            since: Only those from this time on.
            until: Only those before this time.
            limit: At most that many, 1 to 1,000.
            cursor: The ``cursor`` of the page before.
        """
        if workflow_id is None:
            return await self._evaluations.of_all(since, until, limit, cursor)
        key = await self._find(namespace, workflow_id, run_id)
        if key is None:
            return Listed([], None)
        folder = key.removesuffix(RUN_FILE)
        return await self._evaluations.of_run(folder, since, until, limit, cursor)

    async def delete(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        namespace: str | None = None,
        actor: str | None = None,
        force: bool = False,
        in_use: Mapping[str, str] | None = None,
    ) -> DeletedRun | None:
        """Delete a run with all that belongs to it, except for snapshots.

        Its own document goes with the last run that has it: of its chain, or one that resumed it.
        It stays if the chain goes on and no record of its next run is there yet.
        Called again after a failure, it deletes the rest. A call that is cancelled deletes all of
        it first.

        Args:
            workflow_id: Which workflow.
            run_id: Which run; by default the newest.
            namespace: Temporal's namespace; by default the backend's.
            actor: Who asks for it, for the audit.
            force: Delete it although it is running, or an open run takes over from it.
            in_use: What `in_use` returned, to whom deletes many; by default it is asked.

        Returns:
            What was deleted, or ``None`` if there was no such run.

        Raises:
            ConflictError: The run is running, or an open run takes over from it.
        """
        key = await self._find(namespace, workflow_id, run_id)
        record = {} if key is None else await self._once_confirmed(key)
        if key is None or not record:
            return None
        run = to_run(record, key)
        if run.status == "running" and not force:
            raise ConflictError(
                f"run {run.run_id!r} of {workflow_id!r} is running; end it first, or give "
                "force=True if nothing will write to it any more"
            )
        if not force:
            await refuse_in_use(self, run, await self.in_use() if in_use is None else in_use)
            await self._refuse_held(run, record.get("resumed_at"))
        home = await document_home(self, run)
        deletion = Deletion(self._objects, self._places, self.own, self._evaluations, self.audit)
        shared = not force and may_go_on(run, self.engine.now())
        shared = shared or await self._is_shared(run, home)
        async with self.feed.announced([Change(run.ref)]):
            deleted = await self.engine.finished(
                deletion.delete(run, home, actor=actor, with_document=not shared)
            )
        self._with_input.discard(run.ref)
        self._homes.pop(run.ref, None)
        return deleted

    async def _once_confirmed(self, key: str) -> Json:
        """Return a run's record; one that has just ended a moment later, if that is not confirmed.

        Its worker still has to write that it is, and would make the record anew.
        """
        record = await self._read(key)
        for _ in range(LOOKS):
            run = to_run(record, key) if record else None
            if run is None or run.ended is None or not run.unsettled:
                break
            if self.engine.now() - run.updated > JUST_NOW:
                break
            await asyncio.sleep(NAP)
            record = await self._read(key)
        return record

    async def _refuse_held(self, run: Run, resumed_at: str | None) -> None:
        if resumed_at is None or self.engine.now() - from_text(resumed_at) > HELD_FOR:
            return
        if not await self.catalog.ask(partial(is_resumed, run_id=run.run_id)):
            raise ConflictError(
                f"run {run.run_id!r} of {run.workflow_id!r} was resumed at {resumed_at}, and there "
                "is no record of the new run: if its worker has yet to write one, wait for it; if "
                f"it was deleted, give force=True, or wait until {HELD_FOR} after that"
            )

    async def _is_shared(self, run: Run, home: ChainRef) -> bool:
        """Return whether another run, of whatever workflow id, has the same own document."""
        if await self.own.is_joined(home, by_other_than=run.ref):
            return True
        of_id = await self.of_workflow(home.workflow_id, namespace=home.namespace)
        others = [other for other in of_id if other.run_id != run.run_id]
        return home in [await document_home(self, other) for other in others]

    async def _known(self, workflow_id: str, run_id: str | None, namespace: str | None) -> Run:
        key = await self._find(namespace, workflow_id, run_id)
        run = None if key is None else await self._run_without_values(key)
        if run is None:
            which = "run" if run_id is None else f"run {run_id!r}"
            raise NotRecordedError(
                f"there is no {which} of workflow {workflow_id!r} in "
                f"{namespace or self.namespace!r}"
            )
        return run

    @property
    def _spans(self) -> SpanStore:
        return SpanStore(self._objects, self._places)

    @property
    def _evaluations(self) -> Evaluations:
        return Evaluations(self._objects, self._places)
