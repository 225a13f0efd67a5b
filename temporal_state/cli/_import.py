"""``import``: what ``export`` wrote, or documents in the same form, into a store.

Each line is written whole or not at all, and never over something else: what is there already and
is the same counts as done, so after an interruption the same file is imported once more.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import aiofiles
import typer
from pydantic import Discriminator, TypeAdapter, ValidationError

from temporal_state.cli._export import RECORDS, load
from temporal_state.cli._failures import CommandError, code_of
from temporal_state.cli._models import DocumentLine, RecordLine, TransferShape
from temporal_state.cli._options import parse
from temporal_state.cli._session import Session, perform
from temporal_state.documents import Address, Edit, Engine, Envelope, check_state, dumps, from_text
from temporal_state.errors import ConflictError, InvalidNameError, InvalidValueError, StateError
from temporal_state.runs import RunRef
from temporal_state.runs.catalog import Change
from temporal_state.storage import check_key

Line = DocumentLine | RecordLine

_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Discriminator("kind")])
_AT_ONCE = 32
SCHEMA = 1


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command("import")(import_lines)


def import_lines(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What to import; - is standard input.")
    ] = "-",
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is there and is another.")
    ] = False,
) -> None:
    """Write the documents and records of an export into the store."""

    async def work(session: Session) -> None:
        importing = Import(session, replace)
        try:
            await importing.run(file)
        except BaseException:
            session.out.say(
                f"{importing.summary} before it stopped; import the same again to go on"
            )
            raise
        if session.out.json:
            session.out.document(importing.shape)
        else:
            session.out.say(importing.summary)

    perform(ctx, work, creates=True)


async def chunks(file: str) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Yield the lines of a file, or of standard input, with their numbers, some at a time."""
    async with AsyncExitStack() as stack:
        if file == "-":
            # Not in the loop's own threads: those are waited for at the end, also after Ctrl-C.
            waiting = ThreadPoolExecutor(1)
            opened = aiofiles.open(0, "rb", closefd=False, executor=waiting)
        else:
            opened = aiofiles.open(Path(file), "rb")
        stream = await stack.enter_async_context(opened)
        some: list[tuple[int, bytes]] = []
        number = 0
        async for line in stream:
            number += 1
            some.append((number, line))
            if len(some) == _AT_ONCE:
                yield some
                some = []
        yield some


