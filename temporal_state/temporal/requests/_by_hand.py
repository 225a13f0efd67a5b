"""Records of runs that no worker of ours runs, written by hand; see `RunsByHand`.

A workflow can stand for work elsewhere and keep its record. What would be random by default, an id,
is named by the call, so that a call that Temporal repeats means the same.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY
from inspect import signature
from typing import Any

from temporal_state.errors import InvalidValueError
from temporal_state.runs import Failure, RunRef, from_plain, to_plain
from temporal_state.temporal.requests._base import Request, Scope, request, time_in


@request
class ByHand(Request):
    """Something to be written to the record of a run.

    Attributes:
        ref: Which run: ``{"namespace", "workflow_id", "run_id", "started"}``; `runs.start` returns
            it, and `runs.get` has the parts. ``None`` is the calling run.
        more: The arguments of the method of this name of `Runs`; times as text.
    """

    changes = True
    _: KW_ONLY
    ref: Mapping[str, Any] | None = None
    more: Mapping[str, Any]

    def which(self, scope: Scope) -> RunRef:
        """Return the run that is meant."""
        return scope.recorded_run(self.operation).ref if self.ref is None else _ref(self.ref)

    def arguments(self, scope: Scope) -> dict[str, Any]:
        """Return the arguments of the method, with times, and the time of the call."""
        given: dict[str, Any] = {"at": scope.caller.now, **self.more}
        for name in ("at", "started", "ended", "start", "end"):
            if isinstance(given.get(name), str):
                given[name] = time_in(given[name], name)
        if isinstance(given.get("error"), Mapping):
            given["error"] = Failure(given["error"]["type"], given["error"].get("message"))
        return given

    async def perform(self, scope: Scope) -> Any:
        """See base class."""
        try:
            given = self.arguments(scope)
            signature(self._method(scope)).bind(*self.runs_named(), **given)
        except (TypeError, KeyError) as error:
            raise InvalidValueError(
                f"{self.operation} cannot be called with {sorted(self.more)} ({error}); give ref "
                "and the arguments that its method of Runs has"
            ) from error
        return to_plain(await self.write(scope, given))

    def runs_named(self) -> tuple[None, ...]:
        """Return what stands for the run in the arguments of the method."""
        return (None,)

    async def write(self, scope: Scope, given: dict[str, Any]) -> Any:
        """Write it, and return what the caller gets."""
        return await self._method(scope)(self.which(scope), **given)

    def _method(self, scope: Scope) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(
            scope.backend.runs, self.operation.removeprefix("runs.")
        )
        return method


@request
class StartRun(ByHand):
    """Begin the record of a run, or find it. Returns its ref."""

    operation = "runs.start"

    def runs_named(self) -> tuple[None, ...]:
        """See base class."""
        return ()

    async def write(self, scope: Scope, given: dict[str, Any]) -> Any:
        """See base class."""
        given["namespace"] = given.get("namespace") or scope.namespace
        if given.get("parent") is not None:
            given["parent"] = _ref(given["parent"])
        if given.get("run_id") is None and (name := scope.call_name()) is not None:
            given["run_id"] = str(uuid.UUID(hex=name))
        return await scope.backend.runs.start(**given)


@request
class WriteStep(ByHand):
    """Record a step of a run. Returns nothing."""

    operation = "runs.step"


@request
class WriteProgress(ByHand):
    """Record how far a run is. Returns nothing."""

    operation = "runs.progress"


@request
class Annotate(ByHand):
    """Merge notes into a run's metadata. Returns nothing."""

    operation = "runs.annotate"


@request
class Finish(ByHand):
    """Record how a run ended. Returns nothing."""

    operation = "runs.finish"


@request
class WriteSpan(ByHand):
    """Record a span of a run. Returns its fields."""

    operation = "runs.span"

    def arguments(self, scope: Scope) -> dict[str, Any]:
        """See base class."""
        given = super().arguments(scope)
        del given["at"]
        return given

    async def write(self, scope: Scope, given: dict[str, Any]) -> Any:
        """See base class."""
        name = scope.call_name()
        if given.get("span_id") is None and name is not None:
            given["span_id"] = name[:16]
        return await scope.backend.runs.span(self.which(scope), **given)


@request
class WriteCheckpoint(ByHand):
    """Record a checkpoint of a run. Returns its fields, but for the state."""

    operation = "runs.checkpoint"

    async def write(self, scope: Scope, given: dict[str, Any]) -> Any:
        """See base class."""
        made = await scope.backend.runs.checkpoint(self.which(scope), **given)
        return {**to_plain(made), "state": None}


@request
class Evaluate(ByHand):
    """Keep a judgement of a run or a step. Returns its fields."""

    operation = "runs.evaluate"

    async def write(self, scope: Scope, given: dict[str, Any]) -> Any:
        """See base class."""
        if given.get("evaluation_id") is None:
            given["evaluation_id"] = scope.call_name()
        return await scope.backend.runs.evaluate(self.which(scope), **given)


def _ref(value: Mapping[str, Any]) -> RunRef:
    try:
        ref = from_plain(RunRef, dict(value))
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidValueError(
            f"{dict(value)!r} is no run ({error}); give namespace, workflow_id, run_id and started"
        ) from error
    return ref
