"""P7, the proof: killed at random, failed by a bug, resumed; and each side effect counted."""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from kill_worker import AT_ONCE, FLUSH_INTERVAL
from temporalio.client import WorkflowFailureError

from temporal_state import StateBackend, resume

SCRIPT = Path(__file__).with_name("kill_worker.py")
STEPS = int(os.environ.get("EFFECTS", "120"))
KILLS = int(os.environ.get("KILLS", "6"))
BREAKS_AT = STEPS * 4 // 5
ON_THE_WAY = 2.0
"""Seconds, at most, from the end of an activity to its workflow, with the attempt after a kill."""
TO_THE_STORE = 0.6
"""Seconds, at most, of the same without one, and of a write: it may be busy."""


@dataclass(frozen=True)
class Line:
    """What one attempt did, and when."""

    run: str
    n: int
    what: str
    time: float


def lines_of(path):
    split = [line.split() for line in path.read_text().splitlines()]
    return [Line(run, int(n), what, float(at)) for run, n, what, at in split]


async def until_it_works(effects, done):
    """Wait for the first effect of a worker, so that it is killed in the midst of its work."""
    before = effects.stat().st_size if effects.exists() else 0
    while not done.done() and (effects.stat().st_size if effects.exists() else 0) == before:
        await asyncio.wait({done}, timeout=0.002)


async def kill_until_done(children, handle, kills, moments, effects, *arguments):
    """Kill the worker ``kills`` times, or until the run ends; return when, and the outcome."""
    done = asyncio.create_task(outcome(handle))
    killed = []
    while not done.done():
        worker = await children.ready_worker(SCRIPT, *arguments)
        try:
            if len(killed) < kills:
                await until_it_works(effects, done)
                await asyncio.wait({done}, timeout=moments.uniform(0, 0.3))
            else:
                await asyncio.wait({done}, timeout=300)
            if done.done():
                worker.terminate()
            else:
                killed.append(time.monotonic())
                worker.kill()
        finally:
            await asyncio.to_thread(worker.wait, 30)
    return killed, done.result()


async def outcome(handle):
    try:
        return await handle.result()
    except WorkflowFailureError:
        return "failed"


def read_effects(lines):
    """Return for each step the effects in each run, and how many of them ran to the end.

    And the steps that had an effect although the plugin had let go of their result.
    """
    did, ended = defaultdict(Counter), defaultdict(Counter)
    kept, repeated = set(), set()
    for line in lines:
        if line.what == "kept":
            kept.add(line.n)
        else:
            (did if line.what == "does" else ended)[line.n][line.run] += 1
            repeated |= {line.n} & kept
    return did, ended, repeated


def repeated_after(killed, lines):
    """Return for each kill the steps that are done again, which had been done before it.

    Until the next kill: what is repeated later is that one's doing. With each the time between its
    end and the kill; of those that had no end, which the kill fell into, there is none.
    """
    found = []
    for kill, following in pairwise([*killed, float("inf")]):
        ends = {line.n: kill - line.time for line in lines if line.time < kill}
        again = {line.n for line in lines if line.what == "does" and kill <= line.time < following}
        done = {line.n for line in lines if line.what == "done" and line.time < kill}
        found.append({n: ends[n] if n in done else None for n in again & ends.keys()})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("before_ack", ["before_ack", "after"])
