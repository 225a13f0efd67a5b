"""The one line that a user adds: `StatePlugin` on a client, a worker, or both.

The SDK hands a client's plugins to its workers, and applies a plugin twice that is given to both.
Twice is once here; two different ones on one worker could only fight, so they are an error.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import temporalio.client
import temporalio.worker
from temporalio.client import ClientConfig, WorkflowHistory
from temporalio.service import ConnectConfig, ServiceClient
from temporalio.worker import (
    Replayer,
    ReplayerConfig,
    Worker,
    WorkerConfig,
    WorkflowReplayResult,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_state._default import choose_backend
from temporal_state.backend import StateBackend
from temporal_state.documents import DEFAULT_LIMITS, Clock, Limits, utc_now
from temporal_state.errors import ConfigurationError, StateError
from temporal_state.storage import ObjectStore, Transform
from temporal_state.temporal._activities import ACTIVITIES
from temporal_state.temporal._beside import beside
from temporal_state.temporal._interceptor import StateInterceptor
from temporal_state.temporal._maintenance import (
    MaintenanceWorkflow,
    Reconcile,
    maintenance_activities,
)
from temporal_state.temporal._reconcile import reconcile as reconcile_all
from temporal_state.temporal._reconciler import Reconciliation
from temporal_state.temporal._recording import Recording, RecordingLane
from temporal_state.temporal._recover import Recover, recovering
from temporal_state.temporal._run import WorkflowSettings
from temporal_state.temporal._runner import following
from temporal_state.temporal._unrecorded import marked, without

DEFAULT_RECORDING = Recording()
MAX_PAYLOAD = 900_000
"""Bytes of JSON; a codec may double it and still pass Temporal's 2 MB."""


