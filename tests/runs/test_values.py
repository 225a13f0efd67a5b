"""Large values lie beside the record: it stays small, and its readers do not notice."""

import base64
import json
import re
from datetime import timedelta

import pytest
from as_told import NOON, call, header, told

from temporal_state import ConfigurationError, DamagedObjectError, InvalidValueError, StateBackend
from temporal_state.documents import to_text
from temporal_state.runs import Patch, Value
from temporal_state.runs._values import INLINE_BYTES
from temporal_state.storage import Compressed, MemoryStore
from temporal_state.testing import FailingStore

SECOND = timedelta(seconds=1)
LARGE = {"text": "x" * INLINE_BYTES}


def encoded(value):
    return {"encoding": "json/plain", "text": json.dumps(value)}


async def sizes(backend):
    return {k: (await backend.store.head(k)).size for k in await backend.store.list()}


async def test_large_values_are_kept_apart_and_read_as_if_they_were_not(backend, runs):
    ref = await runs.start("big", workflow_type="T", input=[LARGE, "small"])
    await runs.step(ref, number=1, name="s", input=[LARGE], result=[LARGE])
    await runs.step(ref, number=100, name="s", result={"other": LARGE})
    await runs.finish(ref, "completed", result=LARGE)
    run = await runs.get("big")
    assert [v.json() for v in run.input] == [LARGE, "small"]
    assert run.result.json() == LARGE
    steps = await runs.steps("big")
    assert [s.result.json() for s in steps] == [[LARGE], {"other": LARGE}]
    assert steps[0].input[0].json() == LARGE
    apart = {k: size for k, size in (await sizes(backend)).items() if "/values/" in k}
    assert len(apart) == 3  # equal ones are one
    assert all(size < 2000 for k, size in (await sizes(backend)).items() if k not in apart)


async def test_a_list_does_not_read_large_values_and_says_so(runs):
    await runs.start("big", workflow_type="T", input=[LARGE])
    (run,) = await runs.list()
    assert run.input[0].size > INLINE_BYTES
    with pytest.raises(InvalidValueError, match=r"runs\.get"):
        run.input[0].json()


async def test_bytes_of_any_encoding_are_kept_as_they_are(runs, ref):
    secret = bytes(range(256)) * 100
    value = {"encoding": "binary/encrypted", "base64": base64.b64encode(secret).decode()}
    value["metadata"] = {"key": "aWQ="}
    await told(runs, ref, 1, result=value)
    result = (await runs.get("order-7")).result
    assert (result.encoding, result.data, result.metadata) == (
        "binary/encrypted",
        secret,
        {"key": "aWQ="},
    )
    with pytest.raises(InvalidValueError, match="binary/encrypted"):
        result.json()


async def test_bytes_that_look_compressed_come_back_as_they_are():
    store = MemoryStore()
    async with StateBackend.open(store, transform=Compressed()) as backend:
        ref = await backend.runs.start("w", workflow_type="T")
        data = b"\x28\xb5\x2f\xfd" + b"x" * INLINE_BYTES  # of a codec that compresses, too
        value = {"encoding": "binary/zstd", "base64": base64.b64encode(data).decode()}
        await told(backend.runs, ref, 1, result=value)
        assert (await backend.runs.get("w")).result.data == data
    async with StateBackend.open(store) as backend:
        with pytest.raises(ConfigurationError, match="Compressed"):
            await backend.runs.get("w")


async def test_a_run_of_small_values_is_at_most_two_objects(backend, runs, ref):
    patch = Patch(ref, header(ref, 30, step_count=10, input=[encoded("small")]))
    for n in range(1, 11):
        end = {"status": "completed", "time": to_text(NOON), "clock": n, "result": encoded("r")}
        patch.steps[n] = {**call(n), "end": end}
        patch.attempts[f"k{n}"] = {"attempt": 1, "started": to_text(NOON), "worker": "w"}
    assert await runs.write(patch, "writer") == 2
    assert len([k for k in await backend.store.list() if not re.search("/by-hand/|/feed/", k)]) == 2


async def test_a_large_input_is_written_once_however_often_a_worker_tells_it(backend, runs, ref):
    for clock in range(5):  # a codec encodes it anew each time
        data = base64.b64encode(f"{clock}".encode() * INLINE_BYTES * 2).decode()
        written = await told(
            runs, ref, clock, input=[{"encoding": "binary/encrypted", "base64": data}]
        )
        assert written == (2 if clock == 0 else 1)
    assert (await runs.get("order-7")).input[0].data == b"0" * INLINE_BYTES * 2
    assert len([k for k in await backend.store.list() if "/values/" in k]) == 1


async def test_a_write_at_step_10000_costs_as_one_at_step_100(backend, runs, ref):
    cost = {}
    for n in (100, 10_000):
        await told(runs, ref, n - 1, steps=range(n - 99, n))
        before = await etags(backend)
        assert await told(runs, ref, n, steps=[n]) == 2
        after = await etags(backend)
        cost[n] = sum(
            size for key, (tag, size) in after.items() if before.get(key, "")[0:1] != (tag,)
        )
    assert cost[10_000] < cost[100] * 1.5


async def etags(backend):
    found = {key: await backend.store.get(key) for key in await backend.store.list()}
    return {key: (one.etag, len(one.data)) for key, one in found.items()}


async def test_a_value_that_is_gone_is_an_error(backend, runs):
    await runs.start("big", workflow_type="T", input=[LARGE])
    (key,) = [k for k in await backend.store.list() if "/values/" in k]
    await backend.store.delete(key)
    with pytest.raises(DamagedObjectError, match="values"):
        await runs.get("big")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Value("json/plain", None, dropped="redacted"), "redacted"),
        (Value("json/plain", b"{"), "no JSON"),
        (Value("binary/null", b""), "binary/null"),
        (Value("json/plain", None, size=9), "9 bytes"),
    ],
)
def test_a_value_that_is_no_json_says_why(value, message):
    with pytest.raises(InvalidValueError, match=message):
        value.json()
    assert Value("json/protobuf", b"[1]").json() == [1]


async def test_finding_a_run_does_not_list_all_that_a_run_has():
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store) as backend:
        for n in range(3):
            ref = await backend.runs.start("w", workflow_type="T", started=NOON + n * SECOND)
            folder = backend.runs._places.folder(ref)
            for m in range(2500):
                await store.inner.put(f"{folder}values/{m}.json", b"")
        before = store.calls
        assert (await backend.runs.get("w")).run_id == ref.run_id
        assert store.calls - before < 10
