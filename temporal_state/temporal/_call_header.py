"""What workflow code tells an activity about the call, so that both agree on what it is."""

from dataclasses import dataclass
from datetime import datetime

from temporalio.api.common.v1 import Payload
from temporalio.workflow import Info

from temporal_state.documents import dumps, from_text, loads, to_text
from temporal_state.temporal._events import CallKey
from temporal_state.temporal._lineage import Lineage


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
        """Return the header that `to_payload` wrote."""
        value = loads(payload.data)
        return cls(
            value["chain"],
            value["content"],
            value["step"],
            from_text(value["now"]),
            from_text(value["started"]) if value.get("started") else None,
            Lineage.from_json(value),
            value.get("recorded", True),
            value.get("part", 0),
            from_text(value["since"]) if value.get("since") else None,
        )


class CallHeaders:
    """Writes the headers of one run's calls, of which most is the same for all."""

    def __init__(self, info: Info, lineage: Lineage, *, recorded: bool) -> None:
        shared = {
            "chain": info.first_execution_run_id,
            "started": to_text(info.workflow_start_time),
            **({} if recorded else {"recorded": False}),
            **lineage.to_json(),
        }
        self._shared = dumps(shared)[1:].decode()

    def write(
        self,
        header: Payload,
        content: str,
        key: CallKey,
        now: datetime,
        since: datetime | None = None,
    ) -> None:
        """Fill in the header of a call.

        Args:
            header: An empty payload.
            content: The name of the call by its content, in hexadecimal.
            key: The same for this run and its resets only, and the part of its record.
            now: The workflow's time.
            since: See `CallHeader`.
        """
        # Put together as text, since one is made for every activity.
        own = f'{{"content":"{content}","step":"{key.key}","now":"{to_text(now)}",'
        header.metadata["encoding"] = b"json/plain"
        part = f'"part":{key.part},' if key.part else ""
        reset = f'"since":"{to_text(since)}",' if since else ""
        header.data = f"{own}{part}{reset}{self._shared}".encode()
