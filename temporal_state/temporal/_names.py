"""Names for calls, derived from what they do.

Activity ids will not do: after a failed workflow task the ids of local activities move to other
calls. So a call is named by the run, its content, and how many calls of that content came before
it; counted in workflow code, which Temporal repeats the same way.
"""

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from temporalio.api.common.v1 import Payload

from temporal_state.runs import digest

STEP_NAME = "step:"
"""What an activity id starts with, if its user names the step, whatever its input."""


class Occurrences:
    """Counts how often each content has been seen.

    All calls of a run are remembered for as long as it is in the cache, so each takes 8 bytes: half
    of its digest, in order.
    """

    __slots__ = ("_lock", "_seen")

    def __init__(self) -> None:
        self._seen = array("Q")
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def next(self, digest: str) -> int:
        """Return how many times ``digest`` was seen before, and count this one."""
        key = int(digest[:16], 16)
        with self._lock:
            end = bisect_right(self._seen, key)
            count = end - bisect_left(self._seen, key, hi=end)
            self._seen.insert(end, key)
        return count


def digest_of_payloads(payloads: Iterable[Payload]) -> str:
    """Return the digest of arguments as they are before any codec, whose nonce would change it."""
    parts: list[bytes] = []
    for payload in payloads:
        parts += (payload.metadata.get("encoding", b""), payload.data)
    return digest(*parts)
