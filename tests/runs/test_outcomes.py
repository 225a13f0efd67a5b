"""What a resumed run reads of another's steps: how they stand, and a result when it asks for it."""

import json

import pytest
from as_told import NOON, call, header

from temporal_state import StateBackend
from temporal_state.documents import to_text
from temporal_state.runs import Patch, RunRef
from temporal_state.runs._values import INLINE_BYTES

REF = RunRef("default", "order-7", "r1", NOON)
LARGE = "x" * (2 * INLINE_BYTES)
RESULTS = {
    1: {"encoding": "json/plain", "text": json.dumps("small")},
    2: {"encoding": "json/plain", "text": json.dumps(LARGE)},
    3: {"encoding": "json/plain", "dropped": "redacted"},
    150: {"encoding": "json/plain", "text": "150"},
}


@pytest.fixture
async def runs():
    async with StateBackend.open("memory://") as backend:
        yield backend.runs


def ended(status, number, result):
    end = {"status": status, "clock": number + 1, "time": to_text(NOON), "result": result}
    return {**call(number), "end": end}


async def write(runs, steps, **changes):
    await runs.write(Patch(REF, header(REF, 900, **changes), steps), "writer")


async def test_results_are_read_when_they_are_asked_for(runs):
    steps = {n: ended("completed", n, result) for n, result in RESULTS.items()}
    await write(runs, {**steps, 4: ended("failed", 4, None), 5: call(5)}, step_count=150)
    found = await runs.outcomes(REF)
    assert {o.number: o.completed for o in found.values()} == {
        **dict.fromkeys(RESULTS, True),
        4: False,
        5: False,
    }
    assert found["k150"].id == "150"
    assert max(o.size for o in found.values()) < INLINE_BYTES  # the large one is not read yet
    values = {key: await runs.result_of(REF, outcome) for key, outcome in found.items()}
    assert {key: value.json() for key, value in values.items() if value is not None} == {
        "k1": "small",
        "k2": LARGE,
        "k150": 150,
    }


async def test_steps_that_a_repeated_workflow_task_took_back_are_left_out(runs):
    await write(runs, {n: ended("completed", n, RESULTS[n]) for n in (1, 150)}, step_count=149)
    assert [outcome.number for outcome in (await runs.outcomes(REF)).values()] == [1]


async def test_steps_by_hand_have_no_key_by_which_they_could_be_found(runs):
    ref = await runs.start("order-7", workflow_type="Import", run_id="r1", started=NOON)
    await runs.step(ref, number=1, name="by hand", result="done")
    assert await runs.outcomes(ref) == {}
