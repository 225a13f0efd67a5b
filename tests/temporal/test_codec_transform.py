"""What is stored passes the user's codec: no plaintext at rest, nor in any error."""

import asyncio
import hashlib
import logging
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowFailureError
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from temporal_state import (
    CodecTransform,
    Compressed,
    ConfigurationError,
    DamagedObjectError,
    Limits,
    Recording,
    StateBackend,
    StatePlugin,
    StateStore,
    StateType,
    StoreError,
    TooLargeError,
    configure,
    state,
)
from temporal_state.storage import ENCODED, MemoryStore

W = StateType.WORKFLOWS
SECRET = "hunter2"
SOON = timedelta(seconds=20)


class Codec(PayloadCodec):
    """Encrypts whole payloads with a random nonce, and notices what was changed."""

    def __init__(self, secret=b"right"):
        self.secret = secret
        self.error = None
        self.threads = set()
        self.loops = set()

    async def encode(self, payloads):
        self._visit()
        return [
            Payload(metadata={"encoding": b"binary/sealed"}, data=self._seal(p)) for p in payloads
        ]

    async def decode(self, payloads):
        self._visit()
        return [self._unseal(p) for p in payloads]

    def _visit(self):
        self.threads.add(threading.current_thread())
        self.loops.add(asyncio.get_running_loop())
        if self.error is not None:
            raise self.error

    def _seal(self, payload):
        plain, nonce = payload.SerializeToString(), secrets.token_bytes(16)
        return nonce + self._digest(nonce, plain) + self._mix(nonce, plain)

    def _unseal(self, payload):
        if payload.metadata["encoding"] != b"binary/sealed":
            return payload
        nonce, digest = payload.data[:16], payload.data[16:32]
        plain = self._mix(nonce, payload.data[32:])
        if digest != self._digest(nonce, plain):
            raise ValueError(f"the digest of {plain!r} is another")
        return Payload.FromString(plain)

    def _digest(self, nonce, plain):
        return hashlib.blake2b(nonce + plain, digest_size=16, key=self.secret).digest()

    def _mix(self, nonce, data):
        stream = hashlib.shake_256(self.secret + nonce).digest(len(data))
        return bytes(a ^ b for a, b in zip(data, stream, strict=True))


@pytest.fixture
def codec():
    return Codec()


@pytest.fixture
def inner():
    return MemoryStore()


@pytest.fixture
async def sealed(inner, codec):
    async with StateBackend.open(inner, app="tests", transform=CodecTransform(codec)) as opened:
        yield opened


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def key_of(backend, id="a"):
    return backend.layout.document(id, W).key


# --- nothing readable in the store


@activity.defn
async def reports(text: str) -> str:
    state.progress(1, 2, f"progress {text}")
    await state.update({f"key {text}": f"value {text}"})
    await StateStore.save_state(f"key {text}", f"value {text}", "shared", W)
    activity.heartbeat(f"heartbeat {text}")
    return f"result {text}"


@activity.defn
def reports_in_a_thread(text: str) -> str:
    state.sync.update(threaded=f"value {text}")
    return f"result {text}"


@activity.defn
async def refuses(text: str) -> None:
    raise ApplicationError(f"error {text}", type="Refused", non_retryable=True)


@workflow.defn
class Confides:
    @workflow.run
    async def run(self, text: str) -> str:
        state.progress(1, 3, f"progress {text}")
        await state.update(mine=f"value {text}")
        await workflow.execute_activity(reports, text, start_to_close_timeout=SOON)
        await workflow.execute_activity(reports_in_a_thread, text, start_to_close_timeout=SOON)
        await workflow.execute_local_activity(reports, text, start_to_close_timeout=SOON)
        await workflow.execute_activity(refuses, text, start_to_close_timeout=SOON)
        return "never"


