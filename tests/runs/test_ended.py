"""Runs that go as soon as they have ended: only such as nobody can need any more."""

from datetime import timedelta

import pytest
from as_told import IN_MEMORY, NOON, call, header, told

from temporal_state.documents import to_text
from temporal_state.errors import InvalidValueError
from temporal_state.runs import LAST_ENDS, Catalog, ChainRef, EndedRuns, Patch, Retention

COMPLETED = {"status": "completed", "confirmed": True, "ended": to_text(NOON)}
FAILED = {**COMPLETED, "status": "failed"}
MINUTE = timedelta(minutes=1)
START = {"execution_timeout": None, "run_timeout": None, "task_timeout": None}
START |= {"memo": {}, "search_attributes": {}}
TWICE = {"maximum_attempts": 2}


async def made(runs, id, *, steps=None, **changes):
    ref = await runs.start(id, workflow_type="T", run_id=f"{id}-r", started=NOON)
    await told(runs, ref, 5, steps or (), **changes)
    return ref


def by(id):
    return {"parent": {"namespace": "default", "workflow_id": id, "run_id": f"{id}-r"}}


async def go(backend, ref, *statuses) -> int:
    """Delete a run as a worker does it."""
    return await EndedRuns(backend.runs, statuses or ("completed",), "test").delete(ref)


async def left(runs) -> set[str]:
    return {run.workflow_id for run in await runs.list(limit=None)}


async def test_a_completed_run_goes_with_all_that_belongs_to_it(backend, runs):
    ref = await made(runs, "a", steps=[1], **COMPLETED)
    other = await made(runs, "b", **FAILED)
    await backend.own_documents.one(ChainRef("default", "a", "a-r")).merge({"mine": 1})
    await backend.documents.merge("a", {"shared": 1})
    assert (await go(backend, ref), await go(backend, other)) == (1, 0)
    assert await left(runs) == {"b"}
    assert await runs.document("a") == {}
    assert await backend.documents.get("a") == {"shared": 1}
    assert [line.actor for line in await backend.audit.list()] == ["test"]
    assert await go(backend, ref) == 0


@IN_MEMORY
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**COMPLETED, "confirmed": False},
        {**COMPLETED, "status": "continued_as_new"},
        {**COMPLETED, "cron": "@daily"},
        {**FAILED, "start": {**START, "retry": TWICE}},
        {**FAILED, "start": {**START, "retry": {"maximum_attempts": 0}}, "attempt": 9},
        FAILED,  # how it was started is not known
    ],
    ids=[
        "running",
        "not confirmed",
        "continued",
        "cron",
        "to be retried",
        "retried for ever",
        "start unknown",
    ],
)
async def test_what_may_go_on_stays(backend, runs, clock, changes):
    ref = await made(runs, "a", **changes)
    assert await go(backend, ref, *LAST_ENDS) == 0
    clock.move(minutes=5)
    report = await backend.maintenance.run(Retention(on_end=LAST_ENDS))
    assert (report.errors, await left(runs)) == ({}, {"a"})


@IN_MEMORY
@pytest.mark.parametrize("start", [{"retry": None}, {"retry": {"maximum_attempts": 1}}])
async def test_a_failure_after_which_nothing_comes_goes(backend, runs, start):
    ref = await made(runs, "a", **FAILED, start={**START, **start})
    assert await go(backend, ref, "failed") == 1


async def test_a_child_goes_with_the_run_that_started_it_and_not_before(backend, runs):
    parent = await made(runs, "parent")
    child = await made(runs, "child", **COMPLETED, **by("parent"))
    await made(runs, "grandchild", **COMPLETED, **by("child"))
    await made(runs, "failed", **FAILED, **by("parent"))
    assert await go(backend, child) == 0
    steps = {1: call(1), 2: call(2), 3: call(3)}
    for number, id in ((1, "child"), (2, "failed")):
        steps[number]["call"] |= {"kind": "child", "id": id}
    await told_steps(runs, parent, steps)
    nested = {1: call(1)}
    nested[1]["call"] |= {"kind": "child", "id": "grandchild"}
    await told_steps(runs, child, nested, **by("parent"))
    assert await go(backend, parent) == 3
    assert await left(runs) == {"failed"}


async def told_steps(runs, ref, steps, **changes):
    """Tell the steps of a completed run."""

    said = header(ref, 9, step_count=len(steps), **COMPLETED, **changes)
    await runs.write(Patch(ref, said, steps), "writer")


