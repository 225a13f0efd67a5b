"""`StatePlugin` on a worker, a client, or both, is one plugin; two different ones are an error."""

import asyncio
import dataclasses
import inspect
import json
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import ActivityInboundInterceptor, Interceptor, Replayer, Worker

import temporal_state
from temporal_state import (
    ConfigurationError,
    StateBackend,
    StatePlugin,
    StateStore,
    StateType,
    state,
)
from temporal_state.runs import Runs, Snapshots
from temporal_state.temporal import ACTIVITIES
from temporal_state.temporal.requests import REQUESTS, Get, Merge

W = StateType.WORKFLOWS
SOON = timedelta(seconds=30)


@workflow.defn
class Updates:
    @workflow.run
    async def run(self) -> dict:
        return await state.update(n=1)


async def client_with(dev, *plugins) -> Client:
    return await Client.connect(dev.client.service_client.config.target_host, plugins=plugins)


async def run_on(client, *plugins, workflow=Updates):
    queue = uuid.uuid4().hex
    async with Worker(client, task_queue=queue, workflows=[workflow], plugins=plugins):
        return await client.execute_workflow(workflow.run, id=queue, task_queue=queue)


@pytest.mark.filterwarnings("ignore:The same plugin type")
async def test_it_works_on_a_worker_a_client_and_both(dev, tmp_path):
    plugin = StatePlugin(tmp_path)
    assert await run_on(dev.client, plugin) == {"n": 1}
    client = await client_with(dev, plugin)
    assert await run_on(client) == {"n": 1}
    assert await run_on(client, plugin) == {"n": 1}
    assert await run_on(client, StatePlugin(tmp_path)) == {"n": 1}


@pytest.mark.filterwarnings("ignore:The same plugin type")
async def test_two_different_plugins_on_one_worker_are_an_error(dev, tmp_path):
    client = await client_with(dev, StatePlugin(tmp_path / "one"))
    for other in (
        StatePlugin(tmp_path / "two"),
        StatePlugin(tmp_path / "one", app="other"),
        StatePlugin("memory://"),
    ):
        with pytest.raises(ConfigurationError, match="two different StatePlugins"):
            Worker(client, task_queue="q", workflows=[Updates], plugins=[other])


async def test_one_plugin_serves_several_workers(dev, tmp_path):
    plugin = StatePlugin(tmp_path)
    first = Worker(dev.client, task_queue="several-1", workflows=[Updates], plugins=[plugin])
    async with first:
        assert await run_on(dev.client, plugin) == {"n": 1}
        id = uuid.uuid4().hex
        result = await dev.client.execute_workflow(Updates.run, id=id, task_queue="several-1")
    assert result == {"n": 1}


async def test_a_store_that_cannot_be_opened_stops_the_worker_at_its_start(dev, tmp_path):
    (tmp_path / "file").write_text("no directory")
    plugin = StatePlugin(tmp_path / "file")
    worker = Worker(dev.client, task_queue="q", workflows=[Updates], plugins=[plugin])
    with pytest.raises(ConfigurationError, match="a file is in the way"):
        await worker.run()


async def test_a_worker_whose_store_cannot_be_opened_does_not_hang_in_a_with_block(dev, tmp_path):
    (tmp_path / "file").write_text("no directory")
    plugin = StatePlugin(tmp_path / "file")
    worker = Worker(dev.client, task_queue="q", workflows=[Updates], plugins=[plugin])
    with pytest.raises(ConfigurationError, match="a file is in the way"):
        async with asyncio.timeout(20), worker:
            await asyncio.sleep(60)


class Noting(Interceptor):
    """An interceptor of somebody else, which notes the activities that it sees."""

    def __init__(self):
        self.seen = []

    def intercept_activity(self, next):
        seen = self.seen

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input):
                seen.append(activity.info().activity_type)
                return await super().execute_activity(input)

        return Inbound(next)


@activity.defn
async def hello() -> str:
    return "hello"


@workflow.defn
class Greets:
    @workflow.run
    async def run(self) -> list:
        return [
            await workflow.execute_activity(hello, start_to_close_timeout=SOON),
            await state.update(n=1),
        ]


@pytest.mark.parametrize("first", [True, False])
async def test_other_plugins_and_interceptors_keep_working_beside_it(dev, tmp_path, first):
    noting = Noting()
    other = SimplePlugin("other", interceptors=[noting], activities=[hello])
    plugins = [other, StatePlugin(tmp_path)]
    found = await run_on(dev.client, *plugins[:: 1 if first else -1], workflow=Greets)
    assert found == ["hello", {"n": 1}]
    assert noting.seen == ["hello", "temporal_state.documents.merge"]


def test_every_operation_is_an_activity_of_its_name():
    names = {activity._Definition.must_from_callable(a).name for a in ACTIVITIES}
    assert names == {f"temporal_state.{kind.operation}" for kind in REQUESTS}
    assert {name.count(".") for name in names} == {2}


# What only workers, readers of a whole store and this package itself use.
NOT_OVER_TEMPORAL = {
    *("outcomes", "result_of"),
    *("acknowledge", "acknowledged", "acknowledged_steps", "announced", "merge", "write", "synced"),
    *(
        "mark_unknown",
        "keep_checkpoint",
        "add_spans",
        "reindex",  # of the machine on which it is called
        "stats_sync",
        "in_use",
        "hold",
        "was_resumed",
    ),
}