@pytest.mark.parametrize("compress", [False, True])
async def test_nothing_that_a_workflow_keeps_is_readable_below_the_root(
    on_dev, tmp_path, codec, compress, executor
):
    transform = CodecTransform(codec)
    chain = [Compressed(threshold=0), transform] if compress else transform
    root = tmp_path / "sealed"
    recording = Recording(capture="all", checkpoint_every=1)
    plugin = StatePlugin(root, app="tests", transform=chain, recording=recording)
    activities = [reports, reports_in_a_thread, refuses]
    async with on_dev.worker(
        Confides, activities=activities, plugins=[plugin], activity_executor=executor
    ):
        handle = await on_dev.start(Confides.run, SECRET)
        with pytest.raises(WorkflowFailureError):
            await handle.result()

    stored = files_below(root)
    sealed_ones = [path for path in stored if path.read_bytes().startswith(ENCODED)]
    assert len(sealed_ones) >= 3
    readable = (SECRET.encode(), b"temporal_state", b"schema", b'"status"')
    for path in stored:
        assert path in sealed_ones or path.read_bytes() == b"", path
        assert not [word for word in readable if word in path.read_bytes()], path

    async with StateBackend.open(root, app="tests", transform=chain) as backend:
        run = await backend.runs.get(handle.id)
        assert (run.status, run.error.message) == ("failed", f"error {SECRET}")
        assert run.progress.message == f"progress {SECRET}"
        assert SECRET.encode() in run.input[0].data
        steps = await backend.runs.steps(handle.id)
        assert "completed" in {step.status for step in steps}
        own = await backend.runs.document(handle.id)
        assert own == {
            "mine": f"value {SECRET}",
            f"key {SECRET}": f"value {SECRET}",
            "threaded": f"value {SECRET}",
        }
        assert (await backend.runs.history(handle.id))[-1] is not None
        assert await backend.documents.get("shared") == {f"key {SECRET}": f"value {SECRET}"}
    assert codec.threads == {threading.main_thread()}  # the recorder's thread came here, too


async def test_equal_documents_are_stored_as_different_bytes(sealed, inner):
    for id in ("a", "b"):
        await inner.put(key_of(sealed, id), b'{"x": 1}')
        await sealed.documents.replace(id, {"x": 1})
    first, second = [(await inner.get(key_of(sealed, id))).data for id in ("a", "b")]
    assert first != second
    assert len(first) == len(second)


async def test_it_can_be_switched_on_for_a_store_that_holds_documents(inner, codec, sealed):
    async with StateBackend.open(inner, app="tests") as plain:
        await plain.documents.merge("a", {"x": SECRET})
        await inner.put(key_of(plain, "b"), b'{"theirs": true}')
    await inner.open()
    assert await sealed.documents.get("a") == {"x": SECRET}
    assert await sealed.documents.merge("b", {"y": 1}) == {"theirs": True, "y": 1}
    assert (await sealed.documents.list()).ids == ["a", "b"]
    assert not (await inner.get(key_of(sealed, "a"))).data.startswith(ENCODED)
    await sealed.documents.merge("a", {"x": 2})
    assert (await inner.get(key_of(sealed, "a"))).data.startswith(ENCODED)


async def test_once_required_a_plain_object_is_refused(inner, codec):
    transform = CodecTransform(codec, require=True)
    async with StateBackend.open(inner, app="tests", transform=transform) as backend:
        await inner.put(key_of(backend), b'{"slipped": "in"}')
        for call in (backend.documents.get("a"), backend.documents.merge("a", {"x": 1})):
            with pytest.raises(DamagedObjectError, match="require=True"):
                await call
        await backend.documents.merge("b", {"x": 1})
        assert await backend.documents.get("b") == {"x": 1}


# --- wrong secrets, changed bytes, broken codecs


async def test_another_secret_is_told_without_what_it_decoded_to(inner, sealed, caplog):
    await sealed.documents.merge("a", {"x": SECRET})
    other = StateBackend.open(inner, app="tests", transform=CodecTransform(Codec(b"wrong")))
    async with other:
        for call in (other.documents.get("a"), other.documents.merge("a", {"x": 1})):
            with pytest.raises(DamagedObjectError, match="another secret") as caught:
                await call
            assert "ValueError at" in str(caught.value)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
    await inner.open()
    assert await sealed.documents.get("a") == {"x": SECRET}