class StatePlugin(temporalio.client.Plugin, temporalio.worker.Plugin):
    """Gives workflows and activities of a worker their state.

    Example:
        Worker(client, task_queue="imports", workflows=[Import],
               plugins=[StatePlugin("./local/tmp", app="billing")])

    Args:
        backend: A URL or path, or a `StateBackend`; as `StateBackend.open` takes it.
        app: The application whose state this is. Of a `StateBackend` no other than its own.
        tenant: One tenant of it.
        limits: How large documents may be, how long the store may take, and more.
        clock: Tells the time where Temporal does not.
        transform: What is done to objects before they are stored.
        catalog: Where the index of runs lies.
        recording: What is recorded of each run, and how; ``None`` records nothing.
        operation_timeout: How long one operation that workflow code awaits may take, all retries
            included; then it raises.
        recover: Which runs of a worker's task queue are resumed when the worker starts; it does not
            wait for them, and goes on whatever becomes of them. By default none.
        maintenance: Whether workers serve the maintenance that `install_schedule` starts.
        reconcile: How records that may be wrong are reconciled with Temporal when a worker starts,
            in the background; ``None`` leaves that to maintenance, or to you.

    ``tenant``, ``limits``, ``clock``, ``transform`` and ``catalog`` are those of
    `StateBackend.open`; a `StateBackend` has its own.
    """

    def __init__(
        self,
        backend: str | os.PathLike[str] | ObjectStore | StateBackend | None = None,
        *,
        app: str | None = None,
        tenant: str | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = utc_now,
        transform: Transform | Sequence[Transform] | None = None,
        catalog: str | os.PathLike[str] | None = None,
        recording: Recording | None = DEFAULT_RECORDING,
        operation_timeout: timedelta = timedelta(minutes=1),
        recover: Recover | None = None,
        maintenance: bool = False,
        reconcile: Reconcile | None = None,
    ) -> None:
        self.backend = choose_backend(
            backend,
            app=app,
            tenant=tenant,
            limits=limits,
            clock=clock,
            transform=transform,
            catalog=catalog,
        )
        settings = WorkflowSettings(
            url=self.backend.url,
            layout=self.backend.layout,
            max_payload=MAX_PAYLOAD,
            # The store's own timeout comes first, since its error says more.
            attempt_timeout=self.backend.limits.operation_timeout + timedelta(seconds=5),
            operation_timeout=operation_timeout,
        )
        self._unrecorded: frozenset[str] = frozenset()
        self._recover = recover
        self._maintenance = maintenance
        self._reconcile = reconcile
        self._lane = RecordingLane(self.backend.runs, recording)
        self._interceptor = StateInterceptor(self.backend, settings, self._lane)

    def name(self) -> str:
        """Return the name that Temporal shows for this plugin."""
        return "temporal_state.StatePlugin"

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """See base class."""
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[ServiceClient]]
    ) -> ServiceClient:
        """See base class."""
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """See base class.

        Raises:
            ConfigurationError: The worker has another `StatePlugin` with other settings.
        """
        if self._is_applied(config.get("interceptors")):
            return config
        # First, so that other interceptors' code finds its context too.
        config["interceptors"] = [self._interceptor, *config.get("interceptors", [])]
        config["activities"] = [*config.get("activities", []), *ACTIVITIES]
        self._unrecorded |= marked(config.get("workflows", []))
        if self._maintenance:
            more = maintenance_activities(self.backend, self._reconciled)
            config["activities"] = [*config["activities"], *more]
            config["workflows"] = [*config.get("workflows", []), MaintenanceWorkflow]
        self._configure_workflows(config)
        for runner in ("workflow_runner", "unsandboxed_workflow_runner"):
            config[runner] = following(config[runner], self._lane.follow)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """See base class."""
        interceptors = worker.config(active_config=True).get("interceptors", [])
        if self._interceptor not in interceptors:
            await next(worker)
            return
        await self._open(worker, next)
        try:
            self._lane.start(worker)
            async with (
                recovering(worker, self.backend, self._recover),
                beside("reconciling", self._reconciling(worker)),
            ):
                await next(worker)
        finally:
            await self._lane.leave()
            await self.backend.close()

    def _reconciled(self) -> Recording:
        return without(self._lane.recording, self._unrecorded)

    def _reconciling(self, worker: Worker) -> Callable[[], Awaitable[Reconciliation]] | None:
        chosen = self._reconcile
        if chosen is None:
            return None
        return lambda: reconcile_all(
            worker.client,
            self.backend,
            older_than=chosen.older_than,
            calls_per_second=chosen.calls_per_second,
            limit=chosen.limit,
            missing=chosen.missing,
            recording=self._reconciled(),
        )

    async def _open(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        try:
            self._lane.join(worker)
            try:
                await self.backend.start()
            except BaseException:
                await self._lane.leave()
                raise
        except BaseException:
            # `async with worker` waits for ever for a worker that never ran (SDK 1.35), so this
            # one runs, told to stop beforehand.
            stopping = asyncio.create_task(worker.shutdown())
            await next(worker)
            await stopping
            raise

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """See base class."""
        if self._is_applied(config.get("interceptors")):
            return config
        config["interceptors"] = [self._interceptor, *config.get("interceptors", [])]
        self._configure_workflows(config)
        return config

    def run_replayer(
        self,
        replayer: Replayer,
        histories: AsyncIterator[WorkflowHistory],
        next: Callable[
            [Replayer, AsyncIterator[WorkflowHistory]],
            AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]],
        ],
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """See base class."""
        return next(replayer, histories)

    def _is_applied(self, interceptors: Any) -> bool:
        for other in interceptors or []:
            if isinstance(other, StateInterceptor):
                if self._interceptor.does_the_same_as(other):
                    return True
                raise ConfigurationError(
                    f"this worker has two different StatePlugins, for {other.backend!r} and "
                    f"{self.backend!r}, or with other settings; give it one (a client's plugins "
                    "are its workers' too)"
                )
        return False

    def _configure_workflows(self, config: WorkerConfig | ReplayerConfig) -> None:
        failures = config.get("workflow_failure_exception_types", [])
        config["workflow_failure_exception_types"] = [*failures, StateError]
        config["workflow_runner"] = _with_passthrough(config["workflow_runner"])


def _with_passthrough(runner: WorkflowRunner) -> WorkflowRunner:
    # Workflow code imports this package without ceremony, and shares its classes with us.
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    restrictions = runner.restrictions.with_passthrough_modules("temporal_state")
    return replace(runner, restrictions=restrictions)
