"""Wherever the records lie, the same is answered, by a catalog that is not beside them as well."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from catalog_runs import NOON, ended, ids, reference, told

from temporal_state import StateBackend

HOUR = timedelta(hours=1)


async def filled(runs) -> None:
    refs = [reference(n) for n in range(8)]
    changes = [
        {
            **ended(ref, "failed" if n % 3 == 0 else "completed"),
            "workflow_type": "Import" if n % 2 else "Export",
            "metadata": {"env": "prod" if n % 2 else "test", "at": {"n": n}},
            "parent": {"namespace": "default", "workflow_id": "boss", "run_id": "b"} if n else None,
        }
        for n, ref in enumerate(refs)
    ]
    await asyncio.gather(*(told(runs, r, **c) for r, c in zip(refs, changes, strict=True)))
    ref = await runs.start("by-hand", workflow_type="T", run_id="h", started=NOON - HOUR)
    for number in (1, 70):
        await runs.step(ref, number=number, name="load", started=NOON, ended=NOON + HOUR)
    await runs.checkpoint(ref, step=70, state={"rows": 3})
    await runs.finish(ref, "timed_out", ended=NOON)


async def answers(runs) -> Sequence[Any]:
    first = await runs.list(limit=4)
    stats = await runs.stats()
    return [
        ids(first),
        ids(await runs.list(cursor=first.cursor)),
        ids(await runs.list(status=["failed", "timed_out"], workflow_type="Export")),
        ids(await runs.list(metadata={"at": {"n": 5}})),
        ids(await runs.list(since=NOON - timedelta(minutes=4), limit=None, offset=1)),
        [(run.run_id, run.error) for run in await runs.failed()],
        ids(await runs.background("boss", status="failed")),
        (stats.by_status, stats.by_type, stats.checkpoints, stats.average_duration),
        list(await runs.step_stats()),
    ]


@pytest.mark.parametrize("store", ["memory", "s3"])
async def test_every_store_answers_as_local_files_do(store, local, request, tmp_path, clock):
    await filled(local.runs)
    expected = await answers(local.runs)
    url = "memory://" if store == "memory" else request.getfixturevalue("s3_store")
    async with StateBackend.open(url, app="tests", clock=clock, catalog=tmp_path / "c") as backend:
        assert await backend.runs.list() == []
        await filled(backend.runs)
        assert await answers(backend.runs) == expected  # by following
        await backend.runs.reindex()
        assert await answers(backend.runs) == expected
        assert backend.runs.stats_sync() == await backend.runs.stats()
        await backend.runs.delete("by-hand")
        assert "h" not in ids(await backend.runs.list())
    async with StateBackend.open(url, app="tests", tenant="t", catalog=tmp_path / "c") as other:
        assert await other.runs.list() == []


async def test_two_machines_follow_one_bucket_each_with_a_catalog_of_its_own(
    s3_store, tmp_path, clock
):
    one = StateBackend.open(s3_store, app="tests", clock=clock, catalog=tmp_path / "one")
    two = StateBackend.open(s3_store, app="tests", clock=clock, catalog=tmp_path / "two")
    async with one, two:
        assert await two.runs.list() == []
        ref = await told(one.runs, reference(0))
        assert ids(await two.runs.list(status="running")) == ["run-0"]
        await told(one.runs, ref, **ended(ref, "failed"))
        assert ids(await two.runs.failed()) == ["run-0"]
        await two.runs.delete(ref.workflow_id)
        assert await one.runs.list() == []
