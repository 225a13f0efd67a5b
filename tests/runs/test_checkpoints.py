"""Checkpoints: numbered, immutable, compared, and kept as long as retention says."""

import asyncio
from datetime import timedelta

import pytest
from as_told import checkpoint, header, told

from temporal_state import ConflictError, InvalidValueError, NotRecordedError, StoreFullError
from temporal_state.runs import ChainRef, Patch
from temporal_state.runs._merge import MAX_CHECKPOINTS, merge_checkpoints


async def keys(backend, part):
    return [key for key in await backend.store.list() if f"/{part}/" in key]


async def test_checkpoints_are_numbered_and_the_latest_is_loaded(runs, ref, clock):
    made = await runs.checkpoint(ref, step=5, state={"progress": 50})
    at = clock.move(seconds=1)
    await runs.checkpoint(ref, step=10, state={"progress": 100}, name="end")
    assert [(c.number, c.step, c.state) for c in await runs.history("order-7")] == [
        (1, 5, {"progress": 50}),
        (2, 10, {"progress": 100}),
    ]
    latest = await runs.load_checkpoint("order-7")
    assert (latest.number, latest.name, latest.time) == (2, "end", at)
    assert await runs.load_checkpoint("order-7", 1) == made
    assert await runs.load_checkpoint("order-7", 3) is None
    assert await runs.load_checkpoint("unknown") is None


async def test_a_checkpoint_is_immutable_and_twice_is_once(backend, runs, ref):
    for _ in range(3):
        assert (await runs.checkpoint(ref, step=0, state={"a": 1, "b": 2})).number == 1
    assert (await runs.checkpoint(ref, step=0, state={"b": 2, "a": 1}, number=1)).number == 1
    assert (await runs.checkpoint(ref, step=0, state={"a": 2})).number == 2
    with pytest.raises(ConflictError, match="immutable"):
        await runs.checkpoint(ref, step=0, state={"a": 3}, number=1)
    assert [c.state for c in await runs.history("order-7")] == [{"a": 1, "b": 2}, {"a": 2}]
    assert len(await keys(backend, "documents")) == 2  # nothing is left of those that were refused


async def test_checkpoints_made_at_once_have_a_number_each(runs, ref):
    made = await asyncio.gather(*(runs.checkpoint(ref, step=n, state={"n": n}) for n in range(20)))
    assert sorted(c.number for c in made) == [*range(1, 21)]
    assert {c.number: c.state for c in await runs.history("order-7")} == {
        c.number: c.state for c in made
    }


async def test_the_difference_names_each_path_that_changed(runs, ref, clock):
    await runs.progress(ref, 1)
    before = {"kept": [1], "gone": 1, "a/b": {"x~": True}, "list": [1, 2], "null": None}
    await runs.checkpoint(ref, step=1, state=before)
    clock.move(seconds=30)
    await runs.progress(ref, 4)
    after = {"kept": [1], "new": {}, "a/b": {"x~": 1}, "list": [1, 3, 4], "null": None}
    await runs.checkpoint(ref, step=8, state=after)
    diff = await runs.diff("order-7", 1, 2)
    assert diff.added == {"/new": {}, "/list/2": 4}
    assert diff.removed == {"/gone": 1}
    assert diff.changed == {"/a~1b/x~0": (True, 1), "/list/1": (2, 3)}
    assert (diff.steps, diff.progress, diff.time.total_seconds()) == (7, 3, 30)
    back = await runs.diff("order-7", 2, 1)
    assert (back.added, back.removed) == (diff.removed, diff.added)
    with pytest.raises(NotRecordedError, match="no checkpoint 3"):
        await runs.diff("order-7", 1, 3)
    with pytest.raises(LookupError):
        await runs.diff("unknown", 1, 2)


async def test_retention_keeps_the_newest_and_all_that_have_a_name(backend, runs, ref):
    for n in range(1, 7):
        await runs.checkpoint(ref, step=n, state={"n": n}, name="two" if n == 2 else None)
    assert await runs.trim_checkpoints(ref, 2) == 3
    assert [c.state for c in await runs.history("order-7")] == [{"n": 2}, {"n": 5}, {"n": 6}]
    assert len(await keys(backend, "documents")) == 3
    assert await runs.trim_checkpoints(ref, 2) == 0
    assert (await runs.checkpoint(ref, step=7, state={})).number == 7
    with pytest.raises(InvalidValueError, match="keep=0"):
        await runs.trim_checkpoints(ref, 0)


