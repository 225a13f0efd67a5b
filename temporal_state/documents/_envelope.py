"""A document's object: the plain state, and what we must know under one reserved key at its end.

The state stays at the top level so that people and other tools read and write it as they did
before there was an envelope; an object without one is version 0.
"""

import os
import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporal_state.documents._json import check_foreign, dumps, loads
from temporal_state.documents._layout import Address
from temporal_state.documents._times import from_text, to_text
from temporal_state.documents._tokens import TokenWindow
from temporal_state.errors import ConfigurationError, DamagedObjectError
from temporal_state.storage import encode_name, missing_transform

RESERVED_KEY = "$temporal_state"
SCHEMA = 1
_KNOWN = frozenset(
    {
        *("schema", "id", "type", "version", "rev", "created", "updated", "expires", "expires_at"),
        *("tokens", "floor", "tx", "deleted"),
    }
)

# No secret, only never the same twice. To ask the system for each would let go of the interpreter,
# and where many changes wait together, to get it back takes longer than all else that one needs.
_revisions = random.Random()  # noqa: S311 see above
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_revisions.seed)


@dataclass(slots=True)
class Envelope:
    """One document as it lies in the store, taken apart.

    Attributes:
        state: The user's JSON object.
        version: Grows by one with each change; 0 was never changed by us.
        created: When the first change was made (of the present life, after a deletion).
        updated: When the last change was made.
        expires: When each key that has one loses its value.
        expires_at: When the whole document is as good as deleted.
        tokens: Which changes have been applied.
        deleted: Whether this is a tombstone, kept for its tokens and version.
        unknown: What a newer version of the same schema knows besides; kept as it is.
        tx: The mark of the transaction that holds the document, if one does; see `_marks`.
        result: What the change being made returns besides the state; not kept here.
    """

    address: Address
    state: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    created: datetime | None = None
    updated: datetime | None = None
    expires: dict[str, datetime] = field(default_factory=dict)
    expires_at: datetime | None = None
    tokens: TokenWindow = field(default_factory=TokenWindow)
    deleted: bool = True
    unknown: dict[str, Any] = field(default_factory=dict)
    tx: dict[str, Any] | None = None
    result: Any = None

    @classmethod
    def decode(cls, address: Address, data: bytes | None) -> "Envelope":
        """Take an object apart; no object is an envelope that counts as deleted.

        Raises:
            DamagedObjectError: It is not what was written under this address.
            ConfigurationError: It was written through a transform that this process lacks.
        """
        if data is None:
            return cls(address)
        state = _load(address, data)
        _check_touched(address, state, data)
        if RESERVED_KEY not in state:
            return cls(address, state, deleted=False)
        meta = state.pop(RESERVED_KEY)
        try:
            return cls.from_meta(address, state, meta)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise damaged(address, f"its {RESERVED_KEY} is malformed ({error!r})") from error

    @classmethod
    def from_meta(cls, address: Address, state: dict[str, Any], meta: dict[str, Any]) -> "Envelope":
        """Return the envelope of a state and of what `meta` returned.

        Nothing is taken for what it only looks like: read as a truth value, ``"false"`` would make
        a document a deleted one, and so an empty one.
        """
        if _natural(meta["schema"]) > SCHEMA:
            raise DamagedObjectError(
                f"{address} ({address.key}) was written by a newer version (schema "
                f"{meta['schema']}, known is {SCHEMA}); upgrade this process"
            )
        if (meta["type"], meta["id"]) != (address.type, address.id):
            raise damaged(address, f"it is the document {meta['type']}/{meta['id']}")
        if not isinstance(state, dict) or (_flag(meta["deleted"]) and state):
            raise ValueError("it is marked as deleted and has a state, or has none")
        return cls(
            address,
            state,
            version=_natural(meta["version"]),
            created=_time(meta["created"]),
            updated=_time(meta["updated"]),
            expires={key: from_text(text) for key, text in meta["expires"].items()},
            expires_at=_time(meta["expires_at"]),
            tokens=TokenWindow.from_json(meta["tokens"], meta["floor"]),
            deleted=meta["deleted"],
            unknown={name: value for name, value in meta.items() if name not in _KNOWN},
            tx=_mark(meta.get("tx")),
        )

    def encode(self) -> tuple[bytes, bytes]:
        """Return the JSON of the state, and of what we must know with a new random revision.

        The revision makes every object's bytes, and so its ETag, different from all before.
        """
        return dumps(self.state), dumps(self.meta())

    def meta(self) -> dict[str, Any]:
        """Return what we must know beside the state, with a new random revision."""
        tokens, floor = self.tokens.to_json()
        return {
            "schema": SCHEMA,
            "id": self.address.id,
            "type": self.address.type,
            "version": self.version,
            "rev": f"{_revisions.getrandbits(64):016x}",
            "created": to_text(self.created) if self.created else None,
            "updated": to_text(self.updated) if self.updated else None,
            "expires": {key: to_text(time) for key, time in self.expires.items()},
            "expires_at": to_text(self.expires_at) if self.expires_at else None,
            "tokens": tokens,
            "floor": floor,
            "tx": self.tx,
            "deleted": self.deleted,
            **self.unknown,
        }

    def expire(self, now: datetime) -> None:
        """Forget what has expired by ``now``."""
        if self.expires_at is not None and self.expires_at <= now:
            self.clear()
        for key in [key for key, time in self.expires.items() if time <= now]:
            del self.expires[key]
            self.state.pop(key, None)

    def clear(self) -> None:
        """Turn into a tombstone; version and tokens stay."""
        self.state, self.expires, self.expires_at, self.deleted = {}, {}, None, True

    def revive(self, now: datetime) -> None:
        """Start a new life if this is a tombstone."""
        if self.deleted:
            self.deleted, self.created = False, now


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no number of a version")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_text(text)


