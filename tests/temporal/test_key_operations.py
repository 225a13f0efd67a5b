"""Keys, system state and credentials in workflow and activity code, on Temporal's clock."""

import asyncio
import logging
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import WorkflowFailureError
from temporalio.worker import Replayer

from temporal_state import (
    ContextError,
    PathTraversalError,
    SecretRefusedError,
    StatePlugin,
    StateStore,
    StateType,
    configure,
    state,
)
from temporal_state.temporal.requests import REQUESTS

HOUR = timedelta(hours=1)
SECRET = "hunter2-Zx9"


@workflow.defn
class UsesKeys:
    @workflow.run
    async def run(self, id: str) -> list:
        name = f"exec:{id}:var:a"
        missing = await state.keys.get(name)
        await state.keys.set(name, {"n": 1})
        await state.keys.set(f"exec:{id}:bytes", bytes(range(256)))
        found = [await state.keys.get(name), list(await state.keys.get(f"exec:{id}:bytes"))]
        await state.system.set(id, {"offset": 7})
        system = await state.system.get(id)
        near = abs(system.updated_at - workflow.now()) < HOUR
        page = await state.keys.list(f"exec:{id}:")
        from_activity = await workflow.execute_activity(use_keys, id, start_to_close_timeout=HOUR)
        deleted = await state.keys.delete(name)
        gone = await state.keys.exists(name)
        await StateStore.save_state("k", 1, id, StateType.WORKFLOWS)
        rest = await StateStore.delete_execution_state(id)
        return [
            *(missing, found, system.value, near, page.ids, from_activity, deleted, gone),
            *(rest.documents, rest.keys, (await state.keys.list(f"exec:{id}:")).ids),
        ]


@activity.defn
async def use_keys(id: str) -> list:
    await state.keys.set(f"exec:{id}:activity", b"bytes")
    system = await state.system.get(id)
    found = await state.keys.get(f"exec:{id}:activity")
    return [found == b"bytes", system.value, await state.keys.get(f"exec:{id}:var:a")]


async def test_keys_and_system_state_are_used_by_workflow_and_activity_code(runner):
    id = uuid.uuid4().hex
    async with runner.worker(UsesKeys, activities=[use_keys]):
        result = await runner.run(UsesKeys.run, id)
    names = [f"exec:{id}:bytes", f"exec:{id}:var:a"]
    assert result == [
        None,
        [{"n": 1}, list(range(256))],
        {"offset": 7},
        True,
        names,
        [True, {"offset": 7}, {"n": 1}],
        True,
        False,
        1,
        2,
        [],
    ]
    assert (await runner.backend.system.get(id)).value == {"offset": 7}


@workflow.defn
class Expiring:
    @workflow.run
    async def run(self, id: str) -> list:
        await state.keys.set(f"{id}-workflow", 1, ttl=HOUR)
        await workflow.execute_activity(set_key, f"{id}-activity", start_to_close_timeout=HOUR)
        before = await self.look(id)
        await workflow.sleep(timedelta(minutes=59))
        still = await self.look(id)
        await workflow.sleep(timedelta(minutes=2))
        taken_away = [await state.keys.expire(), await state.keys.expire()]
        return [before, still, await self.look(id), taken_away]

    async def look(self, id: str) -> list:
        names = [f"{id}-workflow", f"{id}-activity"]
        here = [await state.keys.get(name) for name in names]
        there = [
            await workflow.execute_activity(get_key, name, start_to_close_timeout=HOUR)
            for name in names
        ]
        return [here, there, len((await state.keys.list(id)).ids)]


@activity.defn
async def set_key(name: str) -> None:
    await state.keys.set(name, 2, ttl=HOUR)


@activity.defn
async def get_key(name: str) -> int | None:
    return await state.keys.get(name)


async def test_a_key_expires_when_temporals_clock_says_so(on_skipping):
    id = uuid.uuid4().hex
    async with on_skipping.worker(Expiring, activities=[set_key, get_key]):
        before, still, after, taken_away = await on_skipping.run(Expiring.run, id)
    assert before == still == [[1, 2], [1, 2], 2]
    assert after == [[None, None], [None, None], 0]
    assert taken_away == [2, 0]


@activity.defn
def threaded(id: str) -> list:
    state.sync.keys.set(id, b"x", ttl=HOUR)
    state.sync.system.set(id, 7)
    return [
        state.sync.keys.get(id) == b"x",
        state.sync.keys.exists(id),
        state.sync.keys.list(id).ids,
        state.sync.keys.delete(id),
        state.sync.system.get(id).value,
    ]


@workflow.defn
class Threaded:
    @workflow.run
    async def run(self, id: str) -> list:
        return await workflow.execute_activity(threaded, id, start_to_close_timeout=HOUR)


async def test_threaded_activities_use_them_without_await(on_dev):
    from concurrent.futures import ThreadPoolExecutor

    id = uuid.uuid4().hex
    with ThreadPoolExecutor(2) as pool:
        async with on_dev.worker(Threaded, activities=[threaded], activity_executor=pool):
            assert await on_dev.run(Threaded.run, id) == [True, True, [id], True, 7]


@activity.defn
async def set_and_fail(name: str) -> None:
    await state.keys.set(name, f"attempt {activity.info().attempt}")
    if activity.info().attempt == 1:
        await state.keys.delete(name)
        raise RuntimeError("after the change")


