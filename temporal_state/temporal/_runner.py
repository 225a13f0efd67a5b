"""Puts a header writer and a follower beside each run: a runner around the worker's own.

The sandboxed runner is subclassed, not wrapped, so that other plugins still recognise and configure
it. Whatever goes wrong in following a run ends the following of that run, and nothing else.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

from temporal_state.temporal._follower import Follower
from temporal_state.temporal._headers import HeaderWriter
from temporal_state.temporal._notes import LINEAGE, NOTES

log = logging.getLogger("temporal_state")

# What is mixed in calls the runner behind it, which only type checkers have to know by name.
if TYPE_CHECKING:
    _Mixed: TypeAlias = SandboxedWorkflowRunner
else:
    _Mixed = object

Follow: TypeAlias = Callable[[WorkflowInstanceDetails], Follower | None]


class _FollowedInstance(WorkflowInstance):
    """A workflow instance, with its follower looking on."""

    def __init__(
        self, inner: WorkflowInstance, headers: HeaderWriter, follower: Follower | None
    ) -> None:
        self._inner = inner
        self._headers = headers
        self._follower = follower
        self._begun = False
        # Asked for six times a step, so it is not asked for here in between.
        vars(self).update(get_serialization_context=inner.get_serialization_context)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        if not self._begun:
            self._begun = True
            try:
                self._headers.begin(act)
            except Exception:
                log.exception("run %s does not know which run it takes over from", act.run_id)
        completion = self._inner.activate(act)
        try:
            self._headers.write(act, completion)
        except Exception:
            log.exception("activities of run %s are not told which run they belong to", act.run_id)
        if self._follower is not None:
            try:
                self._follower.see(act, completion, self._headers)
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


class _Following(_Mixed):
    """Adds followers to whatever sandboxed runner it is mixed into."""

    follow: Follow | None = None

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
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
    if not isinstance(runner, SandboxedWorkflowRunner):
        return FollowingRunner(runner, follow)
    kind: Any = type(runner)
    fields = {"__annotations__": {"follow": Follow | None}, "follow": None}
    # A dataclass as its base is, so that `dataclasses.replace` keeps the follower.
    following_kind: Any = dataclass(frozen=True)(type(kind.__name__, (_Following, kind), fields))
    clone: WorkflowRunner = object.__new__(following_kind)
    vars(clone).update(vars(runner), follow=follow)
    return clone


def _followed(
    create: Callable[[WorkflowInstanceDetails], WorkflowInstance],
    det: WorkflowInstanceDetails,
    follow: Follow | None,
) -> WorkflowInstance:
    follower = None
    try:
        follower = follow(det) if follow is not None else None
    except Exception:
        log.exception("run %s is not recorded by this worker", det.info.run_id)
    on_retry = follower is not None and follower.observer.settings.on_retry
    headers = HeaderWriter(det.info, recorded=follower is not None, on_retry=on_retry)
    functions: dict[str, Callable[..., Any]] = {**det.extern_functions}
    functions[LINEAGE] = headers.get_lineage
    if follower is not None:
        functions[NOTES] = follower.get_notes
    det = replace(det, extern_functions=functions)
    return _FollowedInstance(create(det), headers, follower)
