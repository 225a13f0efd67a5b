"""``follow``: one line for each change, the end when all have ended, and what the code says."""

import asyncio
import threading
from io import StringIO
from itertools import pairwise

import pytest
from command_line import NOON, SECOND
from rich.console import Console

from temporal_state.cli import _follow
from temporal_state.cli._models import RunShape
from temporal_state.cli._watch import GRACE, Wanted, Watch


async def started(runs, workflow_id, **options):
    return await runs.start(workflow_id, workflow_type="Job", started=NOON, **options)


async def test_each_change_is_a_line_and_the_last_one_is_the_end(cli, backend, looked_once):
    one, two = await started(backend.runs, "job-1"), await started(backend.runs, "job-2")
    await backend.runs.progress(one, 1, 3, "part 1")
    call = ("follow", "job-1", "job-2", "--every", "0.05", "--json")
    following = asyncio.create_task(cli(*call))
    await looked_once()
    for done in range(2, 4):
        await backend.runs.progress(one, done, 3, f"part {done}")
    await backend.runs.finish(one)
    await backend.runs.finish(two)
    lines = (await following).lines(RunShape)
    first, second = ([line for line in lines if line["workflow_id"] == f"job-{n}"] for n in (1, 2))
    assert first[0]["progress"]["done"] == 1
    assert [line["status"] for line in second] == ["running", "completed"]
    assert (first[0]["status"], first[-1]["status"]) == ("running", "completed")
    for before, after in pairwise(first):
        assert before != after
    seen = [line["progress"]["done"] for line in first]
    assert seen == sorted(seen)


async def test_people_get_plain_lines_where_there_is_no_terminal(cli, filled):
    answer = await cli("follow", "order-7", "order-8", code=1)
    assert answer.out.splitlines() == [
        "order-7  failed  2/3, 1/2 steps  Error: no such row",
        "order-8  completed",
    ]
    assert "not all completed: order-7 failed" in answer.err


async def test_runs_that_all_completed_are_code_0(cli, filled):
    await cli("follow", "order-8")
    await cli("follow", "--status", "completed")


@pytest.fixture
def looked_once(monkeypatch):
    """Returns when the command has looked for the first time."""
    seen, show = threading.Event(), _follow._Lines.show

    def telling(self, looked):
        show(self, looked)
        seen.set()

    monkeypatch.setattr(_follow._Lines, "show", telling)
    return lambda: asyncio.to_thread(seen.wait, 30)


async def test_a_filter_follows_what_it_finds(cli, filled, looked_once):
    run = await filled.runs.get("order-9")
    call = ("follow", "--status", "running", "--type", "Import", "--every", "0.05", "--json")
    following = asyncio.create_task(cli(*call))
    await looked_once()
    await filled.runs.finish(run.ref)
    lines = (await following).lines(RunShape)
    assert {line["workflow_id"] for line in lines} == {"order-9"}
    assert "no run to follow" in (await cli("follow", "--type", "Other")).err


async def test_a_workflow_without_a_record_is_not_found_unless_it_is_waited_for(
    cli, backend, looked_once
):
    await cli("follow", "job-9", code=3)
    following = asyncio.create_task(cli("follow", "job-9", "--wait", "--every", "0.05", "--json"))
    await looked_once()
    await backend.runs.finish(await started(backend.runs, "job-9"))
    assert (await following).lines(RunShape)[-1]["status"] == "completed"


async def looked(backend, clock_at, **end):
    ref = await started(backend.runs, "job", run_id="r", at=NOON)
    await backend.runs.finish(ref, ended=NOON + SECOND, at=NOON + SECOND, **end)
    object.__setattr__(backend.runs.engine, "clock", lambda: clock_at)
    watch = Watch(backend.runs, Wanted(["job"], None, None, "default"), wait=False)
    async for seen in watch.looks(SECOND):
        return seen[0].over
    raise AssertionError


@pytest.mark.parametrize("end", [{"confirmed": False}, {"status": "continued_as_new"}])
@pytest.mark.parametrize(("later", "over"), [(SECOND, False), (2 * GRACE, True)])
async def test_an_end_that_may_not_be_the_last_word_is_waited_for(backend, end, later, over):
    assert await looked(backend, NOON + SECOND + later, **end) is over


async def test_a_confirmed_end_is_the_end(backend):
    assert await looked(backend, NOON + SECOND) is True


@pytest.mark.parametrize("width", [60, 100, 150])
async def test_bars_show_progress_and_message_on_any_terminal(filled, width):
    await filled.runs.progress(await started(filled.runs, "order-10"), 1, 2, "long " * 50)
    console = Console(force_terminal=True, width=width, file=StringIO())
    ids = ["order-7", "order-9", "order-10"]
    watch = Watch(filled.runs, Wanted(ids, None, None, "default"), wait=False)
    with _follow.Bars(console) as bars:
        async for seen in watch.looks(SECOND):
            bars.show(seen)
            break
        paper = Console(width=width, file=StringIO())
        paper.print(bars.shown())
    failed, running, talking = paper.file.getvalue().splitlines()
    assert "order-7 " in failed
    assert "failed" in failed
    assert "10.0 s" in failed  # as long as it took, not as long as it was looked at
    assert "5/10" in running
    assert "long" in talking
    for line in (failed, running, talking):
        assert line.count("━") >= 4