@dataclass(slots=True)
class Import:
    """One import at work, with what it has done so far."""

    session: Session
    replace: bool
    documents: int = 0
    records: int = 0
    unchanged: int = 0
    size: int = 0

    @property
    def summary(self) -> str:
        """What was done, for people."""
        return (
            f"imported {self.documents} documents and {self.records} objects of records, "
            f"{self.unchanged} were there already"
        )

    @property
    def shape(self) -> TransferShape:
        """What was done, for scripts."""
        return TransferShape(
            documents=self.documents,
            records=self.records,
            unchanged=self.unchanged,
            bytes=self.size,
        )

    async def run(self, file: str) -> None:
        """Import all lines; those that are under way when one fails are finished first."""
        with self.session.out.progress("bytes") as bar:
            total = None if file == "-" else await asyncio.to_thread(_size_of, file)
            task = bar.add_task("importing", total=total)
            async for some in chunks(file):
                await self._all(some)
                self.size += sum(len(line) for _, line in some)
                bar.update(task, completed=self.size)

    async def _all(self, some: list[tuple[int, bytes]]) -> None:
        work = asyncio.gather(*(self._one(*line) for line in some), return_exceptions=True)
        try:
            done = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})  # so that what is said to be done is what was done
            raise
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _one(self, number: int, data: bytes) -> None:
        if not data.strip():
            return
        try:
            await self._write(_LINE.validate_python(parse(data)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise CommandError(
                f"line {number} is no line of an export ({where or 'it'}: {first['msg']}); mend it"
            ) from None
        except StateError as error:
            raise CommandError(f"line {number}: {error}", code_of(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise CommandError(
                f"line {number} is no record of a run ({error!r}); mend it"
            ) from error

    async def _write(self, line: Line) -> None:
        if isinstance(line, DocumentLine):
            outcome = await self._document(line)
        else:
            outcome = await self._engine.to_the_end(self._record(line), f"writing {line.key}")
        if not outcome:
            self.unchanged += 1
        elif isinstance(line, DocumentLine):
            self.documents += 1
        else:
            self.records += 1

    async def _document(self, line: DocumentLine) -> bool:
        address = self.session.backend.layout.document(line.id, line.type)
        wanted = _envelope(address, line)
        edit = _installing(wanted, exact=line.meta is not None, replace=self.replace)
        outcome = (await self._engine.change(address, edit))[1]
        if outcome == "other":
            raise ConflictError(f"{address} is there and is another; --replace replaces it")
        return bool(outcome == "new")

    async def _record(self, line: RecordLine) -> bool:
        family, _, rest = line.key.partition("/")
        if family not in RECORDS or not rest.endswith(".json"):
            raise InvalidNameError(
                f"key {line.key[:80]!r} is none of a record; it begins with one of "
                f"{', '.join(sorted(RECORDS))} and ends in .json"
            )
        if line.value.get("schema", SCHEMA) != SCHEMA:
            raise InvalidValueError(f"{line.key} was written by another version; upgrade this one")
        key = check_key(f"{self.session.backend.layout.base}/{line.key}")
        store, data = self._engine.store, dumps(line.value)
        found = await store.get(key)
        if found is not None and load(key, found.data) == line.value:
            return False
        if found is not None and not self.replace:
            raise ConflictError(f"{line.key} is there and is another; --replace replaces it")
        etag = None if found is None else found.etag
        async with self._announced(line):
            await store.put(key, data, if_match=etag, if_absent=etag is None)
        return True

    def _announced(self, line: RecordLine) -> AbstractAsyncContextManager[None]:
        """Tell the catalogs of all machines that a run changes, if one does."""
        if not line.key.startswith("runs/") or not line.key.endswith("/run.json"):
            return nullcontext()
        run = line.value if "run_id" in line.value else line.value["hand"]["run"]
        ref = RunRef(run["namespace"], run["workflow_id"], run["run_id"], from_text(run["started"]))
        return self.session.backend.runs.feed.announced([Change(ref)])

    @property
    def _engine(self) -> Engine:
        return self.session.backend.documents.engine


def _size_of(file: str) -> int:
    return Path(file).stat().st_size


def _envelope(address: Address, line: DocumentLine) -> Envelope:
    if line.meta is None:
        return Envelope(address, check_state(line.value), version=1, deleted=False)
    try:
        return Envelope.from_meta(address, check_state(line.value), line.meta)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, StateError):
            raise
        raise InvalidValueError(
            f"the meta of {address} is none ({error!r}); mend it, or leave it out"
        ) from error


def _installing(wanted: Envelope, *, exact: bool, replace: bool) -> Edit:
    def edit(envelope: Envelope, now: datetime) -> bool:
        is_there = envelope.version > 0 or not envelope.deleted
        same_changes = not exact or envelope.tokens.to_json() == wanted.tokens.to_json()
        if is_there and same_changes and _what_lasts(envelope) == _what_lasts(wanted):
            envelope.result = "same"
            return False
        if is_there and not replace:
            envelope.result = "other"
            return False
        envelope.revive(now)
        for name in ("state", "created", "expires", "expires_at", "tokens", "deleted"):
            setattr(envelope, name, copy(getattr(wanted, name)))
        # The change itself counts as one, so that a document keeps its version where it can.
        envelope.version = max(envelope.version, wanted.version - 1)
        envelope.result = "new"
        return True

    return edit


def _what_lasts(envelope: Envelope) -> Any:
    return envelope.state, envelope.expires, envelope.expires_at, envelope.deleted
