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
from temporal_state.runs import step_key
from temporal_state.temporal._lineage import Lineage

_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class CallHeader:
    """One call of an activity, as the workflow that makes it sees it.

    Attributes:
        chain: The run id that the whole chain shares: the own document is found by it.
        content: The name of the call by its content, the same in a run that resumes this one.
        step: The same for this run and its resets only: changes and steps are named by it.
        now: The workflow's time when it made the call.
        started: When the run started, which tells where its record lies; ``None`` if that was
            not told.
        lineage: Where the run comes from.
        recorded: Whether the run is recorded.
        part: In which part of the run's record its attempts are kept.
        since: Of a call of a run that was reset: since when the same call may have been made, by
            the run as it was before. ``None`` if that cannot be.
    """

    chain: str
    content: str
    step: str
    now: datetime
    started: datetime | None
    lineage: Lineage
    recorded: bool = True
    part: int = 0
    since: datetime | None = None

    @classmethod
    def from_payload(cls, payload: Payload) -> "CallHeader":
        """Return the header that `CallHeaders` wrote."""
        value = loads(payload.data)
        original, content = value["original"], value["content"]
        return cls(
            value.get("chain", original),
            content,
            step_key(original, content),
            _time_of(value["now"]),
            _time_of(value["started"]) if value.get("started") else None,
            Lineage.from_json(value),
            value.get("recorded", True),
            value.get("part", 0),
            _time_of(value["since"]) if value.get("since") else None,
        )


class CallHeaders:
    """Writes the headers of one run's calls, of which most is the same for all."""

    def __init__(self, info: Info, lineage: Lineage, *, recorded: bool) -> None:
        chain, original = info.first_execution_run_id, info.original_execution_run_id
        # Not the run's own id: a reset run has calls in its history that the run before made.
        shared = {
            "original": original,
            "started": _number_of(info.workflow_start_time),
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
        now: datetime,
        since: datetime | None = None,
    ) -> None:
        """Fill in the header of a call.

        Args:
            header: An empty payload.
            content: The name of the call by its content, in hexadecimal.
            part: In which part of the run's record its attempts are kept.
            now: The workflow's time.
            since: See `CallHeader`.
        """
        # Put together as text, since one is made for every activity.
        own = f'{{"content":"{content}","now":{_number_of(now)},'
        place = f'"part":{part},' if part else ""
        reset = f'"since":{_number_of(since)},' if since else ""
        header.data = f"{own}{place}{reset}{self._shared}".encode()


def _number_of(time: datetime) -> int:
    """Return the microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _time_of(number: int) -> datetime:
    return _EPOCH + timedelta(microseconds=number)