async def test_every_changed_or_missing_byte_is_noticed(sealed, inner):
    await sealed.documents.merge("a", {"x": SECRET})
    key = key_of(sealed)
    whole = (await inner.get(key)).data
    changed = [whole[:n] for n in range(len(whole))]
    changed += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for data in changed:
        await inner.put(key, data)
        outcome = await asyncio.gather(sealed.documents.get("a"), return_exceptions=True)
        if outcome != [{"x": SECRET}]:  # a bit of the wrapping may mean nothing
            assert isinstance(outcome[0], DamagedObjectError)
            assert SECRET not in str(outcome[0])


async def test_an_object_in_anothers_place_is_refused(sealed, inner):
    await sealed.documents.merge("a", {"x": "of a"})
    other = StateBackend.open(inner, app="tests", tenant="t", transform=sealed.transforms)
    moved = (await inner.get(key_of(sealed))).data
    await inner.put(key_of(other), moved)  # same type, same id, another tenant
    with pytest.raises(DamagedObjectError, match="under another key"):
        await other.documents.get("a")


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), OSError(SECRET)])
async def test_a_codec_that_raises_writes_nothing_and_quotes_nothing(
    sealed, inner, codec, error, caplog
):
    codec.error = error
    with pytest.raises(StoreError, match="nothing was written") as writing:
        await sealed.documents.merge("a", {"x": SECRET})
    assert await inner.list() == []
    codec.error = None
    await sealed.documents.merge("a", {"x": SECRET})
    codec.error = error
    with pytest.raises(StoreError, match="cannot decode") as reading:
        await sealed.documents.get("a")
    # A key server that is away for a moment has not damaged anything.
    assert reading.value.retryable is isinstance(error, OSError)
    for caught in (writing, reading):
        assert SECRET not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("method", ["encode", "decode"])
async def test_a_codec_that_returns_another_payload_is_found_out_at_open(method):
    class Forgetful(Codec):
        async def decode(self, payloads):
            return [] if method == "decode" else await super().decode(payloads)

        async def encode(self, payloads):
            without = [Payload(data=p.data) for p in payloads]
            return await super().encode(without if method == "encode" else payloads)

    with pytest.raises(ConfigurationError, match="do not give back"):
        await StateBackend.open("memory://", transform=CodecTransform(Forgetful())).start()


async def test_a_bare_codec_is_refused_with_the_remedy(codec):
    with pytest.raises(ConfigurationError, match="CodecTransform"):
        await StateBackend.open("memory://", transform=codec).start()


@workflow.defn
class Saves:
    @workflow.run
    async def run(self, text: str) -> str:
        try:
            await StateStore.save_state("k", text, "doc", W)
        except DamagedObjectError:
            return "damaged"
        return "saved"


async def test_neither_histories_nor_logs_quote_what_a_codec_raised(
    on_dev, sealed, inner, codec, caplog
):
    caplog.set_level(logging.DEBUG)
    await inner.put(key_of(sealed, "doc"), ENCODED + Payload(data=b"forged").SerializeToString())
    hint = "what was being decoded"
    codec_error = ValueError(hint)

    class Quoting(Codec):
        async def decode(self, payloads):
            if payloads[0].data == b"forged":
                raise codec_error
            return await super().decode(payloads)

    backend = StateBackend.open(inner, app="tests", transform=CodecTransform(Quoting()))
    async with on_dev.worker(Saves, plugins=[StatePlugin(backend)]):
        handle = await on_dev.start(Saves.run, "text")
        assert await handle.result() == "damaged"
    assert hint not in str(await handle.fetch_history())
    assert hint not in caplog.text


# --- readers without the transform, limits, loops, plugins


async def test_who_lacks_a_transform_is_told_which(on_dev, inner, codec):
    async with StateBackend.open(inner, app="tests", transform=Compressed(threshold=0)) as backend:
        await backend.documents.merge("small", {"x": "y" * 1000})
    both = StateBackend.open(inner, app="tests", transform=CodecTransform(codec))
    async with both, on_dev.worker(Saves, plugins=[StatePlugin(both)]):
        handle = await on_dev.start(Saves.run, "text")
        await handle.result()
    async with StateBackend.open(inner, app="tests") as plain:
        for call in (plain.documents.get("small"), plain.documents.merge("small", {"x": 1})):
            with pytest.raises(ConfigurationError, match=r"transform=Compressed\(\)"):
                await call
        with pytest.raises(ConfigurationError, match=r"transform=CodecTransform\(codec\)"):
            await plain.documents.get("doc")
        with pytest.raises(ConfigurationError, match=r"transform=CodecTransform\(codec\)"):
            await plain.runs.get(handle.id)


