"""Who encrypts payloads finds no plaintext of inputs, results or errors anywhere under the root."""

import dataclasses
from datetime import timedelta

import pytest
from ciphers import Cipher
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.converter import DataConverter, DefaultFailureConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from temporal_state import ConfigurationError, Recording, StatePlugin, state

SOON = timedelta(seconds=20)
SECRET = "hunter2"
ONCE = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10))


class EncodedFailures(DefaultFailureConverter):
    def __init__(self):
        super().__init__(encode_common_attributes=True)


@activity.defn
async def handles(secret: str) -> str:
    activity.heartbeat(secret)
    return f"{secret} handled"


@activity.defn
async def fails(secret: str) -> None:
    raise ApplicationError(f"cannot handle {secret}", {"detail": secret}, type="Refused")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, secret: str) -> str:
        return f"{secret} child"


@workflow.defn
class Secretive:
    @workflow.run
    async def run(self, secret: str) -> None:
        await workflow.execute_activity(handles, secret, start_to_close_timeout=SOON)
        await workflow.execute_local_activity(handles, secret, start_to_close_timeout=SOON)
        await workflow.execute_child_workflow(Child.run, secret)
        for execute in (workflow.execute_activity, workflow.execute_local_activity):
            try:
                await execute(fails, secret, start_to_close_timeout=SOON, retry_policy=ONCE)
            except Exception:
                workflow.logger.info("failed as it should")
        await state.update(public="this is written on purpose")
        raise ApplicationError(f"the end of {secret}", type="TheEnd")


@pytest.mark.parametrize("failures", [DefaultFailureConverter, EncodedFailures])
async def test_no_plaintext_is_kept(on_dev, tmp_path, failures):
    converter = dataclasses.replace(
        DataConverter.default, payload_codec=Cipher(), failure_converter_class=failures
    )
    on_dev.client = await Client.connect(
        on_dev.client.service_client.config.target_host, data_converter=converter
    )
    plugin = StatePlugin(on_dev.backend, recording=Recording(capture="all", checkpoint_every=1))
    worker = on_dev.worker(
        Secretive, Child, activities=[handles, fails], plugins=[plugin], max_cached_workflows=0
    )
    async with worker:
        handle = await on_dev.start(Secretive.run, SECRET)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    run = await on_dev.backend.runs.get(handle.id)
    assert (run.status, run.error.type, run.error.message) == ("failed", "TheEnd", None)
    assert run.input[0].encoding == "binary/mixed"
    steps = await on_dev.backend.runs.steps(handle.id)
    assert [step.status for step in steps[:3]] == ["completed"] * 3
    assert {step.error.type for step in steps if step.error} == {"Refused"}
    results = [step.result for step in steps[:3]]
    for value in [*run.input, *results]:
        plain = (await Cipher().decode([Payload(metadata=_metadata(value), data=value.data)]))[0]
        assert SECRET.encode() in plain.data
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"on purpose" in path.read_bytes() for path in found)
    assert not [path for path in found if SECRET.encode() in path.read_bytes()]
    assert not [path for path in found if SECRET in str(path)]


def _metadata(value):
    return {"encoding": value.encoding.encode()}


class Broken(Cipher):
    async def encode(self, payloads):
        if any(SECRET.encode() in payload.data for payload in payloads):
            raise RuntimeError("the key server is gone")
        return payloads


@workflow.defn
class Plain:
    @workflow.run
    async def run(self) -> None:
        state.progress(1, 2, "half")
        raise ApplicationError(SECRET, type="TheEnd")


async def test_what_cannot_be_encoded_is_not_kept_at_all(on_dev, tmp_path):
    converter = dataclasses.replace(DataConverter.default, payload_codec=Broken())
    on_dev.client = await Client.connect(
        on_dev.client.service_client.config.target_host, data_converter=converter
    )
    async with on_dev.worker(Plain):
        handle = await on_dev.start(Plain.run)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    run = await on_dev.backend.runs.get(handle.id)
    assert (run.status, run.error.type, run.error.message) == ("failed", "TheEnd", None)
    assert run.progress.message == "half"
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


async def test_one_plugin_does_not_serve_two_data_converters(on_dev):
    plugin = StatePlugin(on_dev.backend)
    converter = dataclasses.replace(DataConverter.default, payload_codec=Cipher())
    target = on_dev.client.service_client.config.target_host
    encrypting = await Client.connect(target, data_converter=converter)
    async with on_dev.worker(Plain, plugins=[plugin]):
        with pytest.raises(WorkflowFailureError):
            await on_dev.run(Plain.run)  # so this worker runs
        other = Worker(encrypting, task_queue="other", workflows=[Plain], plugins=[plugin])
        with pytest.raises(ConfigurationError, match="data converter"):
            await other.run()