async def test_what_retention_dropped_of_a_worker_does_not_come_back(backend, runs, ref):
    own = backend.own_documents.one(ChainRef("default", "order-7", "r1"))
    for n in range(1, 6):
        await own.merge({"n": n})
        await told(runs, ref, n, checkpoints=[checkpoint(n)])
    assert [c.state["n"] for c in await runs.history("order-7")] == [1, 2, 3, 4, 5]
    assert await runs.trim_checkpoints(ref, 2) == 3
    assert len(await keys(backend, "documents")) == 2
    await told(runs, ref, 6, checkpoints=[checkpoint(n) for n in range(1, 7)])  # after a replay
    assert [c.number for c in await runs.history("order-7")] == [4, 5, 6]
    assert len(await keys(backend, "documents")) == 2  # versions 4 and 5, which 6 shares


async def test_states_go_with_the_checkpoints_that_are_too_many(backend, runs, ref):
    own = backend.own_documents.one(ChainRef("default", "order-7", "r1"))
    many = [checkpoint(n, version=n) for n in range(1, MAX_CHECKPOINTS + 1)]
    await own.merge({"n": 1})
    await told(runs, ref, 1, checkpoints=[checkpoint(1)])
    await own.merge({"n": 2})
    await told(runs, ref, 2, checkpoints=many)
    assert len(await keys(backend, "documents")) == 2
    await own.merge({"n": 3})
    await told(runs, ref, 3, checkpoints=[checkpoint(MAX_CHECKPOINTS + 1)])
    left = [key.rpartition("/")[2] for key in await keys(backend, "documents")]
    assert left == ["000000002.json", "000000003.json"]
    assert len(await runs.history("order-7")) == MAX_CHECKPOINTS


def test_a_checkpoint_with_a_name_is_never_dropped():
    many = [checkpoint(n, name="kept" if n == 1 else None) for n in range(1, 500)]
    kept = [c["number"] for c in merge_checkpoints(many[:250], many[200:])]
    assert kept == [1, *range(400, 500)]
    assert merge_checkpoints(many, [], 450)[:2] == [many[0], many[449]]


async def test_a_state_that_others_drop_while_it_is_shared_is_kept_again(
    backend, runs, ref, monkeypatch
):
    chain = ChainRef(ref.namespace, ref.workflow_id, ref.run_id)
    await backend.own_documents.one(chain).merge({"n": 1})
    await told(runs, ref, 1, checkpoints=[checkpoint(1)])
    called = {"name": None, "workflow_type": "T", "task_queue": "q", "told": {"number": 2}}
    await runs.keep_checkpoint(ref, "call", state={}, version=0, at=None, **called)
    head = backend.store.head

    async def trimmed_after(key):
        found = await head(key)
        monkeypatch.undo()
        assert await runs.trim_checkpoints(ref, 1) == 1
        return found

    monkeypatch.setattr(backend.store, "head", trimmed_after)
    await told(runs, ref, 3, checkpoints=[checkpoint(3)])
    history = await runs.history(ref.workflow_id)
    assert [(one.number, one.state) for one in history] == [(2, {}), (3, {"n": 1})]


async def test_a_checkpoint_has_no_key_that_had_expired_by_then(backend, runs, ref, clock):
    own = backend.own_documents.one(ChainRef(ref.namespace, ref.workflow_id, ref.run_id))
    await own.merge({"stays": 1})
    for seconds in (1, 2):
        await own.set(f"for {seconds} s", 1, ttl=timedelta(seconds=seconds))
    for number in (1, 2, 3):
        await told(runs, ref, number, checkpoints=[checkpoint(number)])
        clock.move(seconds=1)
    assert [list(one.state) for one in await runs.history(ref.workflow_id)] == [
        ["stays", "for 1 s", "for 2 s"],
        ["stays", "for 2 s"],
        ["stays"],
    ]


async def test_a_state_that_could_not_be_kept_is_kept_with_the_next_write(
    backend, runs, ref, monkeypatch
):
    own = backend.own_documents.one(ChainRef(ref.namespace, ref.workflow_id, ref.run_id))
    await own.merge({"n": 1})
    patch = Patch(ref, header(ref, 1, checkpoints=[checkpoint(1)]))
    put = backend.store.put

    async def full(key, data, **options):
        if "/documents/" in key:
            raise StoreFullError("no room")
        return await put(key, data, **options)

    with monkeypatch.context() as no_room:
        no_room.setattr(backend.store, "put", full)
        with pytest.raises(StoreFullError):
            await runs.write(patch, "writer")
    await own.merge({"n": 2})
    await runs.write(patch, "writer")
    assert [one.state for one in await runs.history(ref.workflow_id)] == [{"n": 2}]
