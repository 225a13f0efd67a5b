"""How every document is read and changed: one read, or one atomic read-change-write.

All operations are edits of an envelope, handed to the store's `update`; so expiry, tokens,
versions and size limits hold for each of them without being repeated in any.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from temporal_state.documents._edits import Edit
from temporal_state.documents._envelope import Envelope, join
from temporal_state.documents._layout import Address
from temporal_state.documents._ledger import Ledger, Watch, refuse_marked
from temporal_state.documents._marks import MarkedError
from temporal_state.documents._memo import Memo
from temporal_state.documents._secrets import check_type_of_state
from temporal_state.documents._times import Clock, utc_now
from temporal_state.documents._tokens import RETRY_HORIZON, Token
from temporal_state.errors import StoreTimeoutError, TooLargeError
from temporal_state.storage import Change, ObjectStore

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How large documents may be, how long the store may take, how long tokens are kept.

    Attributes:
        document_bytes: Most bytes of JSON of one document's state. The default leaves room for a
            codec below Temporal's 2 MB for a payload.
        meta_bytes: Most bytes that the memory of applied changes may take beside it.
        operation_timeout: After this long without an answer an operation fails.
        retry_horizon: How long every applied change is remembered.
        transaction_patience: So long others wait for a transaction that holds a document and does
            not move, before they abort it: its process may be dead.
    """

    document_bytes: int = 1024 * 1024
    meta_bytes: int = 8 * 1024 * 1024
    operation_timeout: timedelta = timedelta(seconds=10)
    retry_horizon: timedelta = RETRY_HORIZON
    transaction_patience: timedelta = timedelta(seconds=10)


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf an operation runs.

    Attributes:
        now: The caller's present time; ``None`` asks the engine's clock.
        token: The name of the change, if it must be applied only once.
        max_result: Most bytes of JSON of the document that is returned; more is refused before the
            change. None for a change whose caller does not take the document.
    """

    now: datetime | None = None
    token: Token | None = None
    max_result: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it was read.

    Attributes:
        type: Its type.
        id: Its id.
        value: The user's JSON object.
        version: Grows by one with each change; 0 for an object of another tool.
        created: When it was made, if known.
        updated: When it was last changed, if known.
    """

    type: str
    id: str
    value: dict[str, Any]
    version: int
    created: datetime | None
    updated: datetime | None


