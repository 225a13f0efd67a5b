"""``documents``, ``get``, ``set``, ``delete`` and ``keys``: documents and keys by hand."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import aiofiles
import typer

from temporal_state.cli._failures import Code, CommandError
from temporal_state.cli._models import DocumentName, DocumentShape, KeyName
from temporal_state.cli._options import DocumentId, DocumentType, Limit, parse, span
from temporal_state.cli._session import Session, perform
from temporal_state.documents import DocumentHandle, Page, StateType, dumps
from temporal_state.errors import InvalidValueError, NotRecordedError

IfVersion = Annotated[
    int | None,
    typer.Option("--if-version", min=0, help="Only if the document has this version; 0: none."),
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("documents")(documents)
    app.command("get")(get)
    app.command("set")(set_document)
    app.command("delete")(delete)
    app.command("keys")(keys)


def documents(
    ctx: typer.Context,
    *,
    type: DocumentType = StateType.WORKFLOWS,
    prefix: Annotated[str, typer.Option(help="Only ids that start so.")] = "",
    limit: Limit = 1000,
) -> None:
    """List the ids of documents."""

    async def work(session: Session) -> None:
        page = await session.backend.documents.list(type, prefix, limit=limit)
        if session.out.json:
            session.out.lines(DocumentName(type=type, id=id) for id in page.ids)
        await _print_names(session, page)

    perform(ctx, work)


def keys(
    ctx: typer.Context,
    *,
    prefix: Annotated[str, typer.Option(help="Only names that start so.")] = "",
    limit: Limit = 1000,
) -> None:
    """List the names of keys, never their values."""

    async def work(session: Session) -> None:
        page = await session.backend.keys.list(prefix, limit=limit)
        if session.out.json:
            session.out.lines(KeyName(name=name) for name in page.ids)
        await _print_names(session, page)

    perform(ctx, work)


async def _print_names(session: Session, page: Page) -> None:
    if not session.out.json:
        for name in page.ids:
            session.out.text(name)
    if page.cursor is not None:
        session.out.say(f"there may be more than these {len(page.ids)}; give --prefix or --limit")
    if not page.ids:
        await session.note_empty()


def get(ctx: typer.Context, id: DocumentId, *, type: DocumentType = StateType.WORKFLOWS) -> None:
    """Print a document; with --json also its version and times."""

    async def work(session: Session) -> None:
        document = await session.backend.documents.read(id, type)
        if document is None:
            await session.note_empty()
            raise NotRecordedError(
                f"there is no document {type}/{id} in {session.place}; 'temporal-state "
                f"documents --type {type}' lists those kept"
            )
        if session.out.json:
            session.out.document(DocumentShape.of(document))
        else:
            session.out.json_text(document.value)

    perform(ctx, work)


def set_document(
    ctx: typer.Context,
    id: DocumentId,
    value: Annotated[
        str, typer.Argument(metavar="JSON", help="The JSON, or @FILE, or - for standard input.")
    ] = "-",
    *,
    type: DocumentType = StateType.WORKFLOWS,
    key: Annotated[str | None, typer.Option(help="Set this top-level key to the JSON.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make the JSON the whole document.")
    ] = False,
    patch: Annotated[
        bool, typer.Option("--patch", help="Take it as a JSON Merge Patch: null removes.")
    ] = False,
    ttl: Annotated[
        str | None, typer.Option(help="What is set is gone after so long: 90s, 15m, 2h, 7d.")
    ] = None,
    if_version: IfVersion = None,
) -> None:
    """Set top-level keys of a document, and keep the others; or replace or patch it."""
    lifetime = None if ttl is None else span(ttl)
    if (key is not None) + replace + patch > 1:
        raise typer.BadParameter("give one of --key, --replace and --patch, not several")
    if patch and ttl is not None:
        raise typer.BadParameter("--ttl is for what is set; a patch takes none")

    async def work(session: Session) -> None:
        given = parse(await read(value))
        document = session.backend.documents.one(id, type)
        change = _change(document, given, key, lifetime, replace=replace, patch=patch)
        changed = await change(if_version)
        if session.out.json:
            session.out.document(DocumentShape.of(changed))
        else:
            session.out.say(f"{type}/{id} has version {changed.version}")

    perform(ctx, work, creates=True)


def _change(
    document: DocumentHandle,
    given: Any,
    key: str | None,
    ttl: timedelta | None,
    *,
    replace: bool,
    patch: bool,
) -> Callable[[int | None], Awaitable[Any]]:
    if key is not None:
        return lambda version: document.set(key, given, ttl=ttl, if_version=version)
    if not isinstance(given, dict):
        raise InvalidValueError(
            f"a document is a JSON object, not {dumps(given).decode()[:40]}; give one, or --key"
        )
    if patch:
        return lambda version: document.patch(given, if_version=version)
    if replace:
        return lambda version: document.replace(given, ttl=ttl, if_version=version)
    return lambda version: document.merge(given, ttl=ttl, if_version=version)


def delete(
    ctx: typer.Context,
    id: DocumentId,
    *,
    type: DocumentType = StateType.WORKFLOWS,
    if_version: IfVersion = None,
) -> None:
    """Delete a document."""

    async def work(session: Session) -> None:
        session.out.confirm(f"delete the document {type}/{id} of {session.place}?")
        if not await session.backend.documents.delete(id, type, if_version=if_version):
            raise NotRecordedError(f"there was no document {type}/{id}; nothing was deleted")
        if session.out.json:
            session.out.document(DocumentName(type=type, id=id))
        else:
            session.out.say(f"deleted {type}/{id}")

    perform(ctx, work)


async def read(place: str) -> bytes:
    """Return the bytes of an argument: itself, ``@FILE``, or ``-`` for standard input."""
    if place == "-":
        if sys.stdin.isatty():
            raise CommandError("give the JSON, or @FILE, or pipe it to standard input", Code.USAGE)
        # Not in the loop's own threads: those are waited for at the end, also after Ctrl-C.
        waiting = ThreadPoolExecutor(1)
        return await asyncio.get_running_loop().run_in_executor(waiting, sys.stdin.buffer.read)
    if not place.startswith("@"):
        return place.encode(errors="surrogateescape")
    async with aiofiles.open(Path(place[1:]), "rb") as file:
        return bytes(await file.read())
