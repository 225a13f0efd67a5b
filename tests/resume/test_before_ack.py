"""`before_ack`: an attempt that is repeated after its result was recorded returns that result."""

import asyncio
import contextlib
import dataclasses
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.plugin import SimplePlugin
from temporalio.worker import ActivityInboundInterceptor, Interceptor, UnsandboxedWorkflowRunner

from temporal_state import (
    ConfigurationError,
    Recording,
    StateBackend,
    StatePlugin,
    StoreError,
    plan_resume,
    resume,
    state,
)
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore

SOON = timedelta(seconds=30)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)
ALL = Recording(before_ack=True, flush_interval=timedelta(milliseconds=50))

ran: Counter[str] = Counter()
lost: Counter[str] = Counter()
"""How often the news of an activity's end is still to be lost."""


@pytest.fixture(autouse=True)
def a_clean_slate():
    ran.clear()
    lost.clear()


class LosesNews(SimplePlugin):
    """Stands outside of the package's interceptor, and fails once the activity has ended."""

    def __init__(self):
        super().__init__("LosesNews")

    def configure_worker(self, config):
        config["interceptors"] = [_Losing(), *config.get("interceptors", [])]
        return config


class _Losing(Interceptor):
    def intercept_activity(self, next):
        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                result = await super().execute_activity(input)
                name = activity.info().activity_type
                if lost[name] > 0:
                    lost[name] -= 1
                    raise ApplicationError("the news of the end is lost")
                return result

        return Inbound(next)


@pytest.fixture
def runner(on_dev):
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    on_dev.options["plugins"] = plugins(on_dev.backend)
    return on_dev


def plugins(backend, recording=ALL):
    return [StatePlugin(backend, recording=recording), LosesNews()]


@activity.defn
async def pay(amount: int) -> str:
    ran["pay"] += 1
    return f"paid {amount} {uuid.uuid4()}"


@activity.defn
def pay_in_thread(amount: int) -> str:
    ran["pay_in_thread"] += 1
    return f"paid {amount}"


@activity.defn
@state.before_ack
async def marked() -> str:
    ran["marked"] += 1
    return "done"


@workflow.defn
class One:
    @workflow.run
    async def run(self, name: str, local: bool = False) -> str:
        call = workflow.execute_local_activity if local else workflow.execute_activity
        return await call(name, 7, start_to_close_timeout=SOON, retry_policy=QUICKLY)


@workflow.defn
class Marked:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            marked, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", ["pay", "pay_in_thread"])
async def test_a_repeated_attempt_returns_the_recorded_result(runner, name, local):
    lost[name] = 2
    with ThreadPoolExecutor(2) as pool:
        async with runner.worker(One, activities=[pay, pay_in_thread], activity_executor=pool):
            handle = await runner.start(One.run, name, local)
            assert (await handle.result()).startswith("paid 7")
    assert (ran[name], lost[name]) == (1, 0)
    (step,) = await runner.backend.runs.steps(handle.id)
    assert (step.status, step.taken_over, step.attempt) == ("completed", True, 3)


async def test_only_those_that_ask_for_it(runner):
    lost.update(pay=1, pay_in_thread=1, marked=1)
    named = Recording(before_ack={"pay"})
    with ThreadPoolExecutor(2) as pool:
        async with runner.worker(
            One,
            Marked,
            activities=[pay, pay_in_thread, marked],
            activity_executor=pool,
            plugins=plugins(runner.backend, named),
        ):
            await runner.run(One.run, "pay")
            await runner.run(One.run, "pay_in_thread")
            await runner.run(Marked.run)
    assert ran == {"pay": 1, "pay_in_thread": 2, "marked": 1}


@workflow.defn
class FailsItsTask:
    @workflow.run
    async def run(self) -> list[str]:
        paid = [
            await workflow.execute_local_activity(pay, n, start_to_close_timeout=SOON)
            for n in (1, 1, 2)
        ]
        ran["task"] += 1
        if ran["task"] < 2:
            raise KeyError("a bug that fails the workflow task")
        return paid


async def test_local_activities_that_a_failed_workflow_task_repeats_run_once(runner):
    async with runner.worker(FailsItsTask, activities=[pay]):
        paid = await runner.run(FailsItsTask.run)
    assert (ran["pay"], ran["task"], len(set(paid))) == (3, 2, 3)


