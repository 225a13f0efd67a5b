"""One step of a run is what it is among all of them, and costs the same in a long run."""

from datetime import timedelta

import pytest
from as_told import NOON, call, header, told

from temporal_state import StateBackend
from temporal_state.documents import to_text
from temporal_state.runs import Patch, chunk_of
from temporal_state.runs._values import INLINE_BYTES
from temporal_state.storage import MemoryStore
from temporal_state.testing import FailingStore


def attempt(number: int, **known):
    """What the activity side tells of an attempt."""
    started = to_text(NOON + timedelta(seconds=number))
    return {"attempt": number, "started": started, "worker": f"w{number}", **known}


def seen(ref, numbers, *, told_parts=True):
    """What a worker tells of closed steps and of their attempts."""
    clock = max(numbers)
    patch = Patch(ref, header(ref, clock, step_count=clock))
    for n in numbers:
        part = {"part": chunk_of(n)} if told_parts and chunk_of(n) else {}
        step = call(n)
        step["call"] |= part
        result = {"encoding": "json/plain", "text": '"r"' if n % 2 else f'"{"x" * INLINE_BYTES}"'}
        end = {"status": "completed", "time": to_text(NOON), "clock": n, "result": result}
        patch.steps[n] = {**step, "end": end}
        patch.attempts[f"k{n}"] = attempt(1, status="completed", **part)
    return patch


async def test_one_step_is_what_it_is_among_all_of_them(runs, ref):
    await runs.write(seen(ref, range(1, 200)), "one")
    retried = attempt(2, status="completed", part=chunk_of(130))
    await runs.write(Patch(ref, attempts={"k130": retried}), "another")
    steps = await runs.steps("order-7")
    assert len(steps) == 199
    assert steps[129].worker == "w2"
    for number in (1, 64, 65, 129, 130, 199):
        assert await runs.get_step("order-7", number) == steps[number - 1]
    for number in (-1, 0, 200, 10_000):
        assert await runs.get_step("order-7", number) is None
    assert await runs.get_step("order-7", 1, run_id="other") is None
    assert await runs.get_step("unknown", 1) is None


async def test_one_step_by_hand_is_what_it_is_among_all_of_them(runs, ref):
    for number in (1, 100):
        await runs.step(ref, number=number, name=f"s{number}", result=number)
    steps = await runs.steps("order-7")
    assert [await runs.get_step("order-7", n) for n in (1, 2, 100)] == [steps[0], None, steps[1]]


async def test_a_step_without_attempts_is_found(runs, ref):
    await told(runs, ref, 3, steps=range(1, 4))
    assert await runs.get_step("order-7", 2) == (await runs.steps("order-7"))[1]


@pytest.mark.parametrize("named", ["attempts/0123456789abcdef.json", "attempts/000009-w.json"])
async def test_attempts_that_lie_elsewhere_are_found(backend, runs, ref, named):
    """Those of an older version, and those of a call that was made again with another part."""
    await runs.write(seen(ref, range(1, 100), told_parts=False), "w")
    (key,) = [key for key in await backend.store.list() if "/attempts/" in key]
    data = (await backend.store.get(key)).data
    await backend.store.delete(key)
    await backend.store.put(f"{key.partition('attempts/')[0]}{named}", data)
    step = await runs.get_step("order-7", 77)
    assert step.worker == "w1"
    assert step == (await runs.steps("order-7"))[76]


async def test_reading_a_step_costs_the_same_in_a_long_run():
    store = FailingStore(MemoryStore())
    async with StateBackend.open(store) as backend:
        cost = {}
        for length in (100, 5_000):
            id = f"run-{length}"
            ref = await backend.runs.start(id, workflow_type="T", started=NOON)
            await backend.runs.write(seen(ref, range(1, length + 1, 2)), "w")
            for number in (11, length - 1):
                before = store.calls
                assert (await backend.runs.get_step(id, number)).worker == "w1"
                cost[length, number] = store.calls - before
        assert max(cost.values()) <= 9
