"""Between the SDK and the user's code: what an activity must know goes along with its call.

Nothing here adds an event to a history, and nothing here may fail or delay what it stands beside.
"""

from dataclasses import replace
from typing import Any, NoReturn

from temporalio import activity, workflow
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from temporal_state.backend import StateBackend
from temporal_state.temporal._attempts import Attempt, attempt_of, recorded
from temporal_state.temporal._call import CURRENT_CALL, ActivityCall
from temporal_state.temporal._failures import as_application_errors
from temporal_state.temporal._recording import RecordingLane
from temporal_state.temporal._run import WorkflowRun, WorkflowSettings
from temporal_state.temporal._wire import HEADER, CallHeader, checkpoints_to


class StateInterceptor(Interceptor):
    """Tells activities of their run and step, and workflows of their worker's plugin."""

    def __init__(
        self, backend: StateBackend, settings: WorkflowSettings, lane: RecordingLane
    ) -> None:
        self.backend = backend
        self.settings = settings
        self.lane = lane

    def does_the_same_as(self, other: "StateInterceptor") -> bool:
        """Return whether a worker that has one of the two needs the other."""
        if (self.settings, self.lane.recording) != (other.settings, other.lane.recording):
            return False
        url = self.backend.store.url
        shared = url == other.backend.store.url and url != "memory://"
        return shared or self.backend is other.backend

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
        super().init(_ActivityOutbound(outbound, self))

    def beat(self, details: tuple[Any, ...]) -> None:
        if self._attempt is not None:
            self._attempt.beat(details)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        payload = input.headers.get(HEADER)
        call = ActivityCall(
            self._root.backend,
            activity.info(),
            CallHeader.from_payload(payload) if payload is not None else None,
            self._root.settings.max_payload,
        )
        CURRENT_CALL.set(call)
        self._attempt = attempt_of(call, self._root.lane)
        call.report = self._attempt.report if self._attempt is not None else None
        with as_application_errors():
            return await recorded(self._attempt, super().execute_activity(input))


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

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_WorkflowOutbound(outbound, self._run))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._run.attach()
        with as_application_errors():
            return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        self._run.attach()
        with as_application_errors():
            await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        self._run.attach()
        with as_application_errors():
            return await super().handle_update_handler(input)


class _WorkflowOutbound(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor, run: WorkflowRun) -> None:
        super().__init__(next)
        self._run = run

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        return super().start_activity(self._with_header(input))

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        return super().start_local_activity(self._with_header(input))

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        notes = self._run.notes
        if notes is not None:
            # One ahead: this activation may still make a checkpoint.
            header = checkpoints_to(notes.checkpoints + 1)
            input = replace(input, headers={**input.headers, HEADER: header})
        super().continue_as_new(input)

    def _with_header(self, input: Any) -> Any:
        header = self._run.header(input.activity, input.args).to_payload()
        return replace(input, headers={**input.headers, HEADER: header})
