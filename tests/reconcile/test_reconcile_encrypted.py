"""Who encrypts payloads finds no plaintext in a record that was made from a history."""

import dataclasses
import uuid

import pytest
from ciphers import Cipher
from reconciling import ACTIVITIES, WORKFLOWS, Waits
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import DefaultFailureConverter
from temporalio.worker import Worker

from temporal_state import Recording, StatePlugin
from temporal_state.temporal import reconcile

SECRET = "hunter2"


class EncodedFailures(DefaultFailureConverter):
    def __init__(self):
        super().__init__(encode_common_attributes=True)


@pytest.mark.parametrize("capture", ["results", "all", "none"])
@pytest.mark.parametrize("encoded", [False, True])
async def test_a_record_from_a_history_has_no_plaintext(dev, backend, capture, encoded):
    config = dev.client.config()
    converter = dataclasses.replace(config["data_converter"], payload_codec=Cipher())
    if encoded:
        converter = dataclasses.replace(converter, failure_converter_class=EncodedFailures)
    client = Client(**{**config, "data_converter": converter})
    queue = id = uuid.uuid4().hex
    plugin = StatePlugin(backend, recording=None)
    async with Worker(
        client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES, plugins=[plugin]
    ):
        handle = await client.start_workflow(
            Waits.run, SECRET, id=id, task_queue=queue, memo={"secret": SECRET}
        )
        await handle.signal(Waits.release)
        assert await handle.result() == SECRET
    settings = {"recording": Recording(capture=capture), "calls_per_second": 1000}
    await reconcile(client, backend, id, **settings)
    assert (await reconcile(client, backend, id, **settings)).changed == []
    run = await backend.runs.get(id)
    steps = await backend.runs.steps(id)
    assert run.counts == {"completed": 4, "failed": 1}
    for key in await backend.store.list():
        found = await backend.store.get(key)
        assert b"hunter2" not in found.data
        assert b"secret reason" not in found.data
    if capture == "none":
        assert (run.input, run.result, run.start) == ([], None, None)
        assert all(step.result is None for step in steps)
        return
    values = [run.input[0], run.result, *(s.result for s in steps if s.kind == "child")]
    kept = [Payload(metadata={"encoding": b"binary/mixed"}, data=v.data) for v in values]
    decoded = await Cipher().decode(kept)
    assert {payload.data for payload in decoded} == {b'"hunter2"'}
    assert bool(steps[0].input) == (capture == "all")
    assert all(step.key for step in steps if step.kind != "timer")


async def test_what_is_redacted_is_not_kept(on_dev):
    async with on_dev.worker(
        *WORKFLOWS, activities=ACTIVITIES, plugins=[StatePlugin(on_dev.backend, recording=None)]
    ):
        handle = await on_dev.start(Waits.run, SECRET)
        await handle.signal(Waits.release)
        await handle.result()
    recording = Recording(redact=lambda about, payload: None)
    await reconcile(on_dev.client, on_dev.backend, handle.id, recording=recording)
    run = await on_dev.backend.runs.get(handle.id)
    assert (run.input[0].dropped, run.result.dropped) == ("redacted", "redacted")
    again = await reconcile(on_dev.client, on_dev.backend, handle.id, recording=recording)
    assert again.changed == []


class Loses(Cipher):
    """A codec whose keys are gone."""

    def _decrypt(self, payload):
        raise RuntimeError("no such key")


async def test_a_codec_that_cannot_decode_hides_no_status(dev, backend):
    config = dev.client.config()
    converter = dataclasses.replace(config["data_converter"], payload_codec=Cipher())
    client = Client(**{**config, "data_converter": converter})
    queue = id = uuid.uuid4().hex
    async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
        handle = await client.start_workflow(Waits.run, SECRET, id=id, task_queue=queue)
        await handle.signal(Waits.release)
        await handle.result()
    converter = dataclasses.replace(config["data_converter"], payload_codec=Loses())
    result = await reconcile(Client(**{**config, "data_converter": converter}), backend, id)
    assert "no such key" in result.errors[0][2]
    run = await backend.runs.get(id)
    assert (run.status, run.confirmed, run.steps, run.result) == ("completed", True, 5, None)
