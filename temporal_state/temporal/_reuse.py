"""Results that need not be made again: of the run that this one resumes, or of an attempt before.

A resumed run schedules its activities as any run does; here, on the activity's side, the recorded
result of the same call is returned instead of running it. So its history is an ordinary one. What
another run has recorded is known by the content of the call. If the record cannot be read, the
activity fails and is retried: nobody asked for it to be done twice.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from temporal_state.runs import Recorded, RunRef, Runs, Step, Takeover, Value, step_key
from temporal_state.temporal._attempts import Attempt
from temporal_state.temporal._call import ActivityCall
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._wire import ACTIVITY_PREFIX

log = logging.getLogger("temporal_state")

NEVER_REUSE = "__temporal_state_never_reuse__"
BEFORE_ACK = "__temporal_state_before_ack__"


class Reuse:
    """Finds and keeps results for the activities of one plugin's workers."""

    def __init__(self, runs: Runs, lane: RecordingLane) -> None:
        self._runs = runs
        self._lane = lane
        self._takeover = Takeover(runs)

    async def find(
        self, call: ActivityCall, attempt: Attempt | None, function: Callable[..., Any]
    ) -> RawValue | None:
        """Return the result that the activity already has, if any; the attempt is told.

        Also makes the call go on with the document and the changes of the run that is resumed.

        Raises:
            StoreError: Whether there is one cannot be read.
        """
        source = await self._join(call)
        if getattr(function, NEVER_REUSE, False):
            return None
        if source is not None and call.header is not None:
            call.former = source.unfinished(call.header.content)
        found = None if source is None else await self._of(source, call)
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
        seconds = self._lane.ack_timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                value = await self._lane.stored(attempt.ref, payload, call.info.activity_type)
                await self._runs.acknowledge(attempt.ref, attempt.key, value)
        except Exception as error:  # noqa: BLE001 the activity is done, whatever became of its record
            log.warning(
                "the result of %s is not recorded before Temporal learns of it: %s",
                call.info.activity_type,
                str(error) or f"no answer from the store within {seconds:g} s",
            )
        return RawValue(payload)

    async def _join(self, call: ActivityCall) -> Recorded | None:
        header = call.header
        if header is None:
            return None
        lineage = header.lineage
        if lineage.home is not None:
            call.home = await self._takeover.home(lineage.home)
        if lineage.source is None:
            return None
        source = await self._takeover.recorded(lineage.source)
        if source is not None:
            call.lineage = source.lineage
        return source

    async def _of(self, source: Recorded, call: ActivityCall) -> Payload | None:
        content = call.header.content if call.header is not None else ""
        step = source.step(content)
        value = _result_of(step)
        run = source.run
        if value is None and (step is not None or not source.limited):
            ref = RunRef(run.namespace, run.workflow_id, run.run_id, run.started)
            value = await self._runs.acknowledged(ref, step_key(run.original, content))
        if value is None:
            return None
        return await self._lane.restored(run.namespace, run.workflow_id, value)

    async def _acknowledged(self, attempt: Attempt | None) -> Payload | None:
        if attempt is None:
            return None
        value = await self._runs.acknowledged(attempt.ref, attempt.key)
        if value is None:
            return None
        return await self._lane.restored(attempt.ref.namespace, attempt.ref.workflow_id, value)

    def _is_repeated(self, call: ActivityCall) -> bool:
        # A local activity that is run again begins with attempt 1.
        return call.info.attempt > 1 or call.info.is_local

    def _is_acknowledged(self, call: ActivityCall, function: Callable[..., Any]) -> bool:
        name = call.info.activity_type
        if name.startswith(ACTIVITY_PREFIX):
            return False  # they leave tokens, which say the same
        return getattr(function, BEFORE_ACK, False) or self._lane.acknowledges(name)


def _result_of(step: Step | None) -> Value | None:
    if step is None or step.status != "completed" or step.result is None:
        return None
    return step.result if step.result.dropped is None else None


def _payload_of(result: Any) -> Payload:
    if isinstance(result, RawValue):
        return result.payload
    return activity.payload_converter().to_payloads([result])[0]
