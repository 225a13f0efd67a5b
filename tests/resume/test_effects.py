"""P7, the proof: killed at random, failed by a bug, resumed; and each side effect counted."""

import asyncio
import os
import random
import sys
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from temporal_state import StateBackend, resume

SCRIPT = Path(__file__).with_name("kill_worker.py")
STEPS = int(os.environ.get("EFFECTS", "120"))
KILLS = int(os.environ.get("KILLS", "6"))
BREAKS_AT = STEPS * 4 // 5


async def start_worker(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"ready\n"
    return process


async def until_it_works(effects, done):
    """Wait for the first effect of a worker, so that it is killed in the midst of its work."""
    before = effects.stat().st_size if effects.exists() else 0
    while not done.done() and (effects.stat().st_size if effects.exists() else 0) == before:
        await asyncio.wait({done}, timeout=0.002)


async def kill_until_done(handle, kills, moments, effects, *arguments):
    """Kill the worker ``kills`` times, or until the run ends; return how many were killed."""
    done = asyncio.create_task(outcome(handle))
    killed = 0
    while not done.done():
        worker = await start_worker(*arguments)
        try:
            if killed < kills:
                await until_it_works(effects, done)
                await asyncio.wait({done}, timeout=moments.uniform(0, 0.3))
            else:
                await asyncio.wait({done}, timeout=300)
            if done.done():
                worker.terminate()
            else:
                worker.kill()
                killed += 1
        finally:
            await asyncio.wait_for(worker.wait(), 30)
    return killed, done.result()


async def outcome(handle):
    try:
        return await handle.result()
    except WorkflowFailureError:
        return "failed"


def read_effects(path):
    """Return for each step the effects in each run, and how many of them ran to the end.

    And the steps that had an effect although the plugin had let go of their result.
    """
    did, ended = defaultdict(Counter), defaultdict(Counter)
    kept, repeated = set(), set()
    for line in path.read_text().splitlines():
        run, n, what = line.split()
        if what == "kept":
            kept.add(int(n))
        else:
            (did if what == "does" else ended)[int(n)][run] += 1
            repeated |= {int(n)} & kept
    return did, ended, repeated


@pytest.mark.slow
@pytest.mark.parametrize("before_ack", ["before_ack", "after"])
async def test_side_effects_of_a_run_that_is_killed_and_fails_and_is_resumed(
    dev, tmp_path, before_ack
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
    killed, result = await kill_until_done(handle, first, moments, effects, *arguments, "broken")
    assert result == "failed"
    async with StateBackend.open(tmp_path / "root") as backend:
        new = await resume(dev.client, backend, queue)
        more, result = await kill_until_done(
            new, KILLS - first, moments, effects, *arguments, "mended"
        )
        steps = await backend.runs.steps(queue)
    assert result == STEPS
    did, ended, repeated = read_effects(effects)
    assert sorted(did) == list(range(STEPS))  # every side effect is there
    old, resumed = handle.result_run_id, new.result_run_id
    again = {n for n in did if did[n][old] and did[n][resumed]}
    finished_twice = {n: c for n, c in ended.items() if c.total() > 1}
    cut_short = sum((did[n] - ended[n]).total() for n in did)
    print(
        f"\n{STEPS} steps, {killed} + {more} kills, {before_ack}: "
        f"{sum(c.total() for c in did.values())} effects, of which {cut_short} by attempts that "
        f"were killed half way; ran to the end more than once: {len(finished_twice)}, "
        f"after the plugin had let go of the result: {len(repeated)}; done in the "
        f"old run and again in the resumed one: {len(again)}; "
        f"taken over: {sum(step.taken_over for step in steps)}"
    )
    # The last of the old run's kills came long before its end, so its record is complete, and
    # what it had completed is not done again: only what was still open when it failed.
    assert not {n for n in did if n < BREAKS_AT // 5 * 5 and did[n][resumed]}
    if before_ack == "before_ack":
        # Only who was killed inside the activity, or while its result was being recorded.
        assert not repeated
