"""Results that need not be made again: of the run that this one resumes, or of an attempt before.

A resumed run schedules its activities as any run does; here, on the activity's side, the recorded
result of the same call is returned instead of running it. So its history is an ordinary one. What
another run has recorded is known by the content of the call. If the record of a run that is resumed
cannot be read, the activity fails and is retried: nobody asked for it to be done twice. An attempt
of a run of its own goes on without, after ``ack_timeout``: a broken store is no reason to fail it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from temporal_state.errors import InvalidValueError
from temporal_state.runs import (
    MAX_FORMER,
    ChainRef,
    Home,
    Recorded,
    Runs,
    Takeover,
    find_home,
    step_key,
)
from temporal_state.temporal._attempts import Attempt
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._lineage import NOTHING_TOLD
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._wire import ACTIVITY_PREFIX, BEFORE_ACK, HEADER, NEVER_REUSE

log = logging.getLogger("temporal_state")


T = TypeVar("T")


class Reuse:
    """Finds and keeps results for the activities of one plugin's workers."""

    def __init__(self, runs: Runs, lane: RecordingLane) -> None:
        self._runs = runs
        self._lane = lane
        self._takeover = Takeover(runs)
        self._acknowledges = lane.recording is not None and lane.recording.before_ack is not False
        self._running: set[asyncio.Future[Any]] = set()

    async def find(
        self, call: ActivityCall, attempt: Attempt | None, function: Callable[..., Any]
    ) -> RawValue | None:
        """Return the result that the activity already has, if any; the attempt is told.

        Also makes the call go on with the document and the changes of the run that is resumed.

        Raises:
            StoreError: Whether the run that is resumed has one cannot be read.
            NotRecordedError: The run that is resumed is not in this store.
            InvalidValueError: Which run is resumed cannot be read.
        """
        header, source = call.header, None
        if header is not None and header.lineage is not NOTHING_TOLD:
            source = await self._join(call)
        if getattr(function, NEVER_REUSE, False):
            if attempt is not None:
                attempt.never_reused = True
            return None
        found = None
        if source is not None and header is not None:
            found = await self._of(source, header.content)
            if found is None:
                call.former = await self._takeover.unfinished(source, header.content)
        if found is None and self._is_repeated(call) and self._is_acknowledged(call, function):
            found = await self._acknowledged(attempt)
        if found is None:
            return None
        if attempt is not None:
            attempt.take_over()
        return RawValue(found)

    async def keep(
        self, attempt: Attempt | None, call: ActivityCall, function: Callable[..., Any], result: Any
    ) -> Any:
        """Record a result before Temporal learns of it, if the activity asks for that.

        Waits for at most ``ack_timeout``, and never fails; returns the result as it travels.
        """
        if attempt is None or not self._is_acknowledged(call, function):
            return result
        payload = _payload_of(result)
        what = f"the result of {call.info.activity_type} is not recorded before Temporal learns of"
        # The activity is done, so a cancellation comes too late.
        with contextlib.suppress(asyncio.CancelledError):
            await self._in_time(self._acknowledge(attempt, payload), f"{what} it")
        return RawValue(payload)

    async def _acknowledge(self, attempt: Attempt, payload: Payload) -> None:
        value = await self._lane.stored(attempt.ref, payload, attempt.call.info.activity_type)
        await self._runs.acknowledge(attempt.ref, attempt.key, value)

    async def _in_time(self, operation: Coroutine[Any, Any, T], what: str) -> T | None:
        """Return what ``operation`` does; after ``ack_timeout``, or if it fails, say ``what``.

        It is not awaited any longer then, since a store may not heed a cancellation.
        """
        seconds = self._lane.ack_timeout.total_seconds()
        task = asyncio.ensure_future(operation)
        self._running.add(task)
        task.add_done_callback(self._is_over)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            task.cancel()
            log.warning("%s: no answer from the store within %g s", what, seconds)
        elif (error := task.exception()) is not None:
            log.warning("%s: %s", what, error)
        else:
            return task.result()
        return None

    def _is_over(self, task: "asyncio.Future[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: nobody may wait for it any longer

    async def _join(self, call: ActivityCall) -> Recorded | None:
        """Return what the call takes over from, and make it one of that lineage."""
        header = call.header
        if header is None:
            return None
        lineage = header.lineage
        if lineage.damaged:
            raise InvalidValueError(
                f"the header {HEADER!r} of this run, which says which run it resumes, cannot be "
                "read; start it with resume(), by a client with the same data converter"
            )
        if lineage.source is None:
            call.home = await self._home_without_source(call, lineage.home)
            return None
        if lineage.home is not None:
            call.home = await self._takeover.home(lineage.home)
        source = await self._takeover.recorded(lineage.source)
        if source is not None:
            call.lineage = source.lineage
        return source

    async def _home_without_source(self, call: ActivityCall, told: Home | None) -> ChainRef | None:
        """Return whose document a run goes on with that takes over nothing, as cron's later ones.

        The runs on the way to it may be gone; its own record knows, or will agree.
        """
        if told is None or isinstance(told, ChainRef):
            return told
        ref = call.ref()
        run = None
        if ref is not None:
            run = await self._runs.get(ref.workflow_id, run_id=ref.run_id, namespace=ref.namespace)
        known = None if run is None else run.home
        return known if isinstance(known, ChainRef) else await find_home(self._runs, told)

    async def _of(self, source: Recorded, content: str) -> Payload | None:
        recorded: Recorded | None = source
        for _ in range(MAX_FORMER):
            if recorded is None:
                break
            step, run = recorded.step(content), recorded.run
            if step is None and recorded.limited:
                break  # it is to be done again
            value = None if step is None else await self._runs.result_of(run.ref, step)
            if value is None:
                value = await self._runs.acknowledged(run.ref, step_key(run.original, content))
            if value is not None:
                return await self._lane.restored(run.namespace, run.workflow_id, value)
            if step is not None and step.completed:
                break  # it had to be done again there, too
            recorded = await self._takeover.former(recorded)
        return None

    async def _acknowledged(self, attempt: Attempt | None) -> Payload | None:
        if attempt is None:
            return None
        what = f"whether {attempt.call.info.activity_type} has a result is not known, so it runs"
        return await self._in_time(self._read(attempt), what)

    async def _read(self, attempt: Attempt) -> Payload | None:
        value = await self._runs.acknowledged(attempt.ref, attempt.key)
        if value is None:
            return None
        return await self._lane.restored(attempt.ref.namespace, attempt.ref.workflow_id, value)

    def _is_repeated(self, call: ActivityCall) -> bool:
        # A local activity that is run again begins with attempt 1.
        return call.info.attempt > 1 or call.info.is_local

    def _is_acknowledged(self, call: ActivityCall, function: Callable[..., Any]) -> bool:
        name = call.info.activity_type
        chosen = self._acknowledges and self._lane.acknowledges(name)
        if not (chosen or getattr(function, BEFORE_ACK, False)):
            return False
        # Our own leave tokens, which say the same.
        return self._lane.capture.keeps("result") and not name.startswith(ACTIVITY_PREFIX)


def _payload_of(result: Any) -> Payload:
    if isinstance(result, RawValue):
        return result.payload
    return activity.payload_converter().to_payloads([result])[0]
