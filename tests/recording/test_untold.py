"""What is known of a run waits, merged and bounded, until the recorder takes it."""

import uuid
from datetime import UTC, datetime

import pytest
from temporalio.api.common.v1 import Payload

from temporal_state.runs import Patch, RunRef
from temporal_state.temporal._capture import captured
from temporal_state.temporal._untold import Room, Untold


class Desk:
    """Takes in what sources announce, as far as there is room."""

    def __init__(self, room=Room.FOR_ALL):
        self.room, self.admitted = room, []

    def admit(self, ref, changes, size, *, final):
        self.admitted.append((changes, size, final))
        return self.room

    def announce(self, source):
        raise AssertionError("whoever has it announces it")


def untold(desk, header=lambda: {"clock": 9}):
    return Untold(RunRef("default", "wf", uuid.uuid4().hex, datetime.now(UTC)), desk, header)


def call(source, number):
    return Patch(source.ref, steps={number: {"call": {"clock": 1, "kind": "timer", "name": "t"}}})


def end(source, number, data=b"1"):
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    closed = {"clock": 2, "status": "completed", "result": captured("result", payload, 100)}
    return Patch(source.ref, steps={number: {"end": closed}}, bytes=len(data))


def test_however_much_happens_it_is_one_patch_and_counted_as_such():
    desk = Desk()
    source = untold(desk)
    for number in range(1, 100):
        source.add(call(source, number), whole=False)
        source.add(end(source, number), whole=False)
    patch, whole = source.take()
    assert not whole
    assert [sorted(step) for step in patch.steps.values()] == [["call", "end"]] * 99
    assert sum(changes for changes, _, _ in desk.admitted) == len(patch) == 100
    assert sum(size for _, size, _ in desk.admitted) == patch.bytes == 99


def test_what_comes_after_it_was_taken_waits_anew():
    desk = Desk()
    source = untold(desk)
    source.add(call(source, 1), whole=True)
    assert source.take()[1] is True
    source.add(end(source, 1), whole=False)
    patch, whole = source.take()
    assert (list(patch.steps[1]), whole) == (["end"], False)


def test_what_there_is_no_room_for_does_not_wait():
    desk = Desk(Room.NONE)
    source = untold(desk)
    assert source.add(end(source, 1), whole=False) is False
    patch, _ = source.take()
    assert len(patch) == 0


def test_values_that_there_is_no_room_for_leave_their_trace():
    desk = Desk(Room.WITHOUT_VALUES)
    source = untold(desk)
    assert source.add(end(source, 1), whole=False) is False
    patch, _ = source.take()
    assert patch.steps[1]["end"]["result"]["dropped"] == "no room in memory"
    assert patch.bytes == 0


def test_an_end_comes_with_what_waited_before_it():
    desk = Desk()
    source = untold(desk)
    source.add(call(source, 1), whole=False)
    source.add(Patch(source.ref, final=True), whole=False)
    assert desk.admitted[-1] == (0, 0, True)
    patch, _ = source.take()
    assert patch.final
    assert 1 in patch.steps


def test_what_is_said_once_is_in_the_next_header_only():
    source = untold(Desk())
    for number in (1, 2):
        said = {"checkpoints": [{"number": number}]} | ({"input": ["i"]} if number == 1 else {})
        source.add(Patch(source.ref, said), whole=False)
    header = source.take()[0].header
    assert header["input"] == ["i"]
    assert [checkpoint["number"] for checkpoint in header["checkpoints"]] == [1, 2]
    assert header["clock"] == 9
    source.add(Patch(source.ref), whole=False)
    again = source.take()[0].header
    assert (again["input"], again["checkpoints"]) == ([], [])


@pytest.mark.parametrize("fault", [KeyError("x"), OverflowError("a date out of range")])
def test_steps_are_told_though_the_header_cannot_be_made(fault):
    def header():
        raise fault

    source = untold(Desk(), header)
    source.add(end(source, 1), whole=False)
    patch, _ = source.take()
    assert patch.header is None
    assert 1 in patch.steps