@dataclass(frozen=True, slots=True)
class Engine:
    """Reads and changes documents in a store, on behalf of one caller."""

    store: ObjectStore
    limits: Limits = field(default_factory=Limits)
    clock: Clock = utc_now
    caller: Caller = field(default_factory=Caller)
    watch: Watch = field(default_factory=Watch, compare=False)
    memo: Memo = field(default_factory=Memo, compare=False, repr=False)

    def on_behalf_of(self, caller: Caller) -> "Engine":
        """Return the same engine for another caller."""
        return replace(self, caller=caller)

    def now(self) -> datetime:
        """Return the caller's present time."""
        return self.caller.now or self.clock()

    @property
    def ledger(self) -> Ledger:
        """The transactions that may hold documents."""
        return Ledger(self)

    async def look(self, address: Address) -> Envelope:
        """Return the document's envelope as it is now; an absent one counts as deleted."""
        envelope = await self.ledger.look(address)
        envelope.expire(self.now())
        return envelope

    async def read(self, address: Address, after: Edit | None = None) -> Document | None:
        """Return the document, or ``None`` when there is none or it has expired.

        Args:
            address: Which document.
            after: An edit not yet made; the document is as it would be after it.
        """
        envelope = await self.look(address)
        if after is not None:
            after(envelope, self.now())
        return None if envelope.deleted else _document(envelope)

    async def change(self, address: Address, edit: Edit) -> tuple[Document, Any]:
        """Apply ``edit`` once for the caller's token; return the document and the edit's result.

        A caller that is cancelled waits for the outcome first: a change is made or not made, and
        never left running behind its caller's back.

        Raises:
            TooLargeError: The document, or the result, would be over its limit.
            TokenExpiredError: Whether the change was applied is no longer known.
        """
        outcome: list[tuple[Document, Any]] = []

        def apply(data: bytes | None) -> bytes | None:
            envelope = self.memo.take(data) or Envelope.decode(address, data)
            refuse_marked(envelope)
            made = self.apply(envelope, edit)
            outcome[:] = [(_document(envelope), envelope.result)]
            self.memo.keep(made, envelope)
            return made

        await self.update(address, apply, f"changing {address}")
        self.memo.clear()  # from here on the caller may do with the state what it likes
        return outcome[0]

    async def update(
        self, address: Address, change: Change, what: str, *, mine: str | None = None
    ) -> None:
        """Apply a change; one that raises `MarkedError` has to wait for the transaction it met.

        Args:
            address: Which document.
            change: From its bytes to its new ones.
            what: What it does, for error messages.
            mine: What the names of earlier attempts of the caller's own transaction start with;
                they are not waited for.
        """
        started = asyncio.get_running_loop().time()
        longest = (self.limits.operation_timeout + self.limits.transaction_patience).total_seconds()
        while True:
            try:
                return await self.to_the_end(self.store.update(address.key, change), what)
            except MarkedError as met:
                if asyncio.get_running_loop().time() - started > longest:
                    raise self._timed_out(what) from None
                at_once = mine is not None and met.transaction.startswith(mine)
                await self.ledger.settle(address, met.transaction, at_once=at_once)

    def apply(self, envelope: Envelope, edit: Edit) -> bytes | None:
        """Apply an edit in place; return the object's new bytes, ``None`` for no change."""
        now, token = self.now(), self.caller.token
        envelope.expire(now)
        if token is not None and envelope.tokens.is_applied(token):
            envelope.result = envelope.tokens.result(token)
            return None
        if not edit(envelope, now) and token is None:
            return None
        envelope.version += 1
        envelope.created = envelope.created or now
        envelope.updated = now
        if token is not None:
            envelope.tokens.add(token, envelope.result, now=now, horizon=self.limits.retry_horizon)
        return self._encode(envelope)

    def _encode(self, envelope: Envelope) -> bytes:
        if not envelope.deleted:
            check_type_of_state(envelope.address.type, envelope.state)
        state, meta = envelope.encode()
        limit = self.limits.document_bytes
        if self.caller.max_result is not None:
            limit = min(limit, self.caller.max_result)
        if len(state) > limit:
            raise too_large(f"document {envelope.address}", len(state), limit)
        if len(meta) > self.limits.meta_bytes:
            raise TooLargeError(
                f"document {envelope.address} remembers {len(envelope.tokens)} changes of "
                f"the last {self.limits.retry_horizon}, {len(meta)} bytes of at most "
                f"{self.limits.meta_bytes}; change it less often, or shorten retry_horizon"
            )
        return join(state, meta)

    async def in_time(self, operation: Awaitable[T], what: str) -> T:
        """Return what ``operation`` returns; raise `StoreTimeoutError` when it takes too long."""
        try:
            async with asyncio.timeout(self.limits.operation_timeout.total_seconds()):
                return await operation
        except TimeoutError as error:
            if isinstance(error, StoreTimeoutError):
                raise
            raise self._timed_out(what) from error

    async def finished(self, operation: Awaitable[T]) -> T:
        """Return what a change of many objects returns, however long it takes.

        One that is cancelled may go on for as long as one operation may take, so that the change is
        whole.
        """
        task = asyncio.ensure_future(operation)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=self.limits.operation_timeout.total_seconds())
            if task.done() and not task.cancelled():
                task.exception()  # marks it as seen
            raise
        finally:
            task.cancel()
        return task.result()

    async def to_the_end(self, operation: Awaitable[T], what: str) -> T:
        """Return what a change returns, in time; one that is cancelled is waited for first."""
        task = asyncio.ensure_future(operation)
        limit = self.limits.operation_timeout.total_seconds()
        try:
            await _wait(task, limit)
        except asyncio.CancelledError:
            await _wait(task, limit)
            if task.done() and not task.cancelled():
                task.exception()  # marks it as seen
            raise
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise self._timed_out(what)
        try:
            return task.result()
        except TimeoutError as error:
            if isinstance(error, StoreTimeoutError):
                raise
            raise self._timed_out(what) from error

    def _timed_out(self, what: str) -> StoreTimeoutError:
        seconds = self.limits.operation_timeout.total_seconds()
        return StoreTimeoutError(
            f"{what} took longer than operation_timeout ({seconds:g} s); whether a change was made "
            f"is unknown: read again. Look at the store {self.store.url}"
        )


async def _wait(task: "asyncio.Future[T]", seconds: float) -> None:
    """Wait for a task, at most so long; ``asyncio.wait``, made for many, costs a third more."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    tell = partial(_tell, ended)
    timer = loop.call_later(seconds, tell, None)
    task.add_done_callback(tell)
    try:
        await ended
    finally:
        timer.cancel()
        task.remove_done_callback(tell)


def _tell(ended: "asyncio.Future[None]", _task: object) -> None:
    if not ended.done():
        ended.set_result(None)


def too_large(what: str, size: int, limit: int) -> TooLargeError:
    """Return the error for something over its limit, both in bytes."""
    return TooLargeError(
        f"{what} would have {size} bytes of JSON, the limit is {limit}; keep large data elsewhere "
        "and store where it lies"
    )


def _document(envelope: Envelope) -> Document:
    address = envelope.address
    return Document(
        address.type,
        address.id,
        envelope.state,
        envelope.version,
        envelope.created,
        envelope.updated,
    )
