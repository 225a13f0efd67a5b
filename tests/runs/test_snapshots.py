"""Snapshots: under a name, for good; restoring one loses nothing."""

import pytest
from as_told import IN_MEMORY, NOON, told

from temporal_state import (
    ConflictError,
    DamagedObjectError,
    InvalidNameError,
    InvalidValueError,
    NotFoundError,
    NotRecordedError,
    PathTraversalError,
    StateBackend,
)
from temporal_state.runs import ChainRef


@pytest.fixture
def snapshots(backend):
    return backend.snapshots


async def test_a_document_goes_back_to_a_snapshot_as_a_new_version(backend, snapshots):
    await backend.documents.merge("config", {"a": 1}, "system")
    made = await snapshots.create("before", document=("config", "system"), metadata={"why": "x"})
    await backend.documents.merge("config", {"a": 2, "b": 3}, "system")
    restored = await snapshots.restore("before", actor="ann")
    assert (restored.value, restored.version) == ({"a": 1}, 3)
    assert await backend.documents.get("config", "system") == {"a": 1}
    assert await snapshots.load("before") == made
    assert (made.state, made.version, made.metadata, made.time) == ({"a": 1}, 1, {"why": "x"}, NOON)
    (line,) = await backend.audit.list()
    assert (line.action, line.actor, line.target["snapshot"]) == (
        "snapshot.restore",
        "ann",
        "before",
    )


async def test_a_run_goes_back_to_a_snapshot_of_its_own_document(backend, snapshots, runs, ref):
    own = backend.own_documents.one(ChainRef("default", "order-7", "r1"))
    await own.merge({"cursor": 5})
    made = await snapshots.create("s", run="order-7")
    assert (made.run["run_id"], made.state, made.document) == ("r1", {"cursor": 5}, None)
    await own.merge({"cursor": 9, "x": 1})
    await snapshots.restore("s")
    assert await runs.document("order-7") == {"cursor": 5}


async def test_of_a_run_by_hand_it_is_the_latest_checkpoint(snapshots, runs, ref):
    await runs.checkpoint(ref, step=1, state={"n": 1})
    await runs.checkpoint(ref, step=2, state={"n": 2})
    assert (await snapshots.create("s", run="order-7", run_id="r1")).state == {"n": 2}
    await snapshots.restore("s")
    assert await runs.document("order-7") == {"n": 2}


async def test_a_name_is_given_once(backend, snapshots):
    await backend.documents.merge("a", {"x": 1})
    made = await snapshots.create("s", document="a")
    assert await snapshots.create("s", document=("a", "workflows")) == made  # a retry
    await backend.documents.merge("a", {"x": 2})
    with pytest.raises(ConflictError, match="replace=True"):
        await snapshots.create("s", document="a")
    assert (await snapshots.load("s")).state == {"x": 1}
    await snapshots.create("s", document="a", replace=True)
    assert (await snapshots.load("s")).state == {"x": 2}


async def test_snapshots_outlive_the_run_and_its_retention(backend, snapshots, runs, ref):
    await runs.checkpoint(ref, step=1, state={"n": 1})
    await snapshots.create("s", run="order-7")
    await runs.checkpoint(ref, step=2, state={"n": 2})
    await runs.trim_checkpoints(ref, 1)
    await runs.finish(ref)
    await runs.delete("order-7")
    assert (await snapshots.load("s")).state == {"n": 1}


async def test_snapshots_are_listed_by_prefix_a_page_at_a_time(backend, snapshots):
    await backend.documents.merge("a", {"x": 1})
    long = "a-" + "x" * 300
    names = ["a-1", "a-2", "A-3", "b", "Ä", long]
    for name in names:
        await snapshots.create(name, document="a")
    found, cursor = [], None
    while True:
        page = await snapshots.list(limit=2, cursor=cursor)
        found += [s.name for s in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(names)
    assert {s.name for s in await snapshots.list(prefix="a-")} == {"a-1", "a-2", long}
    assert {s.name for s in await snapshots.list(prefix="a-" + "x" * 299)} == {long}
    assert len(await snapshots.list(prefix="c")) == 0


async def test_a_snapshot_is_deleted_once_with_a_line(backend, snapshots):
    await backend.documents.merge("a", {"x": 1})
    await snapshots.create("s", document="a")
    assert await snapshots.delete("s", actor="ann")
    assert not await snapshots.delete("s")
    assert await snapshots.load("s") is None
    assert [line.action for line in await backend.audit.list()] == ["snapshot.delete"]


@IN_MEMORY
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "../x", "document": "a"}, PathTraversalError),
        ({"name": "", "document": "a"}, InvalidNameError),
        ({"name": "s"}, InvalidValueError),
        ({"name": "s", "document": "a", "run": "a"}, InvalidValueError),
        ({"name": "s", "document": "absent"}, NotFoundError),
        ({"name": "s", "run": "absent"}, NotRecordedError),
        ({"name": "s", "document": ("a", "../credentials")}, PathTraversalError),
        ({"name": "s", "document": "a", "metadata": {"x": {1}}}, InvalidValueError),
    ],
)
async def test_what_cannot_be_kept_is_refused(backend, snapshots, arguments, error):
    with pytest.raises(error):
        await snapshots.create(**arguments)
    assert await backend.store.list() == []
    with pytest.raises(NotFoundError, match="no snapshot 's'"):
        await snapshots.restore("s")


async def test_nothing_of_a_tenant_is_seen_by_another(backend, runs, ref):
    await told(runs, ref, 1)
    other = StateBackend.open(backend.store, app="tests", tenant="other")
    await runs.evaluate("order-7", 1)
    await backend.snapshots.create("s", run="order-7")
    assert await other.snapshots.load("s") is None
    assert len(await other.snapshots.list()) == len(await other.runs.evaluations()) == 0
    assert await other.runs.get("order-7") is None
    with pytest.raises(NotRecordedError):
        await other.runs.evaluate("order-7", 1)


async def test_a_damaged_snapshot_is_an_error(backend, snapshots):
    await backend.documents.merge("a", {"x": 1})
    await snapshots.create("s", document="a")
    (key,) = [k for k in await backend.store.list() if "/snapshots/" in k]
    await backend.store.put(key, b"{")
    with pytest.raises(DamagedObjectError):
        await snapshots.load("s")
    with pytest.raises(DamagedObjectError):
        await snapshots.list()