async def test_runs_that_continued_as_new_go_with_the_last_one(backend, runs):
    continued = {**COMPLETED, "status": "continued_as_new", "chain": "r0"}
    for n in range(3):
        ref = await runs.start("a", workflow_type="T", run_id=f"r{n}", started=NOON)
        former = f"r{n - 1}" if n else None
        await told(runs, ref, 5, **continued, continued_from=former)
    await backend.own_documents.one(ChainRef("default", "a", "r0")).merge({"mine": 1})
    assert await go(backend, ref) == 0
    await told(runs, ref, 9, **{**continued, "status": "completed"}, continued_from="r1")
    assert await go(backend, ref) == 3
    assert await left(runs) == set()
    lines = await backend.audit.list()
    documents = {line.target["run_id"]: line.details["document"] for line in lines}
    assert documents == {"r0": False, "r1": False, "r2": True}  # which was the last to go


async def test_the_child_of_a_failed_run_stays_for_whoever_resumes_that(backend, runs, clock):
    await made(runs, "parent", **FAILED)
    child = await made(runs, "child", **COMPLETED, **by("parent"))
    assert await go(backend, child) == 0
    clock.move(days=2)
    await backend.maintenance.run(Retention(on_end=["completed"]))
    assert await left(runs) == {"parent", "child"}
    await runs.delete("parent")
    assert (await backend.maintenance.run(Retention(on_end=["completed"]))).done["runs"] == 1


async def test_what_was_resumed_is_left_to_maintenance(backend, runs, clock):
    ref = await made(runs, "a", **COMPLETED)
    await runs.hold(ref)
    came = await made(runs, "b", **COMPLETED, **by("a"))
    source = {"namespace": "default", "workflow_id": "a", "run_id": "a-r", "before": None}
    resumed = await made(runs, "c", source={**source, "way": []})
    assert (await go(backend, ref), await go(backend, came)) == (0, 0)
    retention = Retention(on_end=["completed"])
    clock.move(minutes=5)
    assert (await backend.maintenance.run(retention)).done["runs"] == 0
    await told(runs, resumed, 9, source={**source, "way": []}, **FAILED)
    assert (await backend.maintenance.run(retention)).done["runs"] == 2
    assert await left(runs) == {"c"}


@IN_MEMORY
async def test_a_worker_needs_no_catalog_for_it(backend, monkeypatch):
    ref = await made(backend.runs, "a", **COMPLETED, **by("nobody"))

    async def ask(*_):
        raise AssertionError("many workers have no catalog, and must not build one for this")

    monkeypatch.setattr(Catalog, "ask", ask)
    assert await go(backend, ref) == 1


async def test_maintenance_does_what_no_worker_came_to(backend, runs, clock):
    for n in range(3):
        await made(runs, f"a{n}", **COMPLETED)
    await made(runs, "b", **FAILED)
    retention = Retention(on_end=["completed"], runs={"failed": 10 * MINUTE})
    assert (await backend.maintenance.run(retention)).done["runs"] == 0  # a worker may be at it
    clock.move(minutes=2)
    assert (await backend.maintenance.run(retention)).done["runs"] == 3
    assert await left(runs) == {"b"}
    clock.move(minutes=9)
    assert (await backend.maintenance.run(retention)).done["runs"] == 1


@IN_MEMORY
@pytest.mark.parametrize(
    ("changes", "days", "stays"),
    [
        ({"status": "continued_as_new"}, 0, True),
        ({"status": "continued_as_new"}, 2, False),
        ({"cron": "0 0 1 * *"}, 20, True),
        ({"cron": "0 0 1 * *", "status": "terminated"}, 0, False),
        ({**FAILED, "start": {**START, "retry": TWICE}}, 0, True),
        ({**FAILED, "start": {**START, "retry": TWICE}, "attempt": 2}, 0, False),
        ({}, 0, False),
    ],
)
async def test_the_document_of_a_chain_that_goes_on_outlives_its_only_record(
    backend, clock, changes, days, stays
):
    await made(backend.runs, "a", **{**COMPLETED, **changes})
    own = backend.own_documents.one(ChainRef("default", "a", "a-r"))
    await own.merge({"cursor": 7})
    clock.move(days=days)
    assert (await backend.runs.delete("a")).document is not stays
    assert await own.get() == ({"cursor": 7} if stays else {})


@pytest.mark.parametrize("wrong", ["completed", ["running"], ["continued_as_new"]])
def test_only_ends_can_be_named(wrong):
    with pytest.raises(InvalidValueError, match="is no list of ends"):
        Retention(on_end=wrong)