def test_every_operation_is_an_activity_and_has_its_name_in_workflow_code():
    def methods(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"}

    names = {kind.operation for kind in REQUESTS}
    runs = methods(Runs) - NOT_OVER_TEMPORAL
    runs |= {"cleanup", "fail_stale", "reconcile", "freshness", "resume", "recover"}
    assert {name for name in names if name.startswith("runs.")} == {f"runs.{n}" for n in runs}
    assert set(state.runs.__all__) == runs | {"audit"}
    snapshots = methods(Snapshots) - {"on_behalf_of", "create_of"}
    assert {n for n in names if n.startswith("snapshots.")} == {f"snapshots.{n}" for n in snapshots}
    assert set(state.snapshots.__all__) == snapshots
    others = {"audit.list", "executions.delete", "transactions.commit", "transactions.look"}
    others |= {"own.checkpoint", "own.last_checkpoint", "own.previous"}
    documents = ("get", "read", "exists", "list", "set", "merge", "replace", "delete", "patch")
    others |= {f"documents.{name}" for name in (*documents, "increment", "append")}
    others |= {f"keys.{name}" for name in state.keys.__all__}
    others |= {f"system.{name}" for name in state.system.__all__}
    assert {n for n in names if not n.startswith(("runs.", "snapshots."))} == others


@workflow.defn
class ByName:
    @workflow.run
    async def run(self, id: str) -> list:
        merge = {"id": id, "type": "workflows", "value": {"a": 1}}
        merged = await workflow.execute_activity(
            "temporal_state.documents.merge", merge, start_to_close_timeout=SOON
        )
        await workflow.execute_activity(
            "temporal_state.documents.merge", merge, start_to_close_timeout=SOON
        )
        own = await workflow.execute_local_activity(
            "temporal_state.documents.merge", Merge(value={"own": 1}), start_to_close_timeout=SOON
        )
        got = await workflow.execute_activity(
            "temporal_state.documents.get", Get(id=id), start_to_close_timeout=SOON
        )
        return [merged, own, got]


async def test_the_activities_can_be_called_by_name(runner):
    id = uuid.uuid4().hex
    async with runner.worker(ByName):
        assert await runner.run(ByName.run, id) == [{"a": 1}, {"own": 1}, {"a": 1}]
    assert (await runner.backend.documents.read(id)).version == 2


async def test_a_workflow_whose_worker_has_no_plugin_is_told_so(dev):
    queue = uuid.uuid4().hex
    async with Worker(dev.client, task_queue=queue, workflows=[UpdatesAnyway]):
        handle = await dev.client.start_workflow(UpdatesAnyway.run, id=queue, task_queue=queue)
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField("workflow_task_failed_event_attributes"):
                break
        failure = event.workflow_task_failed_event_attributes.failure
        assert "plugins=[StatePlugin(url)]" in failure.message
        await handle.terminate()


@workflow.defn(sandboxed=False)
class UpdatesAnyway:
    @workflow.run
    async def run(self) -> dict:
        return await state.update(n=1)


async def test_a_replayer_with_the_plugin_needs_no_store(dev, tmp_path):
    plugin = StatePlugin(tmp_path / "used")
    queue = uuid.uuid4().hex
    async with Worker(dev.client, task_queue=queue, workflows=[Updates], plugins=[plugin]):
        handle = await dev.client.start_workflow(Updates.run, id=queue, task_queue=queue)
        await handle.result()
    other = StatePlugin(tmp_path / "never")
    await Replayer(workflows=[Updates], plugins=[other]).replay_workflow(
        await handle.fetch_history()
    )
    assert not (tmp_path / "never").exists()


def test_an_app_that_contradicts_the_backend_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="app= cannot change"):
        StatePlugin(StateBackend.open(tmp_path, app="one"), app="two")


@activity.defn
async def outside_of_a_run() -> None:
    await state.get()


async def test_the_own_document_needs_a_run(tmp_path):
    from temporalio.testing import ActivityEnvironment

    from temporal_state import ContextError

    with pytest.raises(ContextError, match="none is known here"):
        await state.get()
    with pytest.raises(ContextError):
        await ActivityEnvironment().run(outside_of_a_run)


@activity.defn
async def saves_somewhere(id: str) -> dict:
    return await StateStore.save_state_object(id, {"n": 1}, W)


async def test_an_activity_alone_uses_the_process_default(tmp_path):
    from temporalio.testing import ActivityEnvironment

    backend = temporal_state.configure(tmp_path)
    try:
        assert await ActivityEnvironment().run(saves_somewhere, "a") == {"n": 1}
        assert await backend.documents.get("a") == {"n": 1}
    finally:
        temporal_state._default._default = None
        await backend.store.close()


@pytest.mark.parametrize("request_", [Get(), Merge(id="a", value={"n": [1]}), Merge(value={})])
def test_requests_are_dataclasses_that_any_converter_carries(request_):
    assert all(map(dataclasses.is_dataclass, REQUESTS))
    converter = DataConverter.default.payload_converter
    payloads = converter.to_payloads([request_])
    assert json.loads(payloads[0].data) == vars(request_)
    (found,) = converter.from_payloads(payloads, [type(request_)])
    assert vars(found) == vars(request_)


async def test_importing_the_package_starts_nothing_and_opens_nothing(children, tmp_path):
    code = (
        "import os, sys, threading; os.chdir(sys.argv[1]);"
        "import temporal_state, temporal_state.state;"
        "print(threading.active_count(), os.listdir('.'), temporal_state.__file__)"
    )
    printed = await children.run(code, tmp_path, fresh=True)
    assert printed == f"1 [] {temporal_state.__file__}\n"
