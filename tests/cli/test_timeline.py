"""The picture of a run's steps: where the bars lie, what is marked, how wide it is."""

import dataclasses
from datetime import timedelta

import pytest
from command_line import NOON, SECOND
from rich.cells import cell_len

from temporal_state.cli._timeline import draw
from temporal_state.runs import Step


def step(number, begin, end, **changes):
    """A step from one second to another of the run; without an end it is open."""
    closed = None if end is None else NOON + end * SECOND
    fields = {field.name: None for field in dataclasses.fields(Step)}
    fields |= {"number": number, "kind": "activity", "name": f"step{number}", "id": "", "input": []}
    fields |= {"status": "completed" if end else "started", "scheduled": NOON + begin * SECOND}
    return Step(**fields | {"closed": closed, "taken_over": False, "attempt": 1} | changes)


@pytest.fixture
async def run(filled):
    return dataclasses.replace(await filled.runs.get("order-7"), ended=NOON + 10 * SECOND)


def drawn(run, *steps, width=60, unicode=True, seconds=10):
    now = NOON + seconds * SECOND
    return [line.plain for line in draw(run, steps, width=width, now=now, unicode=unicode)]


def bar(line):
    """The columns of a line that are drawn on."""
    return {i for i, character in enumerate(line) if character in "█─▶"}


async def test_parallel_steps_overlap_and_sequential_ones_do_not(run):
    _, one, two, three = drawn(run, step(1, 0, 5), step(2, 1, 4), step(3, 5, 10))
    assert bar(two) < bar(one)
    assert not bar(one) & bar(three)
    assert max(bar(one)) + 1 == min(bar(three))


async def test_a_bar_is_as_long_as_its_time(run):
    whole, half, least = drawn(run, step(1, 0, 5), step(2, 7, 7))
    assert len(bar(half)) == pytest.approx(len(bar(whole)) / 2, abs=1)
    assert len(bar(least)) == 1


async def test_waiting_for_a_worker_is_a_thin_line(run):
    _, line = drawn(run, step(1, 0, 8, started=NOON + 4 * SECOND))
    thin, thick = line.count("─"), line.count("█")
    assert thin == pytest.approx(thick, abs=1)
    assert line.index("─") < line.index("█")


async def test_attempts_and_steps_taken_over_are_marked(run):
    _, once, thrice, taken = drawn(
        run, step(1, 0, 1), step(2, 1, 2, attempt=3), step(3, 2, 2, taken_over=True)
    )
    assert " x" not in once
    assert thrice.endswith("x3")
    assert taken.endswith("↻")


async def test_what_is_open_reaches_to_now(run):
    run = dataclasses.replace(run, ended=None)
    whole, closed, opened = drawn(run, step(1, 0, 2), step(2, 4, None), seconds=20)
    assert "▶" in opened
    assert max(bar(opened)) == max(bar(whole))
    assert "▶" not in closed


@pytest.mark.parametrize("width", [40, 60, 80, 200])
async def test_no_line_is_wider_than_the_terminal(run, width):
    names = ["load", "語" * 40, "x" * 300]
    steps = [step(n, n, n + 1, name=name) for n, name in enumerate(names)]
    lines = drawn(run, *steps, width=width)
    assert max(map(cell_len, lines)) <= width


async def test_colours_say_the_status(run):
    lines = [*draw(run, [step(1, 0, 1, status="failed")], width=60, now=NOON)]
    assert [span.style for span in lines[1].spans] == ["bold red"]


async def test_a_terminal_without_unicode_gets_ascii(run):
    lines = drawn(run, step(1, 0, 8, started=NOON + 2 * SECOND), step(2, 3, None), unicode=False)
    assert "".join(lines).isascii()


async def test_clocks_that_disagree_and_runs_without_steps_do_no_harm(run):
    before = step(1, -5, -7, started=NOON - 10 * SECOND)
    after = step(2, 50, 60, started=NOON + timedelta(days=3))
    assert len(drawn(run, before, after)) == 3
    assert len(drawn(run)) == 1
    assert len(drawn(dataclasses.replace(run, ended=run.started))) == 1
