"""How things cross the border to Temporal: names, payloads, retries and the header.

Requests and results travel as JSON that we have written ourselves, past the user's data converter:
so what was checked and measured is what is sent. The user's codec still applies. Workers in other
languages can call the activities with a JSON object.
"""

from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, RetryPolicy

from temporal_state.documents import RESERVED_KEY, dumps, loads
from temporal_state.errors import InvalidValueError

HEADER = "temporal-state"
UNRECORDED = "__temporal_state_unrecorded__"
"""What a workflow class has if its runs are not to be recorded."""
BEFORE_ACK = "__temporal_state_before_ack__"
"""What an activity's function has if its result is recorded before Temporal learns of it."""
NEVER_REUSE = "__temporal_state_never_reuse__"
"""What an activity's function has if it is run again in a resumed run."""
LARGE = {RESERVED_KEY: "too large for a local activity; read it with a regular one"}
"""What a local activity returns in place of a large result; no document has this key."""
ACTIVITY_PREFIX = "temporal_state."
MAINTENANCE = f"{ACTIVITY_PREFIX}Maintenance"
"""The workflow that does maintenance; it is never recorded."""
CHECKPOINT = "temporal_state.own.checkpoint"
"""The activity that writes a checkpoint, and the header that tells it what the run knows."""


def pause_after(attempt: int) -> timedelta:
    """Return how long to wait after an attempt, counted from 1, that failed."""
    return min(timedelta(milliseconds=200) * (1 << min(attempt - 1, 10)), timedelta(seconds=5))


def retry_policy(timeout: timedelta) -> RetryPolicy:
    """Return a policy whose attempts end at about ``timeout``.

    The SDK does not end the retries of a local activity at its schedule-to-close timeout (seen in
    1.35): without a last attempt, one that cannot even start would be retried for ever.
    """
    attempts, passed = 1, timedelta()
    while passed < timeout:
        passed += pause_after(attempts)
        attempts += 1
    return RetryPolicy(
        initial_interval=pause_after(1),
        backoff_coefficient=2,
        maximum_interval=timedelta(seconds=5),
        maximum_attempts=attempts,
    )


def to_raw(value: Any) -> RawValue:
    """Return JSON values as they travel."""
    return RawValue(json_payload(value))


def from_raw(raw: RawValue) -> Any:
    """Return the JSON values that `to_raw`, or a caller's own data converter, wrote.

    Raises:
        InvalidValueError: They are no JSON.
    """
    encoding = raw.payload.metadata.get("encoding", b"").decode(errors="replace")
    if encoding == "binary/null":
        return None
    if not encoding.startswith("json/"):
        raise InvalidValueError(f"the argument is encoded as {encoding!r}; give a JSON object")
    return loads(raw.payload.data)


def json_payload(value: dict[str, Any]) -> Payload:
    """Return a JSON object as a payload."""
    # As the SDK's JSON converter does, in a tenth of the time: one is made for every activity.
    return Payload(metadata={"encoding": b"json/plain"}, data=dumps(value))


def is_plain(payload: Payload) -> bool:
    """Return whether a payload is a JSON object as we write it, and no codec has touched it."""
    said = payload.metadata.get("encoding", b"json/plain")  # of a call's header nothing is said
    return said == b"json/plain" and payload.data.startswith(b"{")


def object_in(payload: Payload | None) -> dict[str, Any] | None:
    """Return the JSON object in a payload; ``None`` if it is absent or cannot be read as one."""
    try:
        value = None if payload is None else loads(payload.data)
    except ValueError:
        return None  # encoded by a codec, or somebody else's
    return value if isinstance(value, dict) else None
