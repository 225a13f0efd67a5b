"""What no interceptor can do without: the least that tells an activity which call it is.

It keeps nothing, or the result in a file. What it costs, everything costs that does as much.
"""

import asyncio
import uuid
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from benchmarks.storage import Raw

HEADER = Payload(data=b"1")


def bare(_root: str) -> SimplePlugin:
    """Return a plugin that gives each call a header of one byte, and passes on all else."""
    return SimplePlugin("bare", interceptors=[_Bare()])


def saving(root: str) -> SimplePlugin:
    """Return a plugin that writes each result to a file, durably, before Temporal learns of it."""
    return SimplePlugin("saving", interceptors=[_Saving(Raw(f"{root}/raw"))])


class _Saving(Interceptor):
    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Saved(next, self._raw)


class _Saved(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, raw: Raw) -> None:
        super().__init__(next)
        self._raw = raw

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        result = await self.next.execute_activity(input)
        await asyncio.to_thread(self._raw.put, uuid.uuid4().hex, b"%d" % result)
        return result


class _Bare(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self.next.execute_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        input.headers = {**input.headers, "bare": HEADER}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        input.headers = {**input.headers, "bare": HEADER}
        return super().start_local_activity(input)
