"""What passes is looked at later, as it was; and never waits in numbers that grow."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.workflow import Info

from temporal_state.temporal._capture import CaptureSettings
from temporal_state.temporal._follower import AT_MOST_BYTES, AT_MOST_UNSEEN, Follower
from temporal_state.temporal._headers import HeaderWriter
from temporal_state.temporal._observer import Observer
from temporal_state.temporal._seen import ObserverSettings
from temporal_state.temporal._untold import Room
from temporal_state.temporal._wire import CHECKPOINT


class Desk:
    def __init__(self):
        self.admitted, self.announced = 0, []

    def admit(self, ref, changes, size, *, final):
        self.admitted += changes
        return Room.FOR_ALL

    def announce(self, source):
        self.announced.append(source)


def info():
    run_id = str(uuid.uuid4())
    known = {
        "namespace": "default",
        "workflow_id": "wf",
        "run_id": run_id,
        "first_execution_run_id": run_id,
        "original_execution_run_id": run_id,
        "workflow_type": "W",
        "task_queue": "q",
        "workflow_start_time": datetime.now(UTC),
        "attempt": 1,
    }
    fields = Info.__dataclass_fields__
    return Info(**{name: known.get(name) for name in fields})


class Run:
    """A run of activities, one after the other, and what follows it."""

    def __init__(self):
        self.info, self.desk, self.number = info(), Desk(), 0
        settings = ObserverSettings(CaptureSettings("all"), 10, timedelta(hours=1), "me")
        self.follower = Follower(Observer(self.info, settings, self.desk), self.desk)
        self.headers = HeaderWriter(self.info, recorded=True)

    def step(self, name="work", argument=b'"plain"'):
        """Schedule one activity, and close the one before."""
        act = WorkflowActivation(run_id=self.info.run_id, history_length=3 + 6 * self.number)
        act.timestamp.GetCurrentTime()
        if self.number == 0:
            act.jobs.add().initialize_workflow.workflow_type = "W"
        else:
            resolved = act.jobs.add().resolve_activity
            resolved.seq = self.number
            resolved.result.completed.result.data = b"%d" % self.number
        self.number += 1
        answer = WorkflowActivationCompletion(run_id=self.info.run_id)
        call = answer.successful.commands.add().schedule_activity
        call.seq, call.activity_type, call.activity_id = self.number, name, str(self.number)
        call.arguments.append(Payload(metadata={"encoding": b"json/plain"}, data=argument))
        self.headers.begin(act)
        self.headers.write(act, answer)
        self.follower.see(act, answer, self.headers)
        return answer


def test_nothing_is_looked_at_before_it_is_asked_for():
    run = Run()
    for _ in range(10):
        run.step()
    assert run.desk.admitted == 0
    assert run.desk.announced == [run.follower]
    patch, _ = run.follower.take()
    assert len(patch.steps) == 10
    assert patch.header["step_count"] == 10
    assert run.desk.admitted == len(patch)


def test_what_the_codec_makes_of_a_command_is_not_recorded():
    run = Run()
    answer = run.step()
    answer.successful.commands[0].schedule_activity.arguments[0].data = b"encrypted"
    patch, _ = run.follower.take()
    (value,) = patch.steps[1]["call"]["input"]
    assert value.payload.data == b'"plain"'


def test_if_nobody_asks_the_workflow_looks_itself():
    run = Run()
    for _ in range(3 * AT_MOST_UNSEEN):
        run.step()
        assert len(run.follower._seen) < AT_MOST_UNSEEN
    assert len(run.follower.take()[0].steps) == 3 * AT_MOST_UNSEEN


def test_what_is_large_does_not_wait():
    run = Run()
    for _ in range(5):
        run.step(argument=b'"' + b"x" * AT_MOST_BYTES + b'"')
        assert not run.follower._seen


def test_if_the_store_does_not_answer_the_workflow_looks_itself(monkeypatch):
    monkeypatch.setattr("temporal_state.temporal._follower.AT_MOST_SECONDS", 0.0)
    run = Run()
    for _ in range(5):
        run.step()
        time.sleep(0.001)
    assert len(run.follower._seen) <= 1
    assert run.desk.admitted == 6  # five steps and the header


def test_a_checkpoint_is_told_its_number_before_the_command_leaves():
    run = Run()
    run.step()
    answer = run.step(CHECKPOINT)
    told = answer.successful.commands[0].schedule_activity.headers[CHECKPOINT]
    assert b'"number":1' in told.data
    assert b'"step":1' in told.data


def test_what_the_code_says_is_kept_as_it_was_then():
    run = Run()
    run.follower.notes.progress = {"done": 1}
    run.follower.notes.annotate({"a": 1})
    run.step()
    run.follower.notes.progress = {"done": 2}
    run.follower.notes.annotate({"a": 2, "b": 1})
    header = run.follower.take()[0].header
    assert (header["progress"], header["metadata"]) == ({"done": 1}, {"a": 1})
    run.step()
    header = run.follower.take()[0].header
    assert (header["progress"], header["metadata"]) == ({"done": 2}, {"a": 2, "b": 1})
    assert header["metadata_at"]["a"] == header["metadata_at"]["b"]


def test_what_the_code_says_later_is_not_taken_for_what_it_said_before():
    run = Run()
    run.step()
    run.follower.notes.annotate({"a": 1})
    assert run.follower.take()[0].header.get("metadata") is None


def test_all_checkpoints_that_are_due_between_two_writes_are_made():
    run = Run()
    for _ in range(35):
        run.step()
    checkpoints = run.follower.take()[0].header["checkpoints"]
    assert [(one["number"], one["step"]) for one in checkpoints] == [(1, 10), (2, 20), (3, 30)]


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_cannot_be_followed_is_followed_no_further(asked, monkeypatch):
    run = Run()
    run.step()

    def fails(observer, seen):
        raise KeyError("x")

    ask = partial(run.step, CHECKPOINT) if asked else run.follower.take
    with monkeypatch.context() as patched:
        patched.setattr(Observer, "look_at", fails)
        with pytest.raises(KeyError):
            ask()
    run.step()
    assert len(run.follower.take()[0]) == 0


@pytest.mark.parametrize("jobs", [1, 3])
def test_queries_leave_no_trace(jobs):
    run = Run()
    act = WorkflowActivation(run_id=run.info.run_id)
    for _ in range(jobs):
        act.jobs.add().query_workflow.query_type = "q"
    run.follower.see(act, WorkflowActivationCompletion(), run.headers)
    assert run.desk.announced == []
