"""Writes several objects in one go, with one flush or with flushes side by side.

A thread for each write looks simpler, but a save is some twenty short system calls, each of which
gives up the interpreter's lock, and sixteen threads that fight to get it back halve the rate. So
one thread does the short work of all objects that wait. Their flushes, the long part, are one of
the file system where that can be, else they run in parallel, so that many come into one commit of
its journal.

The order is the one that survives a power loss: temporary files, their flush, the names, and the
flush of the folders, each of which is flushed once, however many names it got. Each object fails on
its own.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeAlias

from temporal_state.errors import StateError
from temporal_state.storage import _files
from temporal_state.storage._locks import locked
from temporal_state.storage._protocol import Change
from temporal_state.storage._session import Session
from temporal_state.storage._syncfs import FileSystem

_FLUSHERS = 8
_Inode: TypeAlias = tuple[int, int]


class Writer:
    """Commits changes below a root. Made at open; touches the disk at the first write."""

    def __init__(self, root: int, file_system: FileSystem) -> None:
        self._root = root
        self._file_system = file_system
        self._claiming = threading.Lock()
        self._sessions: list[Session] = []  # the last is in use; a lost one may still be held
        self._flushers = ThreadPoolExecutor(_FLUSHERS, thread_name_prefix="temporal-state-flush")

    def commit(self, folds: Mapping[str, Change]) -> Mapping[str, BaseException]:
        """Read, change and write the object of each key; return what went wrong, by key."""
        saves = [_Save(key, fold) for key, fold in folds.items()]
        try:
            with locked(self._root, folds):
                self._save(saves)
        except OSError as error:
            for save in saves:
                save.fail(error)
        return {save.key: save.failure for save in saves if save.failure is not None}

    def close(self) -> None:
        """Remove what is temporary. No commit may be running."""
        self._flushers.shutdown()
        for session in self._sessions:
            session.close()

    def _save(self, saves: "Sequence[_Save]") -> None:
        try:
            _each(saves, lambda save: save.prepare(self._root, self._session))
            self._flush(saves)
            _each(saves, lambda save: save.place(self._root))
            self._flush_names(saves)
        finally:
            for save in saves:
                save.release()

    def _session(self) -> Session:
        with self._claiming:
            if not self._sessions or self._sessions[-1].lost:
                self._sessions.append(Session(self._root))
            return self._sessions[-1]

    def _flush(self, saves: "Sequence[_Save]") -> None:
        live = [save for save in saves if save.failure is None]
        if len(live) > 1 and self._file_system.can_flush:
            with suppress(OSError):  # each file knows what became of it
                self._file_system.flush()
                return
        self._flush_each(live)

    def _flush_names(self, saves: "Sequence[_Save]") -> None:
        live = [save for save in saves if save.failure is None]
        if len(live) <= 1 or not self._file_system.can_flush:
            self._flush_each(live)
            return
        try:
            self._file_system.flush()
            self._session().probe()
        except OSError as error:  # nobody knows by now whose names are lost
            for save in live:
                save.fail(error)

    def _flush_each(self, live: "Sequence[_Save]") -> None:
        if len(live) == 1 and len(live[0].touched) == 1:  # as one writer alone mostly has it
            _each(live, lambda save: _files.sync(save.touched[0]))
            return
        inodes = {descriptor: _inode(descriptor) for save in live for descriptor in save.touched}
        errors = self._sync({inode: descriptor for descriptor, inode in inodes.items()})
        for save in live:
            for descriptor in save.touched:
                if error := errors.get(inodes[descriptor]):
                    save.fail(error)

    def _sync(self, descriptors: Mapping[_Inode, int]) -> Mapping[_Inode, OSError]:
        items = [*descriptors.items()]
        if len(items) <= 1:  # one writer alone should not pay for another hop
            return _sync_all(items)
        shares = [items[start::_FLUSHERS] for start in range(min(_FLUSHERS, len(items)))]
        errors: dict[_Inode, OSError] = {}
        for some in self._flushers.map(_sync_all, shares):
            errors.update(some)
        return errors


class _Save:
    """One object on its way to the disk."""

    def __init__(self, key: str, fold: Change) -> None:
        self.key = key
        self.failure: BaseException | None = None
        self.touched: Sequence[int] = ()  # descriptors to flush before the next step
        self._fold = fold
        self._temporary: tuple[Session, str] | None = None

    def prepare(self, root: int, session: Callable[[], Session]) -> None:
        data = self._fold(_files.read(root, self.key))
        if data is not None:
            owner = session()
            name, file = owner.create(data)
            self._temporary, self.touched = (owner, name), [file]

    def place(self, root: int) -> None:
        if self._temporary is not None:
            owner, name = self._temporary
            self._let_go()
            self.touched = _files.place(root, self.key, owner.folder, name)
            self._temporary = None

    def fail(self, error: BaseException) -> None:
        if isinstance(error, OSError) and not isinstance(error, StateError):
            self.failure = _files.store_error(error, "write", self.key)
            self.failure.__cause__ = error
        else:
            self.failure = error

    def release(self) -> None:
        self._let_go()
        if self._temporary is not None:
            owner, name = self._temporary
            owner.discard(name)

    def _let_go(self) -> None:
        touched, self.touched = self.touched, ()
        _files.close(touched)


def _each(saves: Sequence[_Save], step: Callable[[_Save], None]) -> None:
    for save in saves:
        if save.failure is None:
            try:
                step(save)
            except BaseException as error:  # noqa: BLE001 - one object's failure is not another's
                save.fail(error)


def _inode(descriptor: int) -> _Inode:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _sync_all(items: Iterable[tuple[_Inode, int]]) -> Mapping[_Inode, OSError]:
    errors: dict[_Inode, OSError] = {}
    for inode, descriptor in items:
        try:
            _files.sync(descriptor)
        except OSError as error:
            errors[inode] = error
    return errors
