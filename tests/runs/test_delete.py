"""Deleting a run: all that belongs to it, never a running one, and never without a line."""

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from as_told import NOON, told

from temporal_state import ConflictError, StoreError
from temporal_state.documents import to_text
from temporal_state.runs import ChainRef, Retention, RunRef, _store

BIG = "x" * 9000


async def full_run(backend, ref):
    """Give a run something of everything."""
    runs = backend.runs
    await runs.step(ref, number=1, name="a", result=BIG)
    await runs.step(ref, number=100, name="b")
    await runs.checkpoint(ref, step=1, state={"n": 1}, name="kept by its name")
    await runs.span(ref, name="s", start=NOON)
    await runs.evaluate(ref.workflow_id, 1, run_id=ref.run_id)
    chain = ChainRef("default", ref.workflow_id, ref.run_id)
    await backend.own_documents.one(chain).merge({"mine": 1})


async def test_all_of_a_run_goes_and_nothing_else(backend, runs):
    for workflow_id, run_id in [("order-7", "r2"), ("order-77", "r1")]:
        other = await runs.start(workflow_id, workflow_type="T", run_id=run_id, started=NOON)
        await full_run(backend, other)
    before = await keys(backend)
    ref = await runs.start("order-7", workflow_type="T", run_id="r1", started=NOON)
    await full_run(backend, ref)
    await runs.finish(ref)
    deleted = await runs.delete("order-7", run_id="r1", actor="ann")
    assert (deleted.run_id, deleted.status, deleted.document) == ("r1", "completed", True)
    assert (deleted.evaluations, deleted.objects >= 6) == (1, True)
    assert await keys(backend) == before
    assert await runs.get("order-7", run_id="r1") is None
    assert [e.run_id for e in await runs.evaluations("order-7", run_id="r2")] == ["r2"]
    (line,) = await backend.audit.list()
    assert (line.action, line.actor, line.time) == ("run.delete", "ann", NOON)
    assert line.target == {"namespace": "default", "workflow_id": "order-7", "run_id": "r1"}
    assert await runs.delete("order-7", run_id="r1") is None


async def keys(backend):
    return [k for k in await backend.store.list() if not re.search("/audit/|/feed/", k)]


async def test_a_running_run_is_not_deleted(runs, ref):
    with pytest.raises(ConflictError, match="force=True"):
        await runs.delete("order-7")
    assert (await runs.delete("order-7", force=True)).status == "running"
    assert await runs.get("order-7") is None


async def test_a_run_that_has_just_ended_is_deleted_when_its_worker_has_written_all(
    backend, runs, monkeypatch
):
    ref = RunRef("default", "order-7", "r1", NOON)
    end = {"status": "completed", "ended": to_text(NOON)}
    await told(runs, ref, 3, [1], **end)
    waits = []

    async def confirmed_meanwhile(seconds):
        waits.append(seconds)
        await told(runs, ref, 3, **end, confirmed=True)  # without waiting it would come too late

    monkeypatch.setattr(_store, "asyncio", SimpleNamespace(sleep=confirmed_meanwhile))
    assert (await runs.delete("order-7")).status == "completed"
    assert waits == [_store.NAP]
    assert await keys(backend) == []


async def test_the_own_document_goes_with_the_last_run_of_its_chain(backend, runs):
    own = backend.own_documents.one(ChainRef("default", "c", "first"))
    await own.merge({"shared": 1})
    ended = {"status": "completed", "confirmed": True, "chain": "first"}
    for n, run_id in enumerate(["first", "second"]):
        started = NOON + timedelta(days=40 * n)
        ref = await runs.start("c", workflow_type="T", run_id=run_id, started=started)
        await told(runs, ref, 1, **ended)
    assert not (await runs.delete("c", run_id="first")).document
    assert await own.get() == {"shared": 1}
    assert (await runs.delete("c")).document
    assert await own.get() == {}