class Stuck(MemoryStore):
    """Blocks in results, and heeds no cancellation while it does."""

    def __init__(self):
        super().__init__()
        self.end = threading.Event()

    async def put(self, key, data, **options):
        if "/results/" in key:
            ran["stuck"] += 1
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self.end.wait))
        return await super().put(key, data, **options)

    async def get(self, key):
        if "/results/" in key:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                await asyncio.sleep(5)
        return await super().get(key)


class Failing(MemoryStore):
    async def put(self, key, data, **options):
        if "/results/" in key:
            ran["stuck"] += 1
            raise StoreError("the disk is gone")
        return await super().put(key, data, **options)

    async def get(self, key):
        if "/results/" in key:
            raise StoreError("the disk is gone")
        return await super().get(key)


@pytest.mark.parametrize("kind", [Stuck, Failing])
async def test_a_store_that_hangs_or_fails_costs_ack_timeout_and_no_workflow(runner, kind):
    lost["pay"] = 1
    store = kind()
    recording = dataclasses.replace(ALL, ack_timeout=timedelta(milliseconds=200))
    began = time.monotonic()
    backend = StateBackend.open(store)
    async with runner.worker(One, activities=[pay], plugins=plugins(backend, recording)):
        try:
            await runner.run(One.run, "pay")
        finally:
            took = time.monotonic() - began
            if isinstance(store, Stuck):
                store.end.set()
    assert took < 4
    assert (ran["pay"], ran["stuck"]) == (2, 2)


async def test_a_store_that_is_gone_altogether_fails_no_attempt(runner):
    store = FailingStore(MemoryStore())
    recording = dataclasses.replace(
        ALL, ack_timeout=timedelta(milliseconds=200), shutdown_timeout=timedelta(seconds=1)
    )
    async with StateBackend.open(store) as backend:
        store.error = StoreError("the store is gone")
        async with runner.worker(One, activities=[pay], plugins=plugins(backend, recording)):
            for local in (False, True):
                await runner.run(One.run, "pay", local)
    assert ran["pay"] == 2


class Model(BaseModel):
    name: str
    at: timedelta


@activity.defn
async def nothing() -> None:
    ran["nothing"] += 1


@activity.defn
async def model() -> Model:
    ran["model"] += 1
    return Model(name="m", at=timedelta(seconds=3))


@activity.defn
async def large() -> str:
    ran["large"] += 1
    return "large " * 50_000  # 300 KB: over capture_limit


@workflow.defn
class Kinds:
    @workflow.run
    async def run(self) -> str:
        for function, expected in [
            (nothing, None),
            (model, Model(name="m", at=timedelta(seconds=3))),
            (large, "large " * 50_000),
        ]:
            value = await workflow.execute_activity(
                function, start_to_close_timeout=SOON, retry_policy=QUICKLY
            )
            assert (type(value), value) == (type(expected), expected)
        return "equal"


class Nonces(PayloadCodec):
    """Encrypts as if: every time with another nonce."""

    async def encode(self, payloads):
        from temporalio.api.common.v1 import Payload

        return [
            Payload(
                metadata={"encoding": b"binary/x", "nonce": uuid.uuid4().bytes},
                data=bytes(b ^ 0x5A for b in p.SerializeToString()),
            )
            for p in payloads
        ]

    async def decode(self, payloads):
        from temporalio.api.common.v1 import Payload

        return [Payload.FromString(bytes(b ^ 0x5A for b in p.data)) for p in payloads]


@pytest.mark.parametrize("encrypted", [False, True])
async def test_all_kinds_of_results_return_and_large_ones_too(runner, encrypted):
    converter = pydantic_data_converter
    if encrypted:
        converter = dataclasses.replace(converter, payload_codec=Nonces())
    runner.client = Client(**{**runner.client.config(), "data_converter": converter})
    lost.update(nothing=1, model=1, large=1)
    async with runner.worker(Kinds, activities=[nothing, model, large]):
        assert await runner.run(Kinds.run) == "equal"
    assert ran == {"nothing": 1, "model": 1, "large": 1}
    stored = b"".join(p.read_bytes() for p in runner.backend.store.root.rglob("*.json"))
    assert (b"large large" in stored) is not encrypted


async def test_what_is_redacted_runs_again(runner):
    lost["pay"] = 1
    hides = dataclasses.replace(ALL, redact=lambda value, payload: None)
    async with runner.worker(One, activities=[pay], plugins=plugins(runner.backend, hides)):
        await runner.run(One.run, "pay")
    assert ran["pay"] == 2
    assert b"paid" not in b"".join(
        p.read_bytes() for p in runner.backend.store.root.rglob("*.json")
    )


