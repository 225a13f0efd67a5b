"""A store that raises, hangs, is slow or full: workflows do as without us; losses are counted."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from temporal_state import (
    ConfigurationError,
    Limits,
    Recording,
    StateBackend,
    StatePlugin,
    StoreError,
    StoreFullError,
    StoreTimeoutError,
)
from temporal_state.runs import Patch, RunRef
from temporal_state.storage import MemoryStore
from temporal_state.temporal._capture import CaptureSettings, ValueEncoder, captured
from temporal_state.temporal._recorder import AT_ONCE, LONGEST, Recorder, RecorderSettings
from temporal_state.testing import FailingStore

SOON = timedelta(seconds=20)
STEPS = 30
SHORT = timedelta(milliseconds=300)


@activity.defn
async def double(n: int) -> int:
    return 2 * n


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self) -> int:
        total = 0
        for n in range(STEPS):
            total += await workflow.execute_activity(double, n, start_to_close_timeout=SOON)
        return total


FAULTS = {
    "raises": StoreError("the disk is gone"),
    "full": StoreFullError("no space left"),
    "raises what nobody expects": RuntimeError("a bug in the store"),
    "hangs": timedelta(hours=1),
    "is slow": timedelta(seconds=1),
}


@pytest.fixture(params=FAULTS)
async def faulty(request):
    store = FailingStore(MemoryStore())
    fault = FAULTS[request.param]
    if isinstance(fault, timedelta):
        store.delay = fault
    else:
        store.error = fault
    return request.param, store


@pytest.fixture(scope="module")
def metered():
    buffer = MetricBuffer(100_000)
    return buffer, Runtime(telemetry=TelemetryConfig(metrics=buffer))


async def test_workflows_complete_and_losses_are_counted(on_dev, faulty, metered):
    name, store = faulty
    buffer, runtime = metered
    target = on_dev.client.service_client.config.target_host
    on_dev.client = await Client.connect(target, runtime=runtime)
    recording = Recording(flush_interval=timedelta(milliseconds=50), shutdown_timeout=SHORT)
    plugin = StatePlugin(StateBackend.open(store), recording=recording)
    buffer.retrieve_updates()
    async with on_dev.worker(Doubles, activities=[double], plugins=[plugin]):
        result = await asyncio.wait_for(on_dev.run(Doubles.run), 15)
        stopping = time.monotonic()
    assert result == STEPS * (STEPS - 1)
    assert time.monotonic() - stopping < 10  # not for as long as the store hangs
    counted = {}
    for update in buffer.retrieve_updates():
        counted[update.metric.name] = counted.get(update.metric.name, 0) + update.value
    if name != "is slow":
        assert counted["temporal_state_lost"] > 0
        assert counted.get("temporal_state_written", 0) == 0
    else:
        assert sum(counted.get(f"temporal_state_{name}", 0) for name in ("lost", "written")) > 0


async def test_a_store_that_recovers_gets_all_that_was_kept(on_dev):
    store = FailingStore(MemoryStore())
    store.error = StoreError("for a while")
    backend = StateBackend.open(store)
    recording = Recording(flush_interval=timedelta(milliseconds=50))
    plugin = StatePlugin(backend, recording=recording)
    async with on_dev.worker(Doubles, activities=[double], plugins=[plugin]):
        handle = await on_dev.start(Doubles.run)
        await handle.result()
        assert store.calls > 0
        store.error = None
    async with backend:
        run = await backend.runs.get(handle.id)
        steps = await backend.runs.steps(handle.id)
    assert (run.status, run.confirmed, run.lost) == ("completed", True, 0)
    assert [step.status for step in steps] == ["completed"] * STEPS
    assert [step.attempt for step in steps] == [1] * STEPS


def reference(n=0):
    return RunRef("default", f"wf-{n}", uuid.uuid4().hex, datetime.now(UTC))


def header(ref, clock=1):
    return {"clock": clock, "synced": clock, "chain": ref.run_id, "checkpoints": []}


async def recorder_on(store, **settings):
    backend = StateBackend.open(store)
    await backend.start()
    capture = CaptureSettings()
    encoder = ValueEncoder(capture, DataConverter.default, asyncio.get_running_loop())
    recorder = Recorder(backend.runs, encoder, RecorderSettings(**settings))
    recorder.start()
    return recorder


async def test_memory_is_bounded_and_ends_are_kept_before_all_else():
    store = FailingStore(MemoryStore())
    store.delay = timedelta(hours=1)
    recorder = await recorder_on(store, max_pending=100, shutdown_timeout=SHORT)
    for n in range(1000):
        ref = reference(n)
        recorder.tell(Patch(ref, header(ref)), False)
    assert len(recorder._queue) + len(recorder._pending) <= 100
    assert recorder.lost == 900
    ref = reference()
    recorder.tell(Patch(ref, header(ref), final=True), False)
    assert recorder.lost == 900
    await asyncio.to_thread(recorder.stop)
    assert recorder.lost == 1001


def with_result(size, number=1):
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"1" * size)
    end = {"status": "completed", "time": "", "clock": 1}
    result = captured("result", payload, limit=10**9, step="a")
    call = {"kind": "activity", "name": "a", "key": "k", "clock": 1}
    return {number: {"call": call, "end": {**end, "result": result}}}


async def test_values_are_bounded_in_bytes_and_dropped_before_what_they_belong_to():
    store = FailingStore(MemoryStore())
    store.error = StoreError("for a while")
    recorder = await recorder_on(
        store, max_pending_bytes=10_000, flush_interval=timedelta(milliseconds=20)
    )
    refs = [reference(n) for n in range(20)]
    for ref in refs:
        recorder.tell(Patch(ref, header(ref), with_result(1000)), False)
        await asyncio.sleep(0.01)  # some fail to be written meanwhile
        assert recorder._backlog.bytes <= 10_000
    assert recorder.lost == 20  # ten runs, each with a header and a step
    store.error = None
    await asyncio.to_thread(recorder.stop)
    assert (recorder._backlog.bytes, recorder._backlog.changes) == (0, 0)
    runs = StateBackend.open(store).runs
    kept = [(await runs._read(runs._places.run(ref)))["steps"]["1"]["end"] for ref in refs]
    assert [end["status"] for end in kept] == ["completed"] * 20
    assert [end["result"].get("dropped") for end in kept[10:]] == ["no room in memory"] * 10
    assert [len(end["result"].get("text", "")) for end in kept[:10]] == [1000] * 10


async def test_what_is_known_of_one_run_is_merged_while_it_waits():
    store = FailingStore(MemoryStore())
    recorder = await recorder_on(
        store, flush_interval=timedelta(minutes=5), max_pending=100, shutdown_timeout=SOON
    )
    while recorder._loop is None:
        await asyncio.sleep(0.01)
    ref = reference()
    for clock in range(1000):
        recorder.tell(Patch(ref, header(ref, clock)), False)
        while len(recorder._queue) >= 50:
            await asyncio.sleep(0.01)  # the recorder takes its queue in between
    await asyncio.to_thread(recorder.stop)
    assert (recorder.written, recorder.lost) == (1, 0)
    (key,) = [key for key in await store.inner.list() if "/runs/" in key]
    found = await StateBackend.open(store).runs._read(key)
    assert found["clock"] == 999


@pytest.mark.parametrize(
    ("limit", "size"), [({"max_pending": 100}, 1), ({"max_pending_bytes": 100_000}, 1000)]
)
async def test_what_fills_the_room_is_written_before_its_time(limit, size):
    recorder = await recorder_on(MemoryStore(), flush_interval=timedelta(minutes=5), **limit)
    while recorder._loop is None:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        for n in range(300):  # three times as much as there is room for
            ref = reference(n)
            recorder.tell(Patch(ref, header(ref), with_result(size)), False)
            while recorder._backlog.is_crowded:
                await asyncio.sleep(0.001)
    assert recorder.written > 100
    await asyncio.to_thread(recorder.stop)
    assert recorder.lost == 0


async def test_a_full_room_does_not_hurry_a_store_that_fails():
    store = FailingStore(MemoryStore())
    store.error = StoreError("for a while")
    recorder = await recorder_on(store, flush_interval=timedelta(seconds=1), max_pending=10)
    before = store.calls
    while store.calls == before:
        recorder.tell(Patch(ref := reference(1), header(ref)), False)
        await asyncio.sleep(0.01)
    tried = store.calls
    for n in range(60):
        recorder.tell(Patch(ref := reference(n), header(ref)), False)
        await asyncio.sleep(0.005)
    assert store.calls <= 2 * tried  # one more flush may have come in 0.3 s
    store.error = None
    await asyncio.to_thread(recorder.stop)


async def test_what_cannot_be_written_at_all_does_not_hold_up_the_rest():
    recorder = await recorder_on(MemoryStore(), flush_interval=timedelta(milliseconds=20))
    bad, good = reference(1), reference(2)
    recorder.tell(Patch(bad, {**header(bad), "broken": object()}), False)
    recorder.tell(Patch(good, header(good)), False)
    await asyncio.to_thread(recorder.stop)
    assert (recorder.written, recorder.lost, recorder._backlog.changes) == (1, 1, 0)


async def test_what_cannot_be_merged_is_lost_with_the_room_it_took():
    recorder = await recorder_on(MemoryStore(), flush_interval=timedelta(minutes=5))
    ref, call = reference(), {"kind": "activity", "name": "a", "key": "k", "clock": 1}
    recorder.tell(Patch(ref, header(ref), {1: {"call": call}}), False)
    senseless = {"call": call | {"clock": "not a number"}}
    recorder.tell(Patch(ref, header(ref, 2), {1: senseless, 2: {"call": call}}), False)
    await asyncio.to_thread(recorder.stop)
    assert (recorder.lost, recorder._backlog.changes) == (3, 0)


async def test_records_that_are_damaged_or_newer_hold_up_neither_the_rest_nor_a_shutdown(caplog):
    store = MemoryStore()
    recorder = await recorder_on(store, flush_interval=timedelta(milliseconds=10))
    bad, good = [reference(n) for n in range(AT_ONCE)], reference(AT_ONCE)
    for ref in bad:
        recorder.tell(Patch(ref, header(ref)), False)
    while recorder.written < len(bad):
        await asyncio.sleep(0.01)
    for key in [key for key in await store.list() if key.endswith("/run.json")]:
        await store.put(key, b'{"schema": 2}')
    for clock in (2, 3):
        for ref in bad:
            recorder.tell(Patch(ref, header(ref, clock)), False)
        while recorder.lost < len(bad) * (clock - 1):
            await asyncio.sleep(0.01)
    recorder.tell(Patch(good, header(good)), False)
    stopping = time.monotonic()
    await asyncio.to_thread(recorder.stop)
    assert time.monotonic() - stopping < 5
    assert (recorder.written, recorder.lost, recorder._backlog.changes) == (
        len(bad) + 1,
        2 * len(bad),
        0,
    )
    warned = [record for record in caplog.records if "upgrade" in record.getMessage()]
    assert len(warned) == len(bad)  # once for each run


async def test_a_failure_leaves_no_trace_in_the_count_of_what_waits():
    store = FailingStore(MemoryStore())
    recorder = await recorder_on(store, flush_interval=timedelta(milliseconds=20))
    ref = reference()
    call = {"kind": "activity", "name": "a", "key": "k", "clock": 1}
    steps = {number: {"call": call} for number in range(1, 50)}
    store.error = StoreError("for a while")
    before = store.calls
    recorder.tell(Patch(ref, header(ref), steps), True)
    while store.calls < before + 2:
        await asyncio.sleep(0.01)  # until it has failed
    store.error = None
    await asyncio.to_thread(recorder.stop)
    assert (recorder.lost, recorder._backlog.changes) == (0, 0)


@pytest.mark.parametrize("fault", [StoreError("gone"), RuntimeError("a bug"), KeyError("x")])
async def test_no_fault_of_the_store_ends_the_recorder(fault):
    store = FailingStore(MemoryStore())
    recorder = await recorder_on(store, flush_interval=timedelta(milliseconds=10))
    store.error = fault
    before = store.calls
    recorder.tell(Patch(ref := reference(), header(ref)), False)
    while store.calls < before + 2:
        await asyncio.sleep(0.01)
    store.error = None
    recorder.tell(Patch(later := reference(1), header(later)), False)
    await asyncio.to_thread(recorder.stop)
    keys = [key for key in await store.inner.list() if "/runs/" in key]
    assert any(later.run_id in key for key in keys)
    assert (recorder.written + recorder.lost, recorder._backlog.changes) == (2, 0)


async def test_values_are_kept_though_the_loop_of_the_first_worker_has_ended():
    ended = asyncio.new_event_loop()
    ended.close()
    encoder = ValueEncoder(CaptureSettings(), DataConverter(payload_codec=Reversing()), ended)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"12")
    stored = await encoder.encode_value(captured("result", payload, 100), reference())
    assert stored == {"encoding": "json/plain", "text": "21"}


class Reversing(PayloadCodec):
    async def encode(self, payloads):
        return [Payload(metadata=p.metadata, data=p.data[::-1]) for p in payloads]

    async def decode(self, payloads):
        return await self.encode(payloads)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flush_interval": timedelta()},
        {"shutdown_timeout": -timedelta(seconds=1)},
        {"ack_timeout": -timedelta(seconds=1)},
        {"checkpoint_every": 0},
        {"max_pending": 0},
        {"capture_limit": -1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_limit_that_cannot_work_is_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Recording(**wrong)


async def test_reading_a_store_that_hangs_ends_in_time():
    store = FailingStore(MemoryStore())
    limits = Limits(operation_timeout=timedelta(milliseconds=50))
    async with StateBackend.open(store, limits=limits) as backend:
        store.delay = timedelta(hours=1)
        for reading in (
            backend.documents.list(),
            backend.runs.get("a"),
            backend.runs.list(),
            backend.runs.steps("a"),
        ):
            with pytest.raises(StoreTimeoutError):
                await asyncio.wait_for(reading, 5)


async def test_writing_takes_a_share_of_the_processor_and_no_more(monkeypatch):
    pauses, wait_for = [], asyncio.wait_for

    async def measured(awaitable, seconds):
        pauses.append(seconds)
        return await wait_for(awaitable, seconds)

    monkeypatch.setattr("temporal_state.temporal._recorder.asyncio.wait_for", measured)
    interval = 0.02
    recorder = await recorder_on(MemoryStore(), flush_interval=timedelta(seconds=interval))
    for n in range(500):
        recorder.tell(Patch(ref := reference(n), header(ref)), False)
    while recorder.written < 500 or len(pauses) < 4:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(recorder.stop)
    assert (
        interval < max(p for p in pauses if p) <= LONGEST * interval
    )  # after the flush of them all
    assert pauses[0] == pauses[-1] == interval  # before there was anything, and when all is done