async def test_a_deletion_that_failed_half_way_is_finished_by_the_next(
    backend, runs, ref, monkeypatch
):
    await full_run(backend, ref)
    await runs.finish(ref)
    delete, count = type(backend.store).delete, 0

    async def failing(store, key):
        nonlocal count
        count += 1
        if count > 4:
            raise StoreError("the disk is gone")
        return await delete(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(type(backend.store), "delete", failing)
        with pytest.raises(StoreError):
            await runs.delete("order-7")
    assert await runs.delete("order-7") is not None
    assert [k for k in await keys(backend) if not k.endswith("chains.json")] == []
    assert len(await runs.evaluations()) == 0


async def test_lines_are_listed_by_time_a_page_at_a_time(backend, clock):
    audit = backend.audit
    for n in range(7):
        await audit.write("test", {"n": n}, actor=f"a{n}", details={"x": [n]})
        clock.move(days=10)
    assert [line.target["n"] for line in await audit.list()] == [*range(7)]
    window = await audit.list(since=NOON + timedelta(days=20), until=NOON + timedelta(days=50))
    assert [line.target["n"] for line in window] == [2, 3, 4]
    found, cursor = [], None
    while True:
        page = await audit.list(limit=3, cursor=cursor)
        found += [line.actor for line in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == [f"a{n}" for n in range(7)]


@pytest.mark.parametrize("which", ["order-7", "child", "next"])
async def test_what_an_open_run_takes_over_from_stays_until_that_has_ended(
    backend, runs, ref, clock, which
):
    ended = {"status": "failed", "confirmed": True, "ended": to_text(NOON)}
    await told(runs, ref, 1, **ended)
    parent = {"namespace": "default", "workflow_id": "order-7", "run_id": "r1"}
    child = await runs.start("child", workflow_type="T", run_id="c1", started=NOON)
    await told(runs, child, 1, **ended, parent=parent)
    following = await runs.start("next", workflow_type="T", run_id="n1", started=NOON)
    await told(
        runs, following, 1, **ended, parent={**parent, "workflow_id": "child", "run_id": "c1"}
    )
    other = await runs.start("other", workflow_type="T", run_id="o1", started=NOON)
    await told(runs, other, 1, **ended)
    source = {"namespace": "default", "workflow_id": "order-7", "run_id": "r1", "before": None}
    resumed = await runs.start("elsewhere", workflow_type="T", run_id="r2", started=NOON)
    await told(runs, resumed, 1, source={**source, "way": []})
    clock.move(days=90)
    with pytest.raises(ConflictError, match="needed by run 'r2' of 'elsewhere'"):
        await runs.delete(which)
    assert await backend.maintenance.cleanup(older_than=timedelta(days=1)) == 1
    report = await backend.maintenance.run(Retention(runs=timedelta(days=1)))
    assert (report.done["runs"], report.errors) == (0, {})
    assert await runs.get("other") is None
    assert await runs.get(which) is not None
    await told(runs, resumed, 5, source={**source, "way": []}, **ended)
    assert await runs.delete(which) is not None


async def test_what_was_resumed_before_is_needed_as_well(runs, ref):
    ended = {"status": "failed", "confirmed": True, "ended": to_text(NOON)}
    for n in (1, 2, 3):
        each = await runs.start("order-7", workflow_type="T", run_id=f"r{n}", started=NOON)
        source = {"namespace": "default", "workflow_id": "order-7", "run_id": f"r{n - 1}"}
        source = {**source, "before": None, "way": []} if n > 1 else None
        await told(runs, each, 1, source=source, **(ended if n < 3 else {}))
    for n in (1, 2):
        with pytest.raises(ConflictError, match="needed by run 'r3'"):
            await runs.delete("order-7", run_id=f"r{n}")


async def test_what_is_being_resumed_waits_for_the_record_of_the_new_run(runs, ref, clock):
    ended = {"status": "failed", "confirmed": True, "ended": to_text(NOON)}
    await told(runs, ref, 1, **ended)
    await runs.hold(ref)
    await told(runs, ref, 2, **ended)  # its worker says once more what is known
    with pytest.raises(ConflictError, match="there is no record of the new run"):
        await runs.delete("order-7")
    source = {"namespace": "default", "workflow_id": "order-7", "run_id": "r1", "before": None}
    new = await runs.start("order-8", workflow_type="T", run_id="r2", started=NOON)
    await told(runs, new, 1, source={**source, "way": []}, **ended)
    assert await runs.delete("order-7") is not None
    await runs.hold(ref)  # of what is gone, nothing is left
    assert await runs.get("order-7") is None
    await runs.hold(new)
    clock.move(days=2)
    assert await runs.delete("order-8") is not None  # it never began


async def test_what_is_needed_goes_by_force(runs, ref):
    await told(runs, ref, 1, status="failed", confirmed=True, ended=to_text(NOON))
    source = {"namespace": "default", "workflow_id": "order-7", "run_id": "r1", "before": None}
    resumed = await runs.start("order-7", workflow_type="T", run_id="r2", started=NOON)
    await told(runs, resumed, 1, source={**source, "way": []})
    assert (await runs.delete("order-7", run_id="r1", force=True)).status == "failed"


async def test_a_document_that_a_resumed_run_goes_on_with_stays(backend, runs, ref):
    await backend.own_documents.one(ChainRef("default", "order-7", "r1")).merge({"mine": 1})
    await told(runs, ref, 1, status="failed", confirmed=True)
    home = {"namespace": "default", "workflow_id": "order-7", "chain": "r1"}
    later = NOON + timedelta(days=1)
    resumed = await runs.start("order-7", workflow_type="T", run_id="r2", started=later)
    await told(runs, resumed, 1, home=home)
    assert not (await runs.delete("order-7", run_id="r1")).document
    assert await runs.document("order-7") == {"mine": 1}