def _mark(tx: dict[str, Any] | None) -> dict[str, Any] | None:
    if tx is not None and not (isinstance(tx["id"], str) and tx["id"]):
        raise ValueError(f"the transaction {tx['id']!r} has no name")
    return tx


def join(state: bytes, meta: bytes) -> bytes:
    """Return the bytes of the object that `Envelope.encode` returned in two parts."""
    comma = b"," if len(state) > len(b"{}") else b""
    return b'%b%b"%b":%b}\n' % (state[:-1], comma, RESERVED_KEY.encode(), meta)


def id_inside(key: str, data: bytes) -> str:
    """Return the id that an object holds, for the keys that are too short to hold it."""
    address = Address("?", "?", key)
    try:
        id = _load(address, data)[RESERVED_KEY]["id"]
        if encode_name(id) == key.split("/")[-2]:
            return str(id)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(address, "it does not say which id it has") from error
    raise damaged(address, f"it is the document {id}")


def damaged(address: Address, what: str) -> DamagedObjectError:
    """Return the error for an object that cannot be what was written."""
    return DamagedObjectError(
        f"document {address} is damaged: {what}. Nothing writes over it, so that it can be looked "
        f"at: restore the object, or remove it with backend.store.delete({address.key!r}), which "
        "forgets its version and which changes it had applied"
    )


def _check_touched(address: Address, state: dict[str, Any], data: bytes) -> None:
    # What was written by us and reads back as the same bytes has lost nothing on the way. Only the
    # files that others have written or edited pay for the slow reader that notices all.
    try:
        if dumps(state) + b"\n" == data:
            return
    except TypeError:  # it is too deep
        pass
    try:
        check_foreign(data, but=RESERVED_KEY)
    except ValueError as error:
        raise damaged(address, f"{error}") from error


def _load(address: Address, data: bytes) -> dict[str, Any]:
    try:
        state = loads(data)
    except ValueError as error:
        if missing := missing_transform(data):
            raise ConfigurationError(f"document {address} ({address.key}) is {missing}") from error
        raise damaged(address, f"it is not JSON ({error}, {len(data)} bytes)") from error
    if not isinstance(state, dict):
        raise damaged(address, f"it is a JSON {type(state).__name__}, not an object")
    return state
