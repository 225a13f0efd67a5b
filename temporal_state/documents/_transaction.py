"""What a transaction is before it is committed: a value, of what it saw and what it will change.

Nothing is locked while the block runs. It remembers what it saw of each document, and keeps its
changes to itself; only the end of the block asks whether all it saw still holds. Since it is a
value, workflow code can build one and hand it to an activity.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Any, TypeAlias

from temporal_state.documents import _edits as edits
from temporal_state.documents._edits import Edit, check_items, check_key_name, check_state
from temporal_state.documents._envelope import Envelope
from temporal_state.documents._ids import check_id
from temporal_state.documents._json import dumps, plain
from temporal_state.documents._times import Clock
from temporal_state.documents._types import StateType, check_type
from temporal_state.errors import (
    ContextError,
    InvalidValueError,
    TooLargeError,
    TransactionConflictError,
)

MAX_DOCUMENTS = 16

Name: TypeAlias = "tuple[str | None, str]"
"""A document's id and type; without an id it is the own document of the calling run."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a transaction saw of a document: enough to tell whether it is still so.

    The digest tells what the version does not: expired keys, and changes by other tools.
    """

    version: int
    digest: str

    @classmethod
    def of(cls, envelope: Envelope) -> "Seen":
        """Return what is to be seen of an envelope from which the expired has been taken."""
        if envelope.deleted:
            return cls(envelope.version, "")
        return cls(envelope.version, blake2b(dumps(envelope.state), digest_size=16).hexdigest())

    def check(self, envelope: Envelope) -> None:
        """Raise `TransactionConflictError` unless the same is to be seen now."""
        now = Seen.of(envelope)
        if now != self:
            raise TransactionConflictError(
                f"document {envelope.address} was {self} when the transaction read it, and is "
                f"{now} now{' with other content' if now.version == self.version else ''}; nothing "
                "was written: run the whole block again, as `transact` does"
            )

    def __str__(self) -> str:
        return f"{'at' if self.digest else 'absent at'} version {self.version}"


@dataclass(frozen=True, slots=True)
class TransactionEdit:
    """One change of a transaction, as JSON values.

    Attributes:
        operation: ``merge``, ``replace``, ``patch``, ``increment``, ``append`` or ``delete``.
        id: The document's id; ``None`` is the own document of the calling run.
        type: The document's type.
        arguments: What it takes; lifetimes in seconds.
    """

    operation: str
    id: str | None
    type: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> Name:
        """The document that it changes."""
        return self.id, self.type

    @property
    def written(self) -> dict[str, Any]:
        """The values that the document would hold by it."""
        given = self.arguments
        if "key" in given:
            return {str(given["key"]): given.get("items", given.get("by"))}
        return dict(given.get("change") or given.get("value") or {})

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    def to_edit(self) -> Edit:
        """Return the function on the envelope; raises `InvalidValueError` if there is none."""
        make = _EDITS.get(self.operation)
        if make is None:
            raise InvalidValueError(
                f"{self.operation!r} is no change of a transaction; use one of {', '.join(_EDITS)}"
            )
        try:
            return make(**self.arguments)
        except TypeError as error:
            raise InvalidValueError(
                f"the arguments of {self.operation} in a transaction are wrong ({error})"
            ) from error


def _merge(change: Mapping[str, Any], ttl_seconds: float | None = None) -> Edit:
    return edits.merge(change, _ttl(ttl_seconds))


def _replace(value: Mapping[str, Any], ttl_seconds: float | None = None) -> Edit:
    return edits.replace(value, _ttl(ttl_seconds))


def _ttl(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


_EDITS: Mapping[str, Callable[..., Edit]] = {
    "merge": _merge,
    "replace": _replace,
    "patch": edits.patch,
    "increment": edits.increment,
    "append": edits.append,
    "delete": edits.delete,
}


@dataclass(slots=True)
class Transaction:
    """A block of reads and changes that takes effect as a whole at its end, or not at all.

    Reads see the block's own changes. A document is read from the store once; what it was then
    must still hold at the end.

    Attributes:
        look: Reads a document's envelope from the store.
        clock: Tells the time.
        reads: What was seen of each document.
        edits: The changes, in their order.
    """

    look: Callable[[Name], Awaitable[Envelope]]
    clock: Clock
    reads: dict[Name, Seen] = field(default_factory=dict)
    edits: list[TransactionEdit] = field(default_factory=list)
    _views: dict[Name, Envelope] = field(default_factory=dict)
    _closed: bool = False

    async def get(self, id: str | None, type: str = StateType.WORKFLOWS) -> dict[str, Any]:
        """Return a document's state, with the block's own changes; ``{}`` when there is none."""
        return deepcopy((await self._view(id, type)).state)

    async def exists(self, id: str | None, type: str = StateType.WORKFLOWS) -> bool:
        """Return whether there is a document, with the block's own changes."""
        return not (await self._view(id, type)).deleted

    async def set(
        self,
        id: str | None,
        key: str,
        value: Any,
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Set one top-level key; after ``ttl`` the key is gone."""
        await self.merge(id, {check_key_name(key): value}, type, ttl=ttl)

    async def merge(
        self,
        id: str | None,
        change: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Set each top-level key of ``change``, keep the others; each lives for ``ttl``."""
        self._add("merge", id, type, change=check_state(change), ttl_seconds=_seconds(ttl))

    async def replace(
        self,
        id: str | None,
        value: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Make ``value`` the whole state; after ``ttl`` the whole document is gone."""
        self._add("replace", id, type, value=check_state(value), ttl_seconds=_seconds(ttl))

    async def patch(
        self, id: str | None, change: Mapping[str, Any], type: str = StateType.WORKFLOWS
    ) -> None:
        """Apply a JSON Merge Patch: ``None`` removes, objects merge."""
        self._add("patch", id, type, change=check_state(change))

    async def increment(
        self, id: str | None, key: str, by: float = 1, type: str = StateType.WORKFLOWS
    ) -> None:
        """Add to the number under a top-level key (missing: 0)."""
        self._add("increment", id, type, key=check_key_name(key), by=plain(by, "by"))

    async def append(
        self,
        id: str | None,
        key: str,
        *values: Any,
        items: Sequence[Any] = (),
        limit: int | None = None,
        type: str = StateType.WORKFLOWS,
    ) -> None:
        """Append to the array under a top-level key (missing: empty), keep the newest ``limit``."""
        new = check_items(values, items)
        self._add("append", id, type, key=check_key_name(key), items=new, limit=limit)

    async def delete(self, id: str | None, type: str = StateType.WORKFLOWS) -> None:
        """Delete a document."""
        self._add("delete", id, type)

    def close(self) -> None:
        """Refuse further calls."""
        self._closed = True

    async def _view(self, id: str | None, type: str) -> Envelope:
        name = self._name(id, type)
        if name not in self._views:
            envelope = await self.look(name)
            if name not in self._views:  # else another task of the block was first
                self.reads[name] = Seen.of(envelope)
                for edit in self.edits:
                    if edit.name == name:
                        edit.to_edit()(envelope, self.clock())
                self._views[name] = envelope
        return self._views[name]

    def _add(self, operation: str, id: str | None, type: str, **arguments: Any) -> None:
        name = self._name(id, type)
        edit = TransactionEdit(operation, *name, arguments)
        apply = edit.to_edit()  # refuses what cannot be applied
        if name in self._views:
            apply(self._views[name], self.clock())
        self.edits.append(edit)

    def _name(self, id: str | None, type: str) -> Name:
        if self._closed:
            raise ContextError("this transaction has ended; use it inside its `async with` block")
        name = (None if id is None else check_id(id), check_type(type))
        check_count({*self.reads, *(edit.name for edit in self.edits), name})
        return name


def _seconds(ttl: timedelta | None) -> float | None:
    return None if ttl is None else ttl.total_seconds()


def check_count(names: "set[Name]") -> None:
    """Raise `TooLargeError` for more documents than one transaction may hold."""
    if len(names) > MAX_DOCUMENTS:
        raise TooLargeError(
            f"a transaction of {len(names)} documents is over the limit of {MAX_DOCUMENTS}; make "
            "several transactions, or keep what belongs together in one document"
        )
