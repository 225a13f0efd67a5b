"""Brings in documents that another tool wrote, in folders that it named its own way.

Where our encoding would have named a folder the same, nothing needs to be done: a plain file is
read as version 0. All others (upper case, blanks, percent signs, other scripts) are written anew,
under the key that their id has here, and only if nothing was ever there. The source stays as it is.
"""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from temporal_state.documents._edits import Edit, check_state
from temporal_state.documents._engine import Engine, too_large
from temporal_state.documents._envelope import RESERVED_KEY, Envelope
from temporal_state.documents._json import check_foreign, dumps, loads
from temporal_state.documents._layout import APPS, FILE, Address, Layout
from temporal_state.documents._secrets import check_type_of_state
from temporal_state.documents._types import RESERVED_TYPES
from temporal_state.errors import ConfigurationError, InvalidDocumentError, StateError
from temporal_state.storage import (
    ForeignTree,
    ObjectStore,
    decode_name,
    encode_name,
    missing_transform,
    root_of,
)

_CONFLICTS = {
    "other": "another document is there; decide which is right, and delete or change one of them",
    "former": "a document was there that has been deleted or has expired; purge it, or write this "
    "one by hand",
}
_AT_ONCE = 32
_SPACED = 4  # so much larger than our JSON may the same JSON of another tool be

Outcome: TypeAlias = str | None
"""``adopted``, ``unchanged``, a key of `_CONFLICTS`, or why it was refused; ``None``: ours."""
Progress: TypeAlias = Callable[[int, int], Awaitable[object] | object]
"""Is told how many documents are done, and of how many; may be async."""


@dataclass(slots=True)
class Adoption:
    """What became of each document of another tool, by ``type/id``.

    Attributes:
        adopted: They are documents here now (in a dry run: they would be).
        unchanged: They had been adopted before, and are the same still.
        conflicting: Something else is or was there, with the reason; nothing was written.
        refused: They cannot be documents, with the reason.
    """

    adopted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    conflicting: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Adopter:
    """Adopts the documents of one application from one tree.

    Attributes:
        engine: Writes the documents.
        layout: Where they shall lie.
        tree: Where they come from.
        id_of: From the path of a document's folder below its type's, to its id.
        dry_run: Whether to write nothing.
    """

    engine: Engine
    layout: Layout
    tree: ForeignTree
    id_of: Callable[[str], str]
    dry_run: bool
    found: Adoption = field(default_factory=Adoption)

    async def run(self, apps: Sequence[str], progress: Progress | None) -> Adoption:
        """Adopt what lies below the folders of the application."""
        folders: list[_Folder] = []
        for app in apps:
            above = (*APPS.split("/"), *app.split("/"))
            folders += [_Folder(above, path) for path in await self.tree.folders(above)]
        folders = [folder for folder in folders if not self._is_ours(folder)]
        for start in range(0, len(folders), _AT_ONCE):
            some = folders[start : start + _AT_ONCE]
            for name, outcome in await asyncio.gather(*map(self._one, some)):
                self._note(name, outcome)
            await _tell(progress, start + len(some), len(folders))
        return self.found

    def _is_ours(self, folder: "_Folder") -> bool:
        if folder.type in RESERVED_TYPES:
            return True
        if not self._is_in_place() or len(folder.names) != 1:
            return False
        is_here = "/".join(folder.above) == self.layout.base
        return is_here and decode_name(folder.names[0]) is not None

    def _is_in_place(self) -> bool:
        return root_of(self.engine.store) == self.tree.root

    async def _one(self, folder: "_Folder") -> tuple[str, Outcome]:
        name = ascii("/".join((folder.type, *folder.names)))[1:-1]
        try:
            id = self.id_of("/".join(folder.names))
            address = self.layout.folder(folder.type).address(id)
            name = str(address)
            limit = _SPACED * self.engine.limits.document_bytes
            data = await self.tree.read(folder.path, limit)
            if self._is_in_place() and missing_transform(data) is not None:
                return name, None
            state = _state_of(data)
            if self._is_in_place() and RESERVED_KEY in state:
                return name, None
            return name, await self._write(address, check_state(state))
        except (StateError, ValueError) as error:
            if isinstance(error, StateError) and error.retryable:
                raise
            return name, str(error)

    def _note(self, name: str, outcome: Outcome) -> None:
        match outcome:
            case "adopted":
                self.found.adopted.append(name)
            case "unchanged":
                self.found.unchanged.append(name)
            case "other" | "former":
                self.found.conflicting[name] = _CONFLICTS[outcome]
            case str():
                self.found.refused[name] = outcome

    async def _write(self, address: Address, state: dict[str, Any]) -> Outcome:
        edit = _creating(state)
        if self.dry_run:
            return await self._would(address, state, edit)
        return str((await self.engine.change(address, edit))[1])

    async def _would(self, address: Address, state: dict[str, Any], edit: Edit) -> Outcome:
        check_type_of_state(address.type, state)
        size, limit = len(dumps(state)), self.engine.limits.document_bytes
        if size > limit:
            raise too_large(f"document {address}", size, limit)
        envelope = await self.engine.look(address)
        edit(envelope, self.engine.now())
        return str(envelope.result)


@dataclass(frozen=True, slots=True)
class _Folder:
    """The folder of a document of another tool.

    Attributes:
        above: The names of the folders down to the application's.
        path: The names of all folders down to the document's.
    """

    above: tuple[str, ...]
    path: tuple[str, ...]

    @property
    def type(self) -> str:
        return self._below[0] if self._below else ""

    @property
    def names(self) -> tuple[str, ...]:
        return self._below[1:]

    @property
    def _below(self) -> tuple[str, ...]:
        return self.path[len(self.above) :]


def adopter(
    engine: Engine,
    layout: Layout,
    source: str | os.PathLike[str] | ObjectStore,
    id_of: Callable[[str], str],
    *,
    dry_run: bool,
) -> Adopter:
    """Return what adopts from a root, given as its path or as a store of local files."""
    root: str | os.PathLike[str] | None
    if isinstance(source, str | os.PathLike):
        root = os.path.expanduser(os.fspath(source))  # noqa: PTH111 as `open_store` does
    else:
        root = root_of(source)
    if root is None:
        raise ConfigurationError(
            f"{source!r} is no tree of files, and other stores only list keys of ours; copy what "
            "is to be adopted into a folder, and name that"
        )
    return Adopter(engine, layout, ForeignTree(root, FILE), id_of, dry_run)


def folders_of(app: str) -> Sequence[str]:
    """Return the folders that an application's documents may lie in: as it is called, and ours."""
    return [*dict.fromkeys([app, encode_name(app)])]


def _state_of(data: bytes) -> dict[str, Any]:
    try:
        state = loads(data)
    except ValueError:
        raise ValueError(f"it is not JSON ({len(data)} bytes); mend or remove it") from None
    if not isinstance(state, dict):
        raise InvalidDocumentError(
            f"it is a JSON {type(state).__name__}, not an object; mend or remove it"
        )
    check_foreign(data, but=RESERVED_KEY)
    return state


def _creating(state: dict[str, Any]) -> Edit:
    def edit(envelope: Envelope, now: datetime) -> bool:
        if not envelope.deleted:
            envelope.result = "unchanged" if envelope.state == state else "other"
            return False
        if envelope.version:
            envelope.result = "former"
            return False
        envelope.revive(now)
        envelope.state, envelope.result = dict(state), "adopted"
        return True

    return edit


async def _tell(progress: Progress | None, done: int, total: int) -> None:
    told = None if progress is None else progress(done, total)
    if inspect.isawaitable(told):
        await told
