"""Converters, codecs, interceptors and runners of others do with the plugin as they do without."""

import asyncio
import dataclasses
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, HeaderCodecBehavior, WorkflowFailureError
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadCodec
from temporalio.worker import (
    ActivityInboundInterceptor,
    Interceptor,
    Replayer,
    Worker,
    WorkflowInboundInterceptor,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from temporal_state import StatePlugin, StateStore, StateType, state

SOON = timedelta(seconds=20)
W = StateType.WORKFLOWS


@activity.defn
async def echo(values: list) -> list:
    activity.heartbeat(n for n in range(3))
    return values


@workflow.defn
class PassesIterables:
    @workflow.run
    async def run(self) -> list:
        remote = await workflow.execute_activity(
            echo, (n for n in range(3)), start_to_close_timeout=SOON
        )
        local = await workflow.execute_local_activity(
            echo, map(abs, [-1, -2]), start_to_close_timeout=SOON
        )
        return [remote, local]


@pytest.mark.parametrize("with_plugin", [True, False])
async def test_arguments_are_converted_once(on_dev, with_plugin):
    options = {} if with_plugin else {"plugins": []}
    async with on_dev.worker(PassesIterables, activities=[echo], **options):
        assert await on_dev.run(PassesIterables.run) == [[0, 1, 2], [1, 2]]


class RandomConverter(DefaultPayloadConverter):
    """Draws from the workflow's random numbers whenever it converts."""

    def to_payloads(self, values):
        if workflow.in_workflow() and not workflow.unsafe.is_read_only():
            workflow.uuid4()
        return super().to_payloads(values)


@workflow.defn(sandboxed=False)
class Draws:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(echo, [1], start_to_close_timeout=SOON)
        return str(workflow.random().random())


async def test_a_converter_with_side_effects_runs_as_often_as_without_us(on_dev):
    converter = dataclasses.replace(DataConverter.default, payload_converter_class=RandomConverter)
    on_dev.client = await connect(on_dev, data_converter=converter)
    async with on_dev.worker(Draws, activities=[echo]):
        handle = await on_dev.start(Draws.run)
        await handle.result()
    replayer = Replayer(workflows=[Draws], data_converter=converter)
    replayed = await replayer.replay_workflow(await handle.fetch_history())
    assert replayed.replay_failure is None


class Reversed(PayloadCodec):
    """Encodes by reversing; decodes only what it has encoded."""

    async def encode(self, payloads):
        return [self._turned(p, b"binary/reversed") for p in payloads]

    async def decode(self, payloads):
        return [
            type(p).FromString(p.data[::-1])
            if p.metadata.get("encoding") == b"binary/reversed"
            else p
            for p in payloads
        ]

    def _turned(self, payload, encoding):
        data = payload.SerializeToString()[::-1]
        return type(payload)(metadata={"encoding": encoding}, data=data)


@activity.defn
async def saves(id: str) -> dict:
    await StateStore.save_state("n", 1, id, W)
    return await state.update(own=1)


@workflow.defn
class Saves:
    @workflow.run
    async def run(self, id: str) -> dict:
        await StateStore.save_state("n", 1, id, W)
        return await workflow.execute_activity(saves, id, start_to_close_timeout=SOON)


async def connect(runner, **options) -> Client:
    return await Client.connect(runner.client.service_client.config.target_host, **options)


@pytest.mark.parametrize("behaviour", HeaderCodecBehavior)
async def test_headers_may_be_encoded_or_not(on_dev, behaviour):
    converter = dataclasses.replace(DataConverter.default, payload_codec=Reversed())
    on_dev.client = await connect(on_dev, data_converter=converter, header_codec_behavior=behaviour)
    id = uuid.uuid4().hex
    async with on_dev.worker(Saves, activities=[saves]):
        assert await on_dev.run(Saves.run, id) == {"own": 1}
    assert (await on_dev.backend.documents.read(id)).version == 2


class Denies(Interceptor):
    """Lets no activity run that it does not know."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: Any) -> Any:
                if activity.info().activity_type.startswith("temporal_state."):
                    raise RuntimeError("unknown activity type")
                return await super().execute_activity(input)

        return Inbound(next)


async def test_an_operation_that_cannot_even_start_ends_at_its_timeout(on_dev):
    plugin = StatePlugin(on_dev.backend, operation_timeout=timedelta(seconds=1))
    async with on_dev.worker(Saves, activities=[saves], plugins=[plugin], interceptors=[Denies()]):
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(on_dev.run(Saves.run, "a"), 15)


class UsesState(Interceptor):
    """An interceptor whose own code uses state, around activities and workflows."""

    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: Any) -> Any:
                if not activity.info().activity_type.startswith("temporal_state."):
                    await StateStore.save_state("by", "activity interceptor", "audit-1", W)
                return await super().execute_activity(input)

        return Inbound(next)

    def workflow_interceptor_class(self, input):
        return UsesStateInWorkflow


class UsesStateInWorkflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: Any) -> Any:
        await StateStore.save_state("by", "workflow interceptor", "audit-2", W)
        return await super().execute_workflow(input)


async def test_interceptors_of_others_use_the_plugins_store(on_dev):
    async with on_dev.worker(Saves, activities=[saves], interceptors=[UsesState()]):
        await on_dev.run(Saves.run, uuid.uuid4().hex)
    documents = on_dev.backend.documents
    assert await documents.get("audit-1") == {"by": "activity interceptor"}
    assert await documents.get("audit-2") == {"by": "workflow interceptor"}


class MyRunner(SandboxedWorkflowRunner):
    """A runner of another plugin, recognised by its class."""

    note = "kept"


async def test_a_runner_of_another_kind_stays_of_its_kind(on_dev):
    worker = on_dev.worker(Saves, activities=[saves], workflow_runner=MyRunner())
    runner = worker.config(active_config=True)["workflow_runner"]
    assert isinstance(runner, MyRunner)
    assert runner.note == "kept"
    assert type(dataclasses.replace(runner)) is type(runner)
    async with worker:
        assert await on_dev.run(Saves.run, uuid.uuid4().hex) == {"own": 1}


@workflow.defn
class OnlyReports:
    @workflow.run
    async def run(self) -> str:
        state.progress(1, 2)
        return "done"


async def test_the_plugin_can_be_taken_away_from_code_that_only_reports(on_dev):
    async with on_dev.worker(OnlyReports):
        handle = await on_dev.start(OnlyReports.run)
        assert await handle.result() == "done"
    queue = uuid.uuid4().hex
    async with Worker(on_dev.client, task_queue=queue, workflows=[OnlyReports]):
        result = await on_dev.client.execute_workflow(OnlyReports.run, id=queue, task_queue=queue)
    assert result == "done"
    await Replayer(workflows=[OnlyReports]).replay_workflow(await handle.fetch_history())
