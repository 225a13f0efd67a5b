"""Starts a run again, such that only what had not completed is executed.

The new run has the recorded type, input and options, and a header that says whose results it takes
over; all else happens on the activities' side (see `_reuse`). So it works after the code changed,
after Temporal has dropped the history, and on another cluster: all it needs is the record.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.common import (
    RawValue,
    RetryPolicy,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.converter import decode_typed_search_attributes
from temporalio.exceptions import WorkflowAlreadyStartedError

from temporal_state.backend import StateBackend
from temporal_state.errors import ConflictError, NotRecordedError
from temporal_state.runs import Run, Value, document_home
from temporal_state.temporal._lineage import Lineage
from temporal_state.temporal._plan import ResumePlan, newest_run, plan_resume
from temporal_state.temporal._values import restored, to_payload
from temporal_state.temporal._wire import HEADER

log = logging.getLogger("temporal_state")


async def resume(
    client: Client,
    backend: StateBackend,
    workflow_id: str,
    run_id: str | None = None,
    *,
    namespace: str | None = None,
    from_step: int | None = None,
    lost: bool = False,
    args: Sequence[Any] | None = None,
    **options: Any,
) -> WorkflowHandle[Any, Any]:
    """Start a run anew that takes over all that another has completed; return its handle.

    The new run has the workflow id, type, task queue, input, memo, search attributes, timeouts and
    retry policy of the old one. Steps that completed without a recorded result run again, and are
    logged before the start; `plan_resume` tells beforehand.

    Args:
        client: Where the new run starts; another namespace or cluster than the old run's is fine.
        backend: The store with the record. The workers of the new run need one on the same store.
        workflow_id: Whose run is resumed.
        run_id: Which of its runs; by default the newest.
        namespace: Of the old run; by default the client's.
        from_step: Steps from this number on run again, whether or not they had completed.
        lost: Resume also a run whose record has no end, and which Temporal does not know (any
            more): you know that it runs nowhere.
        args: The new run's input, if it differs from the recorded one.
        **options: Of `Client.start_workflow`, where they differ: ``workflow``, ``id``,
            ``task_queue``, ``memo``, ``retry_policy`` and all others.

    Raises:
        NotRecordedError: There is no record of such a run, or none of its input.
        ConflictError: A run of the workflow id is open, has completed since, or was started
            meanwhile; or this one completed and ``from_step`` is not given.
    """
    plan = await plan_resume(
        client, backend, workflow_id, run_id, namespace=namespace, from_step=from_step, lost=lost
    )
    for step in plan.repeated:
        log.warning(
            "step %d (%s) of %s completed, and runs again since its result was not recorded",
            step.number,
            step.name,
            workflow_id,
        )
    return await start(client, backend, plan, args=args, **options)


async def start(
    client: Client,
    backend: StateBackend,
    plan: ResumePlan,
    *,
    args: Sequence[Any] | None = None,
    **options: Any,
) -> WorkflowHandle[Any, Any]:
    """Start the run that a plan is for, if no other run has been started since; see `resume`."""
    run = plan.run
    home = await document_home(backend.runs, run)
    told = _Tells(Lineage(plan.source, home, trace_root=run.trace_id).to_payload())
    config = client.config()
    config["interceptors"] = [*config["interceptors"], told]
    workflow = options.pop("workflow", run.workflow_type)
    given = {**await _recorded_options(client, run), **options}
    if plan.source.before is None:
        # So of two who resume a run only one does, also if that one's has ended meanwhile.
        given.setdefault("id_reuse_policy", WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    arguments = await _input(client, run) if args is None else args
    if given["id"] == run.workflow_id and await newest_run(client, given["id"]) != plan.newest:
        raise ConflictError(
            f"another run of {given['id']!r} was started meanwhile, so this one would do again "
            "what that one has done; look at it, and resume it if it failed"
        )
    await backend.runs.hold(run.ref)
    try:
        return await Client(**config).start_workflow(workflow, args=arguments, **given)
    except WorkflowAlreadyStartedError as error:
        raise ConflictError(
            f"a run of {given['id']!r} is open, or has completed since; wait for its end or "
            "terminate it, or give id="
        ) from error


async def _input(client: Client, run: Run) -> Sequence[Any]:
    dropped = next((value.dropped for value in run.input if value.dropped), None)
    if run.start is None or dropped is not None:
        raise NotRecordedError(
            f"the input of run {run.run_id} of {run.workflow_id!r} was not recorded "
            f"({dropped or 'capture is off'}); give args="
        )
    return [RawValue(await _restored(client, run, value)) for value in run.input]


async def _recorded_options(client: Client, run: Run) -> Mapping[str, Any]:
    options: dict[str, Any] = {
        "id": run.workflow_id,
        "task_queue": run.task_queue,
        "cron_schedule": run.cron or "",
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
    }
    if run.start is None:
        return options
    timeouts = ("execution_timeout", "run_timeout", "task_timeout")
    options |= {name: getattr(run.start, name) for name in timeouts}
    if run.start.retry is not None:
        options["retry_policy"] = _retry_policy(run.start.retry)
    kept = {k: v for k, v in run.start.memo.items() if v.dropped is None}
    if kept:
        options["memo"] = {k: RawValue(await _restored(client, run, v)) for k, v in kept.items()}
    options["search_attributes"] = _search_attributes(run)
    return options


def _retry_policy(fields: Mapping[str, Any]) -> RetryPolicy:
    maximum = fields["maximum_interval"]
    return RetryPolicy(
        initial_interval=timedelta(seconds=fields["initial_interval"] or 1),
        backoff_coefficient=fields["backoff_coefficient"],
        maximum_interval=timedelta(seconds=maximum) if maximum else None,
        maximum_attempts=fields["maximum_attempts"],
        non_retryable_error_types=fields["non_retryable_error_types"],
    )


def _search_attributes(run: Run) -> TypedSearchAttributes:
    fields = run.start.search_attributes if run.start is not None else {}
    payloads = {name: to_payload(value) for name, value in fields.items()}
    return decode_typed_search_attributes(SearchAttributes(indexed_fields=payloads))


async def _restored(client: Client, run: Run, value: Value) -> Payload:
    return await restored(client.data_converter, run.namespace, run.workflow_id, value)


@dataclass
class _Tells(Interceptor):
    """Puts a header on the workflows that a client starts: the SDK's own call takes none."""

    header: Payload

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        header = self.header

        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
                input.headers = {**input.headers, HEADER: header}
                return await super().start_workflow(input)

        return Outbound(next)
