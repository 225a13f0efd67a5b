"""Workflows that end in many ways, and how a record is compared with Temporal."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

SOON = timedelta(seconds=30)
WORDS = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "continued_as_new",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


@activity.defn
async def echo(value: Any) -> Any:
    return value


@activity.defn
async def fails() -> None:
    raise ApplicationError("a secret reason", type="Refused", non_retryable=True)


@activity.defn
async def never() -> None:
    activity.raise_complete_async()


@workflow.defn(sandboxed=False)
class Child:
    @workflow.run
    async def run(self, value: str) -> str:
        return value


@workflow.defn(sandboxed=False)
class Waits:
    """Does one of each, then waits for a signal."""

    def __init__(self):
        self.released = False

    @workflow.run
    async def run(self, value: str) -> str:
        await workflow.execute_activity(echo, value, start_to_close_timeout=SOON)
        await asyncio.gather(
            workflow.execute_activity(echo, value, start_to_close_timeout=SOON),
            workflow.sleep(timedelta(milliseconds=1), summary="a nap"),
            workflow.execute_child_workflow(Child.run, value),
        )
        try:
            await workflow.execute_activity(fails, start_to_close_timeout=SOON)
        except Exception:
            await workflow.wait_condition(lambda: self.released)
        return value

    @workflow.signal
    def release(self):
        self.released = True


@workflow.defn(sandboxed=False)
class Locals:
    """Local activities among other steps."""

    @workflow.run
    async def run(self, value: str) -> str:
        local, remote = workflow.execute_local_activity, workflow.execute_activity
        await local(echo, "first", start_to_close_timeout=SOON)
        await asyncio.gather(
            local(echo, "second", start_to_close_timeout=SOON),
            remote(echo, "third", start_to_close_timeout=SOON),
            workflow.sleep(timedelta(milliseconds=1)),
        )
        await local(echo, "last", start_to_close_timeout=SOON)
        return value


@workflow.defn(sandboxed=False)
class Continues:
    @workflow.run
    async def run(self, left: int) -> str:
        await workflow.execute_activity(echo, left, start_to_close_timeout=SOON)
        if left:
            workflow.continue_as_new(left - 1)
        return "done"


@workflow.defn(sandboxed=False)
class FailsOnce:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(echo, 1, start_to_close_timeout=SOON)
        if workflow.info().attempt == 1:
            raise ApplicationError("the first attempt")
        return "done"


@workflow.defn(sandboxed=False)
class Ticks:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(echo, "tick", start_to_close_timeout=SOON)


ONCE_MORE = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
WORKFLOWS = (Child, Waits, Locals, Continues, FailsOnce, Ticks)
ACTIVITIES = [echo, fails, never]


async def until(condition, seconds=15.0):
    """Wait for an awaitable condition to become true, and return what it returned."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await condition()):
        assert asyncio.get_running_loop().time() < end, "it did not become true in time"
        await asyncio.sleep(0.02)
    return found


async def agreed(client, backend, workflow_id, run_id=None):
    """Return the record of a run that says what Temporal says, for sure."""
    run = await backend.runs.get(workflow_id, run_id=run_id)
    described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    assert run.run_id == described.run_id
    assert run.status == WORDS[described.status]
    if run.ended is not None:  # a worker says when its last task began
        assert timedelta(0) <= described.close_time - run.ended < timedelta(seconds=5)
    else:
        assert described.close_time is None
    # A reset run has the start of the run that was reset, whose history it goes on with.
    assert run.started <= described.start_time
    assert run.confirmed == (run.status != "running")
    return run


def shown(steps):
    """Return what steps say, but for times and what only workers know."""
    return [
        (s.number, s.kind, s.name, s.id, s.key, s.status, s.result, s.error and s.error.type)
        for s in steps
    ]