@workflow.defn
class Retried:
    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.execute_activity(set_and_fail, name, start_to_close_timeout=HOUR)
        return await state.keys.get(name)


async def test_a_key_set_in_an_activity_is_set_once_for_each_change(on_dev):
    async with on_dev.worker(Retried, activities=[set_and_fail]):
        assert await on_dev.run(Retried.run, uuid.uuid4().hex) == "attempt 2"


async def test_a_workflow_that_uses_keys_replays_without_the_store(on_dev):
    async with on_dev.worker(UsesKeys, activities=[use_keys]):
        handle = await on_dev.start(UsesKeys.run, uuid.uuid4().hex)
        await handle.result()
    replayer = Replayer(workflows=[UsesKeys], plugins=[StatePlugin("/nonexistent/never-opened")])
    assert (await replayer.replay_workflow(await handle.fetch_history())).replay_failure is None


# Credentials.


@workflow.defn
class Credentials:
    @workflow.run
    async def run(self, id: str, raw: str) -> list:
        caught = []
        config = {"credential_type": "database", "password_ref": "db-secret"}
        for write in (
            lambda: state.credentials.save(id, {**config, "password": raw}),
            lambda: StateStore.save_state("token", raw, id, StateType.CREDENTIALS),
            lambda: StateStore.save_state_object(
                id, {"url": f"db://u:{raw}@h"}, StateType.CREDENTIALS
            ),
            lambda: StateStore.replace_state(id, {"api_key": raw}, "credentials"),
        ):
            try:
                await write()
            except SecretRefusedError as error:
                caught.append(str(error))
        saved = await state.credentials.save(id, config)
        try:
            await state.credentials.resolve(id, secrets=str)
        except ContextError as error:
            caught.append(str(error))
        used = await workflow.execute_activity(use_secret, id, start_to_close_timeout=HOUR)
        listed = (await state.credentials.list(id)).ids
        return [caught, saved == await state.credentials.get(id), used, listed]


@activity.defn
async def use_secret(id: str) -> int:
    found = await state.credentials.resolve(id, secrets=lambda _: SECRET)
    logging.getLogger("mine").debug("connecting with %s", found)
    return len(found["password_ref"])


async def test_no_secret_reaches_the_history_the_store_or_a_log(on_dev, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    id = uuid.uuid4().hex
    async with on_dev.worker(MakesSecret, activities=[use_secret]):
        handle = await on_dev.start(MakesSecret.run, id)
        caught, saved, used, listed = await handle.result()
    assert [len(caught), saved, used, listed] == [5, True, len(SECRET), [id]]
    assert "$.password " in caught[0]
    assert "activity" in caught[4]
    history = await handle.fetch_history()
    assert "db-secret" in str(history)  # bytes are text there, which they are not in its JSON
    assert SECRET not in str(history)
    # What is refused is not even scheduled: a server could have kept its argument.
    failed = [e for e in history.events if e.marker_recorded_event_attributes.HasField("failure")]
    assert failed == []
    assert SECRET not in str(caught)
    assert SECRET not in caplog.text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


@workflow.defn
class MakesSecret:
    @workflow.run
    async def run(self, id: str) -> list:
        return await Credentials().run(id, SECRET)


@activity.defn
async def save_raw(id: str) -> None:
    await state.credentials.save(id, {"credential_type": "x", "password": SECRET})


@activity.defn
async def resolve_badly(id: str) -> None:
    def secrets(reference: str) -> str:
        raise ValueError(f"{reference} is {SECRET}") from KeyError(SECRET)

    await state.credentials.save(id, {"credential_type": "x", "password_ref": "y"})
    await state.credentials.resolve(id, secrets=secrets)


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, name: str, id: str) -> None:
        from temporalio.common import RetryPolicy

        once = RetryPolicy(maximum_attempts=1)
        await workflow.execute_activity(name, id, start_to_close_timeout=HOUR, retry_policy=once)


@pytest.mark.parametrize(
    ("name", "type"),
    [("save_raw", "SecretRefusedError"), ("resolve_badly", "SecretUnavailableError")],
)
async def test_a_failure_takes_no_secret_into_the_history(on_dev, caplog, tmp_path, name, type):
    caplog.set_level(logging.DEBUG)
    async with on_dev.worker(Fails, activities=[save_raw, resolve_badly]):
        id = uuid.uuid4().hex
        handle = await on_dev.start(Fails.run, name, id)
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(handle.result(), 20)
    assert failure.value.cause.cause.type == type
    history = str(await handle.fetch_history())
    assert id in history
    assert SECRET not in history
    assert SECRET not in caplog.text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


async def test_a_script_uses_the_same_functions(backend):
    configure(backend)
    try:
        await state.keys.set("k", b"x")
        assert await backend.keys.get("k") == b"x"
        await state.system.set("k", 1)
        assert (await backend.system.get("k")).value == 1
        await state.credentials.save("c", {"credential_type": "x", "token": "vault://t"})
        found = await state.credentials.resolve("c", secrets=lambda _: SECRET)
        assert found["token"] == SECRET
        assert await state.credentials.delete("c")
        with pytest.raises(PathTraversalError):
            await state.keys.get("../x")
    finally:
        configure("memory://")


def test_every_operation_has_a_name_of_its_own():
    names = [kind.operation for kind in REQUESTS]
    assert len(names) == len(set(names))
