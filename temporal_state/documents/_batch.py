"""Many changes, few writes: changes wait for each other, and those of one document are one write.

Writes are made by one task at a time, which is the batch's own: a caller that is cancelled does not
take them along, and what a write leaves as an error waits for the next call. A call that raises has
not added its change. Reads of a document that has changes waiting hold the writes back, so a change
is never seen twice or not at all.

The batch makes no promise of once: a process that dies loses what waits, and an activity that is
repeated makes its changes again. So it is for imports and counters of a script or an activity, not
for workflow code.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from temporal_state.documents import _edits as edits
from temporal_state.documents._edits import Edit
from temporal_state.documents._engine import Engine
from temporal_state.documents._json import dumps, loads
from temporal_state.documents._layout import Address, Layout
from temporal_state.documents._types import StateType
from temporal_state.errors import BatchError, ContextError, InvalidValueError

log = logging.getLogger("temporal_state")


class Batch:
    """Changes of documents that are written together; made by `Documents.batch`.

    Every change is checked at once. It is durable when `flush` or the block has returned. Each
    method raises `BatchError` for what could not be written since the last one, and then has done
    nothing itself.

    Example:
        async with backend.documents.batch() as batch:
            for order, total in totals:
                await batch.merge(order, {"total": total})
                await batch.increment("all", "count")
    """

    def __init__(self, engine: Engine, layout: Layout, size: int, interval: timedelta) -> None:
        if type(size) is not int or size < 1:
            raise InvalidValueError(f"size={size!r} is no integer above zero; give one")
        if interval <= timedelta():
            raise InvalidValueError(f"interval={interval} is not positive; give one above zero")
        self._engine = engine
        self._layout = layout
        self._size = size
        self._interval = interval.total_seconds()
        self._open = False
        self._waiting: dict[Address, list[Edit]] = {}
        self._count = 0  # of all that is not durable, what is being written included
        self._failures: dict[str, Exception] = {}
        self._lost = 0
        self._store = asyncio.Lock()  # held while buffer and store are brought together
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        if type(asyncio.get_running_loop()).__module__.startswith("temporalio."):
            raise ContextError(
                "workflow code cannot use a batch, which waits by the wall clock and would be made "
                "again by a replay; use state or StateStore there, or a batch in an activity"
            )
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what was added, also when the block raised: as changes without a batch would be."""
        self._open = False
        drain = asyncio.ensure_future(self._drain())
        try:
            await asyncio.shield(drain)
        except asyncio.CancelledError as cancelled:
            await asyncio.wait({drain})  # the engine's timeout bounds it
            self._note_failures(cancelled)
            raise
        if error is None or isinstance(error, Exception):
            self._raise_failures()
        else:
            self._note_failures(error)

    async def set(
        self,
        id: str,
        key: str,
        value: Any,
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Add what `Documents.set` does."""
        await self.merge(id, {edits.check_key_name(key): value}, type, ttl=ttl)

    async def merge(
        self,
        id: str,
        change: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Add what `Documents.merge` does; a lifetime counts from the write."""
        await self._add(id, type, edits.merge(change, ttl))

    async def replace(
        self,
        id: str,
        value: Mapping[str, Any],
        type: str = StateType.WORKFLOWS,
        *,
        ttl: timedelta | None = None,
    ) -> None:
        """Add what `Documents.replace` does; a lifetime counts from the write."""
        await self._add(id, type, edits.replace(value, ttl))

    async def patch(
        self, id: str, change: Mapping[str, Any], type: str = StateType.WORKFLOWS
    ) -> None:
        """Add what `Documents.patch` does."""
        await self._add(id, type, edits.patch(change))

    async def increment(
        self, id: str, key: str, by: float = 1, type: str = StateType.WORKFLOWS
    ) -> None:
        """Add what `Documents.increment` does."""
        await self._add(id, type, edits.increment(key, by))

    async def append(
        self,
        id: str,
        key: str,
        *values: Any,
        items: Sequence[Any] = (),
        limit: int | None = None,
        type: str = StateType.WORKFLOWS,
    ) -> None:
        """Add what `Documents.append` does."""
        await self._add(id, type, edits.append(key, edits.check_items(values, items), limit))

    async def delete(self, id: str, type: str = StateType.WORKFLOWS) -> None:
        """Add what `Documents.delete` does."""
        await self._add(id, type, edits.delete())

    async def get(self, id: str, type: str = StateType.WORKFLOWS) -> dict[str, Any]:
        """Return a document's state as it will be when all that waits is written."""
        address = self._layout.document(id, type)
        self._check()
        if address not in self._waiting and not self._is_writing():
            found = await self._engine.read(address)
        else:
            async with self._store:
                waiting = self._waiting.get(address, [])
                found = await self._engine.read(address, edits.in_order(waiting))
        # What waits must not be changed through what was read.
        return {} if found is None else dict(loads(dumps(found.value)))

    async def flush(self) -> None:
        """Return when all that was added before is durable."""
        self._check()
        await self._drain()
        self._raise_failures()

    async def _add(self, id: str, type: str, edit: Edit) -> None:
        address = self._layout.document(id, type)
        self._check()
        while self._count >= self._size:
            await asyncio.shield(self._write())
            self._check()
        self._waiting.setdefault(address, []).append(edit)
        self._count += 1
        if self._count >= self._size:
            self._write()
        self._set_timer()

    def _check(self) -> None:
        self._raise_failures()
        if not self._open:
            raise ContextError("this batch is not open; use it inside its `async with` block")

    def _raise_failures(self) -> None:
        if self._failures:
            failure = self._take_failures()
            raise failure from next(iter(failure.failures.values()))

    def _note_failures(self, error: BaseException) -> None:
        # A cancellation must go on as one, so what was not written can only go with it.
        if self._failures:
            failure = self._take_failures()
            log.error("%s", failure)
            error.add_note(str(failure))

    def _take_failures(self) -> BatchError:
        failures, lost = self._failures, self._lost
        self._failures, self._lost = {}, 0
        shown = "; ".join(f"{document}: {error}" for document, error in failures.items())
        return BatchError(
            f"a batch did not write {shown}. The changes of these documents ({lost}) are no longer "
            "in it; make them again if they are wanted",
            failures,
        )

    async def _drain(self) -> None:
        for _ in range(2):  # the first write may have begun before the last changes came
            if self._count:
                await asyncio.shield(self._write())

    def _is_writing(self) -> bool:
        return self._writer is not None and not self._writer.done()

    def _write(self) -> "asyncio.Task[None]":
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return self._writer

    async def _write_all(self) -> None:
        async with self._store:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            writing, self._waiting = self._waiting, {}
            await asyncio.gather(*(self._write_one(*item) for item in writing.items()))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._write()  # if one is under way, it sets a timer again for what came after it

    async def _write_one(self, address: Address, changes: list[Edit]) -> None:
        try:
            await self._engine.change(address, edits.in_order(changes))
        except Exception as error:  # noqa: BLE001 told by the next call
            self._failures[str(address)] = error
            self._lost += len(changes)
        finally:
            self._count -= len(changes)
