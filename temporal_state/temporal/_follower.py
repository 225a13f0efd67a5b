"""Follows one run by what goes in and out of its workflow code: activations and completions.

It stands outside of the workflow and its sandbox and reads, so it cannot change what the workflow
does, and it sees what no interceptor sees: timers, failures raised in handlers, whether an
end was accepted, and why a run leaves the cache.

The workflow's thread only takes in what passes. The recorder's thread has it looked at, when it
asks for what is new; so a workflow does not wait for that, and what can be is done once for each
write.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from temporal_state.documents import utc_now
from temporal_state.runs import Patch, RunRef
from temporal_state.temporal._events import Event, of_command
from temporal_state.temporal._headers import HeaderWriter
from temporal_state.temporal._notes import Notes
from temporal_state.temporal._observer import Observer
from temporal_state.temporal._seen import Seen
from temporal_state.temporal._untold import Intake, merge

AT_ONCE = 8  # about a millisecond; a busy worker may give the interpreter back much later
AT_MOST_UNSEEN = 64
AT_MOST_BYTES = 64 * 1024
AT_MOST_SECONDS = 2.0
"""So much of a run waits to be looked at, and so long. What is more, or waits longer because the
store does not answer, the workflow's thread looks at: what comes of it is small, and counted.
"""


@dataclass(slots=True)
class Follower:
    """Follows one run for as long as it is in this worker's cache."""

    observer: Observer
    intake: Intake
    notes: Notes = field(default_factory=Notes)
    _seen: list[Seen] = field(default_factory=list)  # an empty deque takes 0.6 KB
    _ended: bool = False
    """Whether something could not be looked at, so that what comes after it cannot be counted."""
    _bytes: int = 0
    _announced: bool = False
    _since: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever has the observer look at something, or takes what came of it."""

    def get_notes(self) -> Notes:
        """Return what passes between the run's code and this."""
        return self.notes

    @property
    def _keeps_inputs(self) -> bool:
        return self.observer.settings.capture.capture == "all"

    @property
    def ref(self) -> RunRef:
        """See `Source`."""
        return self.observer.untold.ref

    def see(
        self,
        act: WorkflowActivation,
        completion: WorkflowActivationCompletion,
        headers: HeaderWriter,
    ) -> None:
        """Take in one activation and what the workflow answered; it is looked at later.

        Args:
            act: Nobody changes it any more.
            completion: It goes to Temporal, and its payloads will pass the user's codec.
            headers: What was written into it.
        """
        if self._ended or act.jobs[0].HasField("query_workflow"):
            return  # queries come without other jobs
        events: Sequence[Event | None] = (calls := headers.take_calls())
        commands: Sequence[WorkflowCommand] = ()
        if headers.asks or self._keeps_inputs or len(events) < len(completion.successful.commands):
            answer = completion
            if not headers.asks:
                answer = WorkflowActivationCompletion()
                answer.CopyFrom(completion)
                self._bytes += completion.ByteSize()
            named = {call.place: call for call in calls}
            events = [of_command(command, named) for command in answer.successful.commands]
            commands = answer.successful.commands if headers.asks else ()
        noted = self.notes.take()
        self._seen.append(Seen(act, events, commands, headers.lineage, utc_now(), *noted))
        self._bytes += act.ByteSize()
        if headers.asks or self._is_late():
            self._catch_up()
        if not self._announced:
            self._announced, self._since = True, time.monotonic()
            self.intake.announce(self)

    def take(self) -> tuple[Patch, bool]:
        """Return what it has, and whether that is all that is known since the run's start."""
        self._announced = False
        self._catch_up(pause=True)
        with self._lock:
            return self.observer.untold.take()

    def add_to(self, patch: Patch) -> tuple[int, bool]:
        """See `Source`."""
        own, whole = self.take()
        return merge(patch, own), whole

    def _is_late(self) -> bool:
        if len(self._seen) >= AT_MOST_UNSEEN or self._bytes >= AT_MOST_BYTES:
            return True
        return self._announced and time.monotonic() - self._since > AT_MOST_SECONDS

    def _catch_up(self, *, pause: bool = False) -> None:
        """Have all looked at; with pauses, in which the threads of workflows can go on."""
        with self._lock:
            looked_at = self._bytes = 0
            try:
                while self._seen:
                    self._look_at(self._seen.pop(0))
                    looked_at += 1
                    if pause and looked_at % AT_ONCE == 0:
                        time.sleep(0)
            finally:
                self.observer.tell()

    def _look_at(self, seen: Seen) -> None:
        try:
            self.observer.look_at(seen)
        except Exception:
            self._ended = True
            self._seen.clear()
            raise