async def test_side_effects_of_a_run_that_is_killed_and_fails_and_is_resumed(
    dev, children, tmp_path, before_ack
):
    queue = f"effects-{before_ack}-{os.getpid()}"
    target = dev.client.service_client.config.target_host
    effects = tmp_path / "effects"
    moments = random.Random(11)
    arguments = (target, queue, str(tmp_path / "root"), str(effects), before_ack, str(BREAKS_AT))
    first = KILLS * 2 // 3
    handle = await dev.client.start_workflow(
        "Effects", STEPS, id=queue, task_queue=queue, task_timeout=timedelta(seconds=2)
    )
    killed, result = await kill_until_done(
        children, handle, first, moments, effects, *arguments, "broken"
    )
    assert result == "failed"
    assert len(killed) >= min(first, 4)  # of many, some may come after its end
    async with StateBackend.open(tmp_path / "root") as backend:
        new = await resume(dev.client, backend, queue)
        more, result = await kill_until_done(
            children, new, KILLS - first, moments, effects, *arguments, "mended"
        )
        steps = await backend.runs.steps(queue)
    assert result == STEPS
    assert more
    lines = lines_of(effects)
    did, ended, repeated = read_effects(lines)
    assert sorted(did) == list(range(STEPS))  # every side effect is there
    old, resumed = handle.result_run_id, new.result_run_id
    again = {n for n in did if did[n][old] and did[n][resumed]}
    finished_twice = {n: c for n, c in ended.items() if c.total() > 1}
    cut_short = sum((did[n] - ended[n]).total() for n in did)
    by_kill = [
        *repeated_after(killed, [line for line in lines if line.run == old]),
        *repeated_after(more, [line for line in lines if line.run == resumed]),
    ]
    ages = [age for steps_again in by_kill for age in steps_again.values() if age is not None]
    print(
        f"\n{STEPS} steps, {len(killed)} + {len(more)} kills, {before_ack}: "
        f"{sum(c.total() for c in did.values())} effects, of which {cut_short} by attempts that "
        f"were killed half way; ran to the end more than once: {len(finished_twice)}, "
        f"after the plugin had let go of the result: {len(repeated)}; done in the "
        f"old run and again in the resumed one: {len(again)}; "
        f"taken over: {sum(step.taken_over for step in steps)}; "
        f"repeated after each kill: {[len(steps_again) for steps_again in by_kill]}, "
        f"of which had ended before it: "
        f"{[sum(a is not None for a in one.values()) for one in by_kill]}, "
        f"at most {1000 * max(ages, default=0):.0f} ms before"
    )
    # The last of the old run's kills came long before its end, so its record is complete, and
    # what it had completed is not done again: only what was still open when it failed.
    assert not {n for n in did if n < BREAKS_AT // AT_ONCE * AT_ONCE and did[n][resumed]}
    # Each kill repeats what was under way: of that, all ended within the last flush interval.
    assert all(len(steps_again) <= AT_ONCE for steps_again in by_kill)
    assert all(age <= FLUSH_INTERVAL.total_seconds() + ON_THE_WAY for age in ages)
    if before_ack == "before_ack":
        # Only who was killed inside the activity, or while its result was being recorded.
        assert not repeated


@pytest.mark.slow
@pytest.mark.parametrize("before_ack", ["before_ack", "after"])
async def test_what_a_kill_takes_from_a_record_is_no_more_than_the_last_flush_interval(
    dev, children, tmp_path, before_ack
):
    """Each killed run is terminated, so that no other worker brings its record up to date."""
    queue = f"lost-{before_ack}-{os.getpid()}"
    target = dev.client.service_client.config.target_host
    effects = tmp_path / "effects"
    moments = random.Random(12)
    bound = FLUSH_INTERVAL.total_seconds() + TO_THE_STORE
    steps = 4 * STEPS  # more than a quick machine makes in all its lives
    arguments = (target, queue, str(tmp_path / "root"), str(effects), before_ack, "-1", "mended")
    handle = await dev.client.start_workflow(
        "Effects", steps, id=queue, task_queue=queue, task_timeout=timedelta(seconds=2)
    )
    kills, ages, recorded = [], [], set()
    async with StateBackend.open(tmp_path / "root") as backend:
        for _ in range(max(2, KILLS // 2)):
            worker = await children.ready_worker(SCRIPT, *arguments)
            done = asyncio.create_task(outcome(handle))
            try:
                await until_it_works(effects, done)
                await until_recorded(backend, handle)
                await asyncio.wait({done}, timeout=bound * moments.uniform(1.1, 1.4))
                assert not done.done()
            finally:
                kill = time.monotonic()
                worker.kill()
                await asyncio.to_thread(worker.wait, 30)
            await handle.terminate()
            await done
            before = lines_of(effects)
            recorded = recorded | await recorded_results(backend, handle)  # who resumes has both
            run = handle.first_execution_run_id
            ends = {line.n: line.time for line in before if (line.run, line.what) == (run, "done")}
            lost = ends.keys() - recorded
            ages += [kill - ends[n] for n in lost]
            kills.append((recorded, lost, len(before)))
            if before_ack == "before_ack":
                assert not lost & {line.n for line in before if line.what == "kept"}
            handle = await resume(dev.client, backend, queue)
        worker = await children.ready_worker(SCRIPT, *arguments)
        try:
            assert await handle.result() == steps
        finally:
            worker.terminate()
            await asyncio.to_thread(worker.wait, 30)
    lines = lines_of(effects)
    print(
        f"\n{steps} steps, {before_ack}: ended, but not in the record, at each of {len(kills)} "
        f"kills: {[len(lost) for _, lost, _ in kills]}, at most "
        f"{1000 * max(ages, default=0):.0f} ms before it"
    )
    assert {line.n for line in lines} == set(range(steps))
    for recorded, _, before in kills:
        again = {line.n for line in lines[before:] if line.what == "does"}
        assert not recorded & again
    assert all(age <= bound for age in ages)
    # What a kill takes of results that were acknowledged early, it takes within their one write.
    # So it may do of others, if it comes right after a flush, but not each time.
    assert ages or before_ack == "before_ack" or len(kills) < 5


async def until_recorded(backend, handle):
    async with asyncio.timeout(30):
        while not await backend.runs.get(handle.id, run_id=handle.first_execution_run_id):
            await asyncio.sleep(0.01)


async def recorded_results(backend, handle):
    """Return the steps whose completion a run's record has, with what was acknowledged early."""
    run = await backend.runs.get(handle.id, run_id=handle.first_execution_run_id)
    steps = await backend.runs.steps(handle.id, run_id=run.run_id)
    found = {step.result.json() for step in steps if step.status == "completed"}
    for key in await backend.runs.acknowledged_steps(run.ref):
        found.add((await backend.runs.acknowledged(run.ref, key)).json())
    return found
