"""A worker killed at random moments: its loop over items repeats no more than was promised."""

import array
import asyncio
import itertools
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner

from temporal_state import state

SCRIPT = Path(__file__).with_name("item_worker.py")
PATIENCE = 30
EVERY = 1000


async def grow(log: Path, done: asyncio.Task) -> None:
    """Wait until the worker does items."""
    size = size_of(log)
    end = time.monotonic() + PATIENCE
    while not done.done() and size_of(log) == size:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def size_of(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def items_in(log: Path) -> list[int]:
    items = array.array("I", log.read_bytes())
    items.byteswap()
    return items.tolist()


@pytest.mark.parametrize(
    ("length", "kills"),
    [
        (20_000, 2),
        pytest.param(100_000, int(os.environ.get("KILLS", "12")), marks=pytest.mark.slow),
    ],
)
async def test_after_every_kill_at_most_every_items_are_repeated(
    dev, children, tmp_path, length, kills
):
    moments = random.Random(length)
    log, queue = tmp_path / "log", f"items-{length}"
    target = dev.client.service_client.config.target_host
    handle = await dev.client.start_workflow(
        "Walk", args=[length, EVERY, str(log)], id=queue, task_queue=queue
    )
    done = asyncio.create_task(handle.result())
    killed_at = []  # so many lines the log had
    for _ in range(kills):
        worker = await children.ready_worker(SCRIPT, target, queue, str(tmp_path / "store"))
        await grow(log, done)
        await asyncio.wait({done}, timeout=moments.uniform(0, 0.4))
        worker.kill()
        await asyncio.to_thread(worker.wait, 30)
        assert not done.done()
        killed_at.append(len(items_in(log)))
    worker = await children.ready_worker(SCRIPT, target, queue, str(tmp_path / "store"))
    try:
        assert await asyncio.wait_for(done, PATIENCE) == length
    finally:
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 30) == 0
    items = items_in(log)
    repeated = [items[at - 1] + 1 - items[at] for at in killed_at]
    print(f"{length} items, every={EVERY}, repeated after each of {kills} kills: {repeated}")
    assert len(repeated) == kills
    assert all(0 <= n <= EVERY for n in repeated)  # after each kill
    # And nowhere else: all items come, one after the other.
    turns = {at for at in range(1, len(items)) if items[at] != items[at - 1] + 1}
    assert turns <= set(killed_at)
    assert (items[0], items[-1], set(items)) == (0, length - 1, set(range(length)))


@workflow.defn
class Measured:
    @workflow.run
    async def run(self, name: str, every: int) -> float:
        return await workflow.execute_activity(
            name, every, start_to_close_timeout=timedelta(minutes=1)
        )


LENGTH = 30_000


@activity.defn
async def async_loop(every: int) -> float:
    start = time.thread_time()
    async for _ in state.resumable(range(LENGTH), every=every):
        pass
    return time.thread_time() - start


@activity.defn
def threaded_loop(every: int) -> float:
    start = time.thread_time()
    for _ in state.sync.resumable(range(LENGTH), every=every):
        pass
    return time.thread_time() - start


@pytest.mark.slow
async def test_what_a_loop_costs_per_item(on_dev):
    """In CPU of its thread: with one save at the end, and with those that ``every`` asks for."""
    on_dev.options["workflow_runner"] = UnsandboxedWorkflowRunner()
    loops = [async_loop, threaded_loop]
    with ThreadPoolExecutor(2) as pool:
        async with on_dev.worker(Measured, activities=loops, activity_executor=pool):
            for loop, every in itertools.product(loops, (2 * LENGTH + 2, 1000)):
                times = [await on_dev.run(Measured.run, loop.__name__, every) for _ in range(5)]
                figures = ", ".join(f"{t / LENGTH * 1e6:.2f}" for t in sorted(times))
                print(f"{loop.__name__}, every={every}: {figures} µs per item")
                if every > LENGTH:
                    assert min(times) / LENGTH < 2e-6
