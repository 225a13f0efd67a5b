"""Whose document a resumed run goes on with: known for good, kept as long as it is needed."""

from datetime import timedelta

import pytest
from as_told import NOON, Clock, header, told

from temporal_state import DamagedObjectError, StateBackend
from temporal_state.runs import ChainRef, Patch, Retention, RunRef, step_key
from temporal_state.storage import MemoryStore

DAY = timedelta(days=1)
GONE = {
    "namespace": "default",
    "workflow_id": "parent",
    "run_id": "gone",
    "before": None,
    "way": ["the child's call"],
}
OLD = ChainRef("default", "old", "r1")
HOME = {"namespace": "default", "workflow_id": "old", "chain": "r1"}


@pytest.fixture
async def backend():
    async with StateBackend.open("memory://", app="tests", clock=Clock()) as opened:
        yield opened


def of(workflow_id, run_id, days=0):
    return RunRef("default", workflow_id, run_id, NOON - days * DAY)


async def a_resumed_run(backend, **changes):
    """Record a failed run with a document, and one of another id that resumes it; return both."""
    old, new = of("old", "r1", 40), of("new", "r2", 39)
    await backend.own_documents.one(OLD).merge({"cursor": 7})
    await told(backend.runs, old, 5, status="failed", ended="2026-03-22T12:00:00Z", confirmed=True)
    await told(backend.runs, new, 5, home=HOME, **changes)
    return old, new


async def test_a_document_stays_while_a_run_of_another_id_goes_on_with_it(backend):
    await a_resumed_run(backend)
    report = await backend.maintenance.run(Retention(runs=30 * DAY))
    assert (report.done["runs"], report.errors) == (1, {})
    assert await backend.runs.document("new") == {"cursor": 7}


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
async def test_a_shared_document_goes_with_the_last_run_that_has_it(backend, order):
    await a_resumed_run(backend, status="completed", confirmed=True)
    first, last = order
    assert not (await backend.runs.delete(first)).document
    assert (await backend.runs.delete(last)).document
    left = [k for k in await backend.store.list() if "/own/" in k and "/old/" in k]
    assert [k for k in left if not k.endswith("chains.json")] == []


async def test_a_run_outlives_the_one_that_it_resumed(backend):
    older, newer, other = of("child", "c1", 41), of("child", "c2", 40), of("other", "o1", 50)
    await told(backend.runs, older, 5, status="completed", confirmed=True)
    await told(backend.runs, newer, 5, home=GONE, source=GONE)
    await told(backend.runs, other, 5, status="completed", confirmed=True)
    await backend.own_documents.one(ChainRef("default", "child", "c2")).merge({"mine": 1})
    assert await backend.runs.document("child", run_id="c2") == {"mine": 1}
    checkpoint = {"number": 1, "step": 1, "time": "2026-05-01T12:00:00Z", "clock": 7}
    checkpoint |= {"progress": None, "counts": {}, "open": []}
    await told(backend.runs, newer, 7, home=GONE, source=GONE, checkpoints=[checkpoint])
    assert [c.state for c in await backend.runs.history("child")] == [{"mine": 1}]
    assert await backend.runs.delete("child", run_id="c1") is not None


async def test_where_a_document_lies_is_found_once_and_kept(backend):
    parent, child = of("parent", "p1", 3), of("child", "c1", 3)
    call = {"kind": "child", "name": "C", "id": "child", "time": "2026-04-28T12:00:00Z", "clock": 2}
    steps = {1: {"call": {**call, "key": step_key("p1", "the child's call")}}}
    await backend.runs.write(Patch(parent, header(parent, 5, step_count=1), steps), "w")
    of_parent = {"namespace": "default", "workflow_id": "parent", "run_id": "p1"}
    await told(backend.runs, child, 5, parent=of_parent)  # nobody has seen its end
    again = of("child again", "c2")
    way = {**GONE, "run_id": "p1"}
    await told(backend.runs, again, 1, home=way, source=way)
    assert (await backend.runs.get("child again")).home == ChainRef("default", "child", "c1")
    for workflow_id in ("parent", "child"):
        await backend.runs.delete(workflow_id, force=True)
    other = StateBackend.open(backend.store, app="tests")  # as a worker that has just started
    async with other:
        await told(other.runs, again, 2, home=way, source=way)
        assert (await other.runs.get("child again")).home == ChainRef("default", "child", "c1")


async def test_looking_for_a_document_waits_for_no_end(monkeypatch, backend):
    parent = of("parent", "p1", 3)
    await told(backend.runs, parent, 5)

    async def never(*_):
        raise AssertionError("it waited")

    monkeypatch.setattr("temporal_state.runs._takeover.asyncio.sleep", never)
    way = {**GONE, "run_id": "p1", "way": []}
    await told(backend.runs, of("again", "r1"), 1, home=way, source=way)
    assert (await backend.runs.get("again")).home == ChainRef("default", "parent", "p1")


@pytest.mark.parametrize(
    ("read", "expected"),
    [("get", None), ("delete", None), ("document", {}), ("steps", []), ("history", [])],
)
async def test_a_run_that_goes_while_it_is_looked_for_is_not_there(monkeypatch, read, expected):
    store = MemoryStore()
    async with StateBackend.open(store, app="tests", clock=Clock()) as backend:
        await backend.runs.start("w", workflow_type="T", run_id="r1", started=NOON)

        async def gone(self, key):
            return None if key.endswith("/run.json") else await get(self, key)

        get = MemoryStore.get
        monkeypatch.setattr(MemoryStore, "get", gone)
        assert await getattr(backend.runs, read)("w") == expected


@pytest.mark.parametrize(
    "read",
    [
        "get",
        "get_step",
        "steps",
        "history",
        "document",
        "delete",
        "load_checkpoint",
        "spans",
        "evaluate",
    ],
)
@pytest.mark.parametrize("content", [b'{"schema":1,"clock":3}', b'{"schema":1,"hand":[]}', b"[]"])
async def test_a_record_that_lacks_something_is_damaged_and_never_empty(backend, read, content):
    await backend.runs.start("w", workflow_type="T", run_id="r1", started=NOON)
    (key,) = [key for key in await backend.store.list() if key.endswith("/run.json")]
    await backend.store.put(key, content)
    with pytest.raises(DamagedObjectError, match=key):
        await getattr(backend.runs, read)("w", *([1] if read in {"evaluate", "get_step"} else []))


@pytest.mark.parametrize("kind", ["snapshots", "audit", "evaluations"])
async def test_other_objects_that_lack_something_are_damaged_too(backend, kind):
    await backend.runs.start("w", workflow_type="T", run_id="r1", started=NOON)
    await backend.runs.checkpoint(of("w", "r1"), step=1, state={})
    await backend.snapshots.create("kept", run="w")
    await backend.runs.evaluate("w", 1.0)
    await backend.audit.write("test", {})
    for key in await backend.store.list():
        if f"/tests/{kind}/" in key:
            await backend.store.put(key, b'{"schema":1}')
    lists = {"snapshots": backend.snapshots.list, "audit": backend.audit.list}
    with pytest.raises(DamagedObjectError):
        await lists.get(kind, backend.runs.evaluations)()