async def test_size_limits_speak_of_the_plain_json(codec):
    limits = Limits(document_bytes=1000)
    chain = [Compressed(threshold=0), CodecTransform(codec)]
    async with StateBackend.open("memory://", limits=limits, transform=chain) as backend:
        await backend.documents.merge("a", {"x": "y" * 990})  # larger than that once encoded
        with pytest.raises(TooLargeError, match="1001 bytes"):
            await backend.documents.merge("a", {"x": "y" * 993})  # smaller once compressed


async def test_the_codec_stays_on_the_loop_that_opened_the_store_until_that_ends(tmp_path, codec):
    backend = StateBackend.open(tmp_path / "root", transform=CodecTransform(codec))

    async def opens_and_stays(opened, done):
        async with backend:
            opened.set()
            while not done.is_set():
                await asyncio.sleep(0.005)

    opened, done = threading.Event(), threading.Event()
    first = asyncio.to_thread(asyncio.run, opens_and_stays(opened, done))
    task = asyncio.create_task(first)
    await asyncio.to_thread(opened.wait, 10)
    async with backend:
        await backend.documents.merge("a", {"x": 1})
        assert threading.main_thread() not in codec.threads
        done.set()
        await task
        assert await backend.documents.merge("a", {"y": 2}) == {"x": 1, "y": 2}
    assert len(codec.loops) == 2


async def test_32_writers_lose_nothing_through_a_codec(sealed):
    async def write(n):
        await sealed.documents.merge("a", {str(n): n})

    await asyncio.gather(*(write(n) for n in range(32)))
    document = await sealed.documents.read("a")
    assert (len(document.value), document.version) == (32, 32)


async def test_a_cancelled_merge_is_made_or_not_before_its_caller_goes_on(sealed, codec):
    for delay in range(8):
        task = asyncio.create_task(sealed.documents.merge("a", {str(delay): 1}))
        for _ in range(delay):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        seen = await sealed.documents.get("a")
        await asyncio.sleep(0.01)
        assert await sealed.documents.get("a") == seen


async def test_a_plugin_takes_what_open_takes_and_no_backend_with_it(tmp_path, codec):
    limits, clock = Limits(document_bytes=7), lambda: None
    options = {
        "tenant": "t",
        "limits": limits,
        "clock": clock,
        "transform": [Compressed(), CodecTransform(codec)],
    }
    made = StatePlugin(tmp_path, app="tests", **options).backend
    assert made.layout.tenant == "t"
    assert (made.limits, made.clock) == (limits, clock)
    assert made.transforms == (Compressed(), CodecTransform(codec))
    for name, value in options.items():
        with pytest.raises(ConfigurationError, match=f"{name}= cannot change"):
            StatePlugin(StateBackend.open("memory://"), **{name: value})
    with pytest.raises(ConfigurationError, match="transform= cannot change"):
        configure(StateBackend.open("memory://"), transform=Compressed())


async def test_two_plugins_are_one_only_if_they_store_alike(on_dev, tmp_path, codec):
    def worker(*transforms):
        plugins = [StatePlugin(tmp_path / "root", transform=t) for t in transforms]
        return Worker(on_dev.client, task_queue="alike", workflows=[Saves], plugins=plugins)

    worker(CodecTransform(codec), CodecTransform(codec))
    with pytest.raises(ConfigurationError, match="two different StatePlugins"):
        worker(CodecTransform(codec), None)


def test_a_secret_is_not_in_the_repr(codec):
    transform = CodecTransform(codec)
    assert "codec" not in repr(transform).lower().replace("codectransform", "")


async def test_a_whole_json_is_never_mistaken_for_encoded():
    assert not orjson.dumps({}).startswith(ENCODED)
    with pytest.raises(UnicodeDecodeError):
        ENCODED.decode()
