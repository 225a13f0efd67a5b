"""What workflow code tells an activity about the call, so that both agree on what it is.

It is short and bare, since much keeps it: the history has that of each regular activity, and the
SDK's core that of every activity for as long as the run is in the worker's cache. A payload that
says how it is encoded takes 0.3 KB more there than one that does not.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.common.v1 import Payload
from temporalio.workflow import Info

from temporal_state.documents import dumps, loads
from temporal_state.runs import Json, step_key
from temporal_state.temporal._lineage import Lineage

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class CallHeader:
    """One call of an activity, as the workflow that makes it sees it.

    There is one for each attempt, and most is never asked for, or not before it is written down.

    Attributes:
        original: The run id that this run and its resets share.
        content: The name of the call by its content, the same in a run that resumes this one.
        lineage: Where the run comes from.
        recorded: Whether the run is recorded.
        part: In which part of the run's record its attempts are kept.
        started: When the run started, in microseconds since 1970: it tells where its record lies.
            0 if that was not told.
    """

    original: str
    content: str
    started: int
    lineage: Lineage
    recorded: bool
    part: int
    _told: Json

    @classmethod
    def from_payload(cls, payload: Payload) -> "CallHeader":
        """Return the header that `CallHeaders` wrote; raise whatever says that it is another."""
        told = loads(payload.data)
        original, content, started = told["original"], told["content"], told.get("started", 0)
        if not (
            type(original) is type(content) is str and type(told["now"]) is type(started) is int
        ):
            raise TypeError(f"{payload.data[:200]!r} is no header of a call")
        recorded, part = told.get("recorded", True), told.get("part", 0)
        return cls(original, content, started, Lineage.from_json(told), recorded, part, told)

    @property
    def chain(self) -> str:
        """The run id that the whole chain shares: the own document is found by it."""
        return str(self._told.get("chain", self.original))

    @property
    def step(self) -> str:
        """What changes and steps are named by: the content, in this run and its resets only."""
        return step_key(self.original, self.content)

    @property
    def now(self) -> datetime:
        """The workflow's time when it made the call."""
        return moment_of(self._told["now"])

    @property
    def since(self) -> datetime | None:
        """Of a call of a run that was reset: since when the run before may have made it, too.

        ``None`` if that cannot be.
        """
        since = self._told.get("since")
        return moment_of(since) if since else None


class CallHeaders:
    """Writes the headers of one run's calls, of which most is the same for all."""

    def __init__(self, info: Info, lineage: Lineage, *, recorded: bool) -> None:
        chain, original = info.first_execution_run_id, info.original_execution_run_id
        # Not the run's own id: a reset run has calls in its history that the run before made.
        shared = {
            "original": original,
            "started": micros_since_1970(info.workflow_start_time),
            **({} if chain == original else {"chain": chain}),
            **({} if recorded else {"recorded": False}),
            **lineage.to_json(),
        }
        self._shared = dumps(shared)[1:].decode()

    def write(
        self,
        header: Payload,
        content: str,
        part: int,
        now: int,
        since: int = 0,
    ) -> None:
        """Fill in the header of a call.

        Args:
            header: An empty payload.
            content: The name of the call by its content, in hexadecimal.
            part: In which part of the run's record its attempts are kept.
            now: The workflow's time, in microseconds since 1970.
            since: See `CallHeader`; 0 if it is not told.
        """
        # Put together as text, since one is made for every activity.
        own = f'{{"content":"{content}","now":{now},'
        place = f'"part":{part},' if part else ""
        reset = f'"since":{since},' if since else ""
        header.data = f"{own}{place}{reset}{self._shared}".encode()


def micros_since_1970(time: datetime) -> int:
    """Return the microseconds from the beginning of 1970 to a time."""
    return (time - _EPOCH) // _MICROSECOND


def moment_of(number: int) -> datetime:
    """Return the time so many microseconds after 1970 began."""
    return _EPOCH + timedelta(microseconds=number)
