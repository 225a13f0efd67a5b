"""Puts a follower beside each run: a workflow runner around the worker's own.

The sandboxed runner is subclassed, not wrapped, so that other plugins still recognise and configure
it. Whatever goes wrong in following a run ends the following of that run, and nothing else.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

from temporal_state.temporal._follower import Follower

log = logging.getLogger("temporal_state")

NOTES = "temporal_state_notes"
"""The extern function by which workflow code reaches its follower's notes."""

Follow: TypeAlias = Callable[[WorkflowInstanceDetails], Follower | None]


class _FollowedInstance(WorkflowInstance):
    """A workflow instance, with its follower looking on."""

    def __init__(self, inner: WorkflowInstance, follower: Follower) -> None:
        self._inner = inner
        self._follower: Follower | None = follower

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = self._inner.activate(act)
        if self._follower is not None:
            try:
                self._follower.see(act, completion)
            except Exception:
                log.exception("run %s is no longer recorded by this worker", act.run_id)
                self._follower = None
        return completion

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        return self._inner.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self._inner.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._inner.get_info()

    def get_thread_id(self) -> int | None:
        return self._inner.get_thread_id()


@dataclass(frozen=True)
class FollowingSandboxedRunner(SandboxedWorkflowRunner):
    """The sandboxed runner, with a follower beside each run."""

    follow: Follow | None = field(default=None, compare=False)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        return _followed(super().create_instance, det, self.follow)


class FollowingRunner(WorkflowRunner):
    """Any other runner, with a follower beside each run."""

    def __init__(self, inner: WorkflowRunner, follow: Follow) -> None:
        self._inner, self._follow = inner, follow

    def prepare_workflow(self, defn: Any) -> None:
        """See base class."""
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See base class."""
        return _followed(self._inner.create_instance, det, self._follow)

    def set_worker_level_failure_exception_types(
        self, types: Sequence[type[BaseException]]
    ) -> None:
        """See base class."""
        self._inner.set_worker_level_failure_exception_types(types)


def following(runner: WorkflowRunner, follow: Follow) -> WorkflowRunner:
    """Return a runner that does as ``runner``, with a follower beside each run."""
    if type(runner) is not SandboxedWorkflowRunner:
        return FollowingRunner(runner, follow)
    settings = {f.name: getattr(runner, f.name) for f in fields(runner) if f.init}
    return FollowingSandboxedRunner(**settings, follow=follow)


def _followed(
    create: Callable[[WorkflowInstanceDetails], WorkflowInstance],
    det: WorkflowInstanceDetails,
    follow: Follow | None,
) -> WorkflowInstance:
    follower = follow(det) if follow is not None else None
    if follower is None:
        return create(det)
    notes = follower.notes
    functions = {**det.extern_functions, NOTES: lambda: notes}
    return _FollowedInstance(create(replace(det, extern_functions=functions)), follower)
