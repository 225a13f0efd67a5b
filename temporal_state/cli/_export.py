"""``export``: all documents and records of an application as lines of JSON.

A file is written beside its place and renamed at the end, so there is never a part of one.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Protocol

import aiofiles
import typer
from aiofiles import ospath

from temporal_state.cli._models import DocumentLine, RecordLine, TransferShape
from temporal_state.cli._session import Session, perform
from temporal_state.documents import RESERVED_KEY, Address, Envelope, check_type, loads
from temporal_state.errors import ConfigurationError, DamagedObjectError, InvalidNameError
from temporal_state.storage import missing_transform

RECORDS = frozenset({"runs", "keys", "snapshots", "evaluations", "audit"})
_PAGE = 1000
_AT_ONCE = 32
_NOT_KEPT = ("rev", "tx")  # they belong to the place and the moment


class Only(StrEnum):
    """Which lines are written."""

    DOCUMENTS = "documents"
    RECORDS = "records"


class Writer(Protocol):
    """Takes bytes."""

    async def write(self, data: bytes, /) -> Any:
        """Write all of them."""
        ...


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("export")(export)


def export(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to; - is standard output.")
    ] = "-",
    *,
    only: Annotated[Only | None, typer.Option(help="Only documents, or only records.")] = None,
) -> None:
    """Write documents and records as lines of JSON, for import elsewhere."""

    async def work(session: Session) -> None:
        exporting = Export(session, only)
        if file == "-":
            async with aiofiles.open(1, "wb", closefd=False) as stream:
                await exporting.run(stream)
            session.out.say(exporting.summary)
            return
        if await ospath.exists(file):
            session.out.confirm(f"replace {file}?")
        try:
            async with replacing(Path(file)) as stream:
                await exporting.run(stream)
        except asyncio.CancelledError:
            session.out.say(f"{file} was not written")
            raise
        if session.out.json:
            session.out.document(exporting.shape)
        else:
            session.out.say(f"{exporting.summary} to {file}")

    perform(ctx, work)


@asynccontextmanager
async def replacing(path: Path) -> AsyncIterator[Writer]:
    """Open a file for writing that takes its place at the end; after an error, nothing is there."""
    if await ospath.exists(path) and not await ospath.isfile(path):  # a device or pipe
        async with aiofiles.open(path, "wb") as stream:
            yield stream
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        async with aiofiles.open(partial, "xb") as stream:
            yield stream
            await stream.flush()
            await asyncio.to_thread(os.fsync, stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(slots=True)
class Export:
    """One export at work, with what it has written so far."""

    session: Session
    only: Only | None
    documents: int = 0
    records: int = 0
    size: int = 0

    @property
    def summary(self) -> str:
        """What was written, for people."""
        return f"exported {self.documents} documents and {self.records} objects of records"

    @property
    def shape(self) -> TransferShape:
        """What was written, for scripts."""
        return TransferShape(
            documents=self.documents, records=self.records, unchanged=0, bytes=self.size
        )

    async def run(self, stream: Writer) -> None:
        """Write all lines."""
        with self.session.out.progress("objects") as bar:
            task = bar.add_task("exporting", total=None)
            if not bar.disable:
                bar.update(task, total=sum([len(keys) async for keys in self._pages()]))
            async for keys in self._pages():
                for start in range(0, len(keys), _AT_ONCE):
                    some = keys[start : start + _AT_ONCE]
                    for line in await asyncio.gather(*map(self._line, some)):
                        await self._write(stream, line)
                    bar.advance(task, len(some))

    async def _write(self, stream: Writer, line: DocumentLine | RecordLine | None) -> None:
        if line is None:
            return
        data = f"{line.model_dump_json()}\n".encode()
        await stream.write(data)
        self.size += len(data)
        if isinstance(line, DocumentLine):
            self.documents += 1
        else:
            self.records += 1

    async def _pages(self) -> AsyncIterator[list[str]]:
        engine, base = self.session.backend.documents.engine, f"{self._base}/"
        after = ""
        while True:
            listing = engine.store.list(base, after=after, limit=_PAGE)
            keys = await engine.in_time(listing, f"listing {base}")
            wanted = [key for key in keys if self._is_wanted(self._family(key))]
            yield wanted
            if len(keys) < _PAGE:
                return
            after = keys[-1]
            if not self._is_wanted(family := self._family(after)):
                after = f"{base}{family}/~"

    def _is_wanted(self, family: str) -> bool:
        if family in RECORDS:
            return self.only is not Only.DOCUMENTS
        return self.only is not Only.RECORDS and is_type(family)

    async def _line(self, key: str) -> DocumentLine | RecordLine | None:
        engine = self.session.backend.documents.engine
        found = await engine.in_time(engine.store.get(key), f"reading {key}")
        if found is None:
            return None
        value = load(key, found.data)
        family = self._family(key)
        if family not in RECORDS:
            return await self._document(family, key, value)
        meta = value.get(RESERVED_KEY)
        if isinstance(meta, dict) and meta.get("tx") is not None:
            envelope = await engine.look(Address(meta["type"], meta["id"], key))
            value = {**envelope.state, RESERVED_KEY: envelope.meta()}
        return RecordLine(key=key.removeprefix(f"{self._base}/"), value=value)

    async def _document(self, type: str, key: str, value: dict[str, Any]) -> DocumentLine | None:
        folder = self.session.backend.layout.folder(type)
        segment = folder.segment_of(key)
        if segment is None:
            return None
        id = folder.id_of(segment) or value.get(RESERVED_KEY, {}).get("id", "")
        envelope = await self.session.backend.documents.engine.look(Address(type, id, key))
        if envelope.version == 0 and not envelope.deleted:
            return DocumentLine(type=type, id=id, value=envelope.state)
        return DocumentLine(type=type, id=id, value=envelope.state, meta=_kept_of(envelope))

    def _family(self, key: str) -> str:
        return key.removeprefix(f"{self._base}/").partition("/")[0]

    @property
    def _base(self) -> str:
        return self.session.backend.layout.base


def _kept_of(envelope: Envelope) -> dict[str, Any]:
    """Return what lies beside a document's state, without what is of its place only."""
    return {name: value for name, value in envelope.meta().items() if name not in _NOT_KEPT}


def is_type(name: str) -> bool:
    """Return whether documents may have this type."""
    try:
        check_type(name)
    except InvalidNameError:
        return False
    return True


def load(key: str, data: bytes) -> dict[str, Any]:
    """Return the JSON object that an object of the store is."""
    try:
        value = loads(data)
    except ValueError as error:
        if missing := missing_transform(data):
            raise ConfigurationError(
                f"{key} is {missing}; name the transform with --transform"
            ) from error
        raise DamagedObjectError(f"{key} is damaged ({error}); restore or remove it") from error
    if not isinstance(value, dict):
        raise DamagedObjectError(f"{key} is no JSON object; restore or remove it")
    return value
