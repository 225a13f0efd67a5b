"""The envelope that was encoded last, for the change that comes next upon those very bytes.

Changes of one document that wait together are applied one after the other, each to the bytes that
the one before has made. To take those apart again is most of the work of a small change.
"""

from temporal_state.documents._envelope import Envelope

_NESTED = frozenset({dict, list})


class Memo:
    """One envelope, known by the identity of its bytes, so it cannot be another's or an old one.

    Its state goes to the caller of the change that made it, so the next has a copy. A copy of a
    state with arrays or objects in it would share them, so such a state is taken apart again.
    """

    def __init__(self) -> None:
        self._last: tuple[bytes, Envelope] | None = None

    def keep(self, data: bytes | None, envelope: Envelope) -> None:
        """Remember the envelope of some bytes."""
        self._last = None if data is None else (data, envelope)

    def take(self, data: bytes | None) -> Envelope | None:
        """Return the envelope of some bytes, and forget it, if it is remembered."""
        last, self._last = self._last, None
        if data is None or last is None or last[0] is not data:
            return None
        envelope = last[1]
        if not _NESTED.isdisjoint(map(type, envelope.state.values())):
            return None
        envelope.state, envelope.result = {**envelope.state}, None
        return envelope

    def clear(self) -> None:
        """Forget what is remembered."""
        self._last = None