def test_it_cannot_be_asked_for_where_no_value_is_kept():
    with pytest.raises(ConfigurationError, match="before_ack"):
        Recording(capture="none", before_ack=True)


async def test_a_mark_keeps_nothing_where_no_value_is_kept(runner):
    lost["marked"] = 1
    recording = Recording(capture="none")
    async with runner.worker(
        Marked, activities=[marked], plugins=plugins(runner.backend, recording)
    ):
        assert await runner.run(Marked.run) == "done"
    assert ran["marked"] == 2
    assert not [p for p in runner.backend.store.root.rglob("*") if p.parent.name == "results"]


@activity.defn
async def racing() -> str:
    """Two attempts at once: the first is out of time when the second starts, and ends later."""
    attempt = activity.info().attempt
    ran["racing"] += 1
    if attempt == 1:
        while not lost["second runs"]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
    elif attempt == 2:
        lost["second runs"] += 1
        while not lost["first is recorded"]:
            await asyncio.sleep(0.01)
    return f"attempt {attempt}"


@workflow.defn
class Races:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            racing, start_to_close_timeout=timedelta(seconds=1), retry_policy=QUICKLY
        )


async def test_of_two_attempts_at_once_the_first_result_stays(runner):
    from temporal_state.runs import Runs

    async def acknowledge(self, ref, key, value, original=Runs.acknowledge):
        await original(self, ref, key, value)
        lost["first is recorded"] += 1
        lost["key"], lost["ref"] = key, ref

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runs, "acknowledge", acknowledge)
        async with runner.worker(Races, activities=[racing]):
            result = await runner.run(Races.run)
    kept = await runner.backend.runs.acknowledged(lost["ref"], lost["key"])
    assert (lost["first is recorded"], kept.data) == (2, b'"attempt 1"')
    assert result == "attempt 2"  # Temporal had given up the first


@workflow.defn
class PaysAndFails:
    @workflow.run
    async def run(self) -> str:
        paid = await workflow.execute_activity(
            pay, 7, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )
        if ran["fail"]:
            raise ApplicationError("after", non_retryable=True)
        return paid


async def test_a_resumed_run_takes_what_only_the_activity_has_recorded(runner):
    """The run is terminated before any workflow task could see the result."""
    arrived = asyncio.Event()

    class Holds(LosesNews):
        def configure_worker(self, config):
            config["interceptors"] = [_Held(arrived), *config.get("interceptors", [])]
            return config

    class _Held(Interceptor):
        def __init__(self, event):
            self.event = event

        def intercept_activity(self, next):
            event = self.event

            class Inbound(ActivityInboundInterceptor):
                async def execute_activity(self, input):
                    result = await super().execute_activity(input)
                    if not event.is_set():
                        event.set()
                        await asyncio.sleep(60)
                    return result

            return Inbound(next)

    holding = [StatePlugin(runner.backend, recording=ALL), Holds()]
    async with runner.worker(PaysAndFails, activities=[pay], plugins=holding):
        handle = await runner.start(PaysAndFails.run)
        await arrived.wait()
        await handle.terminate()
    async with runner.worker(PaysAndFails, activities=[pay]):
        plan = await plan_resume(runner.client, runner.backend, handle.id)
        assert [step.name for step in plan.taken_over] == ["pay"]
        new = await resume(runner.client, runner.backend, handle.id)
        assert (await new.result()).startswith("paid 7")
    assert ran["pay"] == 1


async def test_a_standalone_activity_is_repeated_with_its_result_too(runner):
    lost["pay"] = 1
    worker = runner.worker(activities=[pay])
    async with worker:
        result = await runner.client.execute_activity(
            pay,
            7,
            id=f"pay-{uuid.uuid4()}",
            task_queue=runner.task_queue,
            start_to_close_timeout=SOON,
            retry_policy=QUICKLY,
        )
    assert result.startswith("paid 7")
    assert ran["pay"] == 1


@activity.defn
async def flaky() -> str:
    ran["flaky"] += 1
    if ran["flaky"] < 3:
        raise ApplicationError("not yet")
    return "now"


@workflow.defn
class Flaky:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            flaky, start_to_close_timeout=SOON, retry_policy=QUICKLY
        )


async def test_a_failed_attempt_leaves_no_result(runner):
    async with runner.worker(Flaky, activities=[flaky]):
        assert await runner.run(Flaky.run) == "now"
    assert ran["flaky"] == 3
