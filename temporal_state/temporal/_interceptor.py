"""Between the SDK and the user's code: what an activity must know goes along with its call.

Nothing here adds an event to a history, and nothing here may fail or delay what it stands beside.
"""

from typing import Any

from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from temporal_state.backend import StateBackend
from temporal_state.errors import StateError
from temporal_state.temporal._attempts import Attempt, attempt_of
from temporal_state.temporal._call import CURRENT_CALL, ActivityCall
from temporal_state.temporal._failures import as_application_errors, to_application_error
from temporal_state.temporal._opentelemetry import trace_in
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._reuse import Reuse
from temporal_state.temporal._run import WorkflowRun, WorkflowSettings
from temporal_state.temporal._wire import CHECKPOINT, HEADER, object_in


class StateInterceptor(Interceptor):
    """Tells activities of their run and step, and workflows of their worker's plugin."""

    def __init__(
        self, backend: StateBackend, settings: WorkflowSettings, lane: RecordingLane
    ) -> None:
        self.backend = backend
        self.settings = settings
        self.lane = lane
        self.reuse = Reuse(backend.runs, lane)

    def does_the_same_as(self, other: "StateInterceptor") -> bool:
        """Return whether a worker that has one of the two needs the other."""
        if (self.settings, self.lane.recording) != (other.settings, other.lane.recording):
            return False
        ours, theirs = self.backend, other.backend
        if ours is theirs:
            return True
        if (ours.transforms, ours.limits) != (theirs.transforms, theirs.limits):
            return False
        return ours.store.url == theirs.store.url != "memory://" and ours.clock == theirs.clock

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """See base class."""
        return _ActivityInbound(next, self)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        settings = self.settings

        class Inbound(_WorkflowInbound):
            def __init__(self, next: WorkflowInboundInterceptor) -> None:
                super().__init__(next, WorkflowRun(settings))

        return Inbound


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, root: StateInterceptor) -> None:
        super().__init__(next)
        self._root = root
        self._attempt: Attempt | None = None

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self.next.init(_ActivityOutbound(outbound, self))

    def beat(self, details: tuple[Any, ...]) -> None:
        if self._attempt is not None:
            self._attempt.beat(details)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        root, headers, told, trace = self._root, input.headers, None, None
        header = await root.lane.header_in(headers.get(HEADER))
        if len(headers) > 1:
            told, trace = object_in(headers.get(CHECKPOINT)), trace_in(headers)
        recording, limit = root.lane.recording, root.settings.max_payload
        call = ActivityCall(root.backend, activity.info(), header, limit, recording, told)
        CURRENT_CALL.set(call)
        self._attempt = call.record = attempt_of(call, root.lane, trace)
        try:
            found = await root.reuse.find(call, self._attempt, input.fn)
            if found is not None:
                return found
            result = await self._execute(call, input)
            return await root.reuse.keep(self._attempt, call, input.fn, result)
        except StateError as error:
            raise to_application_error(error) from error

    async def _execute(self, call: ActivityCall, input: ExecuteActivityInput) -> Any:
        attempt = self._attempt
        if attempt is not None:
            attempt.begin()
        try:
            try:
                result = await self.next.execute_activity(input)
            finally:
                if call.has_loops:
                    await call.loops.settle()
        except BaseException as error:
            if attempt is not None:
                attempt.fail(error)
            raise
        if attempt is not None:
            attempt.complete(result)
        return result


class _ActivityOutbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor, inbound: _ActivityInbound) -> None:
        super().__init__(next)
        self._inbound = inbound

    def heartbeat(self, *details: Any) -> None:
        super().heartbeat(*details)
        self._inbound.beat(details)


class _WorkflowInbound(WorkflowInboundInterceptor):
    def __init__(self, next: WorkflowInboundInterceptor, run: WorkflowRun) -> None:
        super().__init__(next)
        self._run = run

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._run.attach()
        try:
            return await super().execute_workflow(input)
        except StateError as error:
            raise to_application_error(error) from error

    async def handle_signal(self, input: HandleSignalInput) -> None:
        self._run.attach()
        with as_application_errors():
            await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        self._run.attach()
        with as_application_errors():
            return await super().handle_update_handler(input)
