"""The mark that a transaction leaves in each of its documents, and what the document will be.

The new state lies in the mark, in the document itself, beside the old one. So the decision is one
small write whatever the documents' size, whoever finds a committed mark has all that is needed to
go on, and an absent document is marked like any other: as a tombstone, which reads as absent.
"""

from datetime import datetime, timedelta
from typing import Any

from temporal_state.documents._envelope import Envelope, damaged
from temporal_state.documents._times import from_text
from temporal_state.documents._tokens import Token

_KEPT = ("version", "created", "updated", "expires", "expires_at", "deleted")


class MarkedError(Exception):
    """Raised by a change that meets a document held by a transaction, to be resolved outside."""

    def __init__(self, transaction: str) -> None:
        super().__init__(f"held by transaction {transaction}")
        self.transaction = transaction


def holder(envelope: Envelope) -> str | None:
    """Return the name of the transaction that holds the document, if one does."""
    return None if envelope.tx is None else str(envelope.tx["id"])


def hold(envelope: Envelope, transaction: str, after: Envelope | None, token: Token | None) -> None:
    """Mark a document; ``after`` is what it will be, ``None`` if it is only read."""
    envelope.tx = {"id": transaction, "next": None}
    if after is not None:
        meta = after.meta()
        kept: dict[str, Any] = {name: meta[name] for name in _KEPT}
        name = None if token is None else [token.step, token.change]
        envelope.tx["next"] = {"state": after.state, **kept, "token": name}


def lifted(envelope: Envelope, *, committed: bool, horizon: timedelta) -> Envelope:
    """Return the document without its mark: as it will be if committed, else as it was.

    Args:
        envelope: A marked document.
        committed: Whether the transaction is.
        horizon: How long every applied change is remembered.
    """
    mark, envelope.tx = envelope.tx, None
    if not committed or mark is None:
        return envelope
    try:
        return _as_promised(envelope, mark["next"], horizon)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(envelope.address, f"its mark is malformed ({error!r})") from error


def _as_promised(envelope: Envelope, after: dict[str, Any] | None, horizon: timedelta) -> Envelope:
    if after is None:
        return envelope
    meta = envelope.meta() | {name: after[name] for name in _KEPT}
    result = Envelope.from_meta(envelope.address, after["state"], meta)
    if after["token"] is not None:
        now: datetime = from_text(after["updated"])
        step, change = after["token"]
        result.tokens.add(Token(step, now, change), None, now=now, horizon=horizon)
    return result
