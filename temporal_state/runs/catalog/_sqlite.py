"""The catalog in SQLite: a file beside the objects or in the user's cache folder, or in memory.

Each database has a name of its own, and a small file says which one is the present one. A database
that is replaced, damaged or deleted is so never confused with its successor, neither by us nor by
SQLite, which finds a database's log by the database's name.
"""

import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from temporal_state.errors import (
    ConfigurationError,
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._link import CatalogDamagedError, Link, Values

if sys.platform != "win32":
    import fcntl

_WORDS = {"id": "INTEGER", "bytes": "BLOB", "clustered": " WITHOUT ROWID"}
ORPHAN_AFTER = 24 * 3600.0
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REFUSED = {sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # what a power loss takes is in the feed
    "PRAGMA cache_size = -65536",
    "PRAGMA temp_store = MEMORY",
)


class SqliteLink:
    """A connection to one SQLite database.

    Attributes:
        path: Its file; ``None``: it is in memory.
    """

    def __init__(self, path: Path | None, patience: float) -> None:
        self.path = path
        self._patience = patience
        with self._reporting():
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=patience,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
        try:
            for setting in _SETTINGS:
                self.run(setting)
        except BaseException:
            self.close()
            raise

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._reporting():
            return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, values: Values = ()) -> None:
        """Execute a statement."""
        with self._reporting():
            self._connection.execute(sql, values)

    def many(self, sql: str, values: Iterable[Values]) -> None:
        """Execute a statement for each of several rows of values."""
        with self._reporting():
            self._connection.executemany(sql, values)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all queries of a block see one state."""
        with self._block("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let all of a block happen or nothing; waits for other writers."""
        with self._block("BEGIN IMMEDIATE"):
            yield

    def close(self) -> None:
        """Let go of it; the last one leaves no log behind."""
        with suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def _block(self, begin: str) -> Iterator[None]:
        self.run(begin)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> Exception:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        where = "in memory" if self.path is None else str(self.path)
        if code in _LOCKED:
            return StoreTimeoutError(
                f"the catalog {where} has been locked by another process for {self._patience:g} s; "
                "try again, or see who holds it"
            )
        if code == sqlite3.SQLITE_FULL:
            return StoreFullError(f"no room for the catalog {where}; make some ({error})")
        moved = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED
        if code in _REFUSED and not moved:
            return StorePermissionError(
                f"the catalog {where} cannot be written ({error}); give catalog= another place"
            )
        gone = "no such table" in str(error) or "no such column" in str(error)
        if moved or gone or code in _DAMAGE or (code == sqlite3.SQLITE_CANTOPEN and self._exists()):
            return CatalogDamagedError(f"the catalog {where} is damaged: {error}")
        return StoreError(f"the catalog {where} failed: {error}")

    def _exists(self) -> bool:
        return self.path is not None and self.path.parent.is_dir()


def make_tables(link: Link, **words: str) -> None:
    """Make the tables of a fresh database."""
    for statement in (*_sql.TABLES, _sql.FIRST_INDEX):
        link.run(statement.format(**words))
    link.run(_sql.SET_META, ("schema", str(_sql.SCHEMA)))


class MemoryHome:
    """A catalog in memory, of this process alone."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._present: Link | None = None

    def open(self) -> Link | None:
        """Return the connection that has the database."""
        return self._present

    def is_present(self, link: Link) -> bool:
        """Return whether this is that connection."""
        return link is self._present

    def fresh(self) -> Link:
        """Return a connection to a new database."""
        link = SqliteLink(None, self._patience)
        make_tables(link, **_WORDS)
        return link

    def publish(self, link: Link) -> Link:
        """Put a fresh database in the place of the present one."""
        former, self._present = self._present, link
        if former is not None:
            former.close()
        return link

    def discard(self, link: Link) -> None:
        """Forget a database."""
        if link is self._present:
            self._present = None
        link.close()

    def release(self, link: Link) -> None:
        """Keep it: nobody else has it."""


class FileHome:
    """A catalog in files of one folder, shared by the processes of one machine.

    Args:
        folder: The folder; made if need be.
        name: What the names of all its files begin with.
        patience: Seconds for which a locked database is waited for.
    """

    def __init__(self, folder: Path, name: str, patience: float) -> None:
        self._folder, self._patience = folder, patience
        self._name = f"{name}.v{_sql.SCHEMA}"
        self._pointer = folder / f"{self._name}.current"

    def open(self) -> Link | None:
        """Return a connection to the present database, or ``None`` if there is none."""
        path = self._present()
        if path is None:
            return None
        try:
            link = SqliteLink(path, self._patience)
        except CatalogDamagedError:
            self._remove(path)
            return None
        if not path.exists() or link.path != self._present():
            link.close()
            return None
        return link

    def is_present(self, link: Link) -> bool:
        """Return whether the connection is to the database that the small file names."""
        return isinstance(link, SqliteLink) and link.path == self._present()

    def fresh(self) -> Link:
        """Return a connection to a new database, not yet named by the small file."""
        self._make_folder()
        path = self._folder / f"{self._name}.{secrets.token_hex(8)}.sqlite"
        link = SqliteLink(path, self._patience)
        make_tables(link, **_WORDS)
        return link

    def publish(self, link: Link) -> Link:
        """Let the small file name a fresh database, and remove the former one."""
        assert isinstance(link, SqliteLink)
        assert link.path is not None
        with self._alone():
            former = self._present()
            draft = self._pointer.with_suffix(f".{secrets.token_hex(8)}")
            draft.write_text(link.path.name)
            draft.replace(self._pointer)
            if former is not None:
                self._remove(former)
            self._remove_orphans(link.path)
        return link

    def discard(self, link: Link) -> None:
        """Remove a database; who else uses it finds that it is no longer there."""
        link.close()
        if isinstance(link, SqliteLink) and link.path is not None:
            self._remove(link.path)

    def release(self, link: Link) -> None:
        """Let go of a connection."""
        link.close()

    def _present(self) -> Path | None:
        try:
            name = self._pointer.read_text()
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return None
        path = self._folder / name
        known = name.startswith(f"{self._name}.") and name.endswith(".sqlite") and "/" not in name
        return path if known and path.is_file() and not path.is_symlink() else None

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorePermissionError(
                f"the folder {self._folder} of the catalog cannot be made ({error}); give catalog= "
                "another place"
            ) from error
        if self._folder.is_symlink():
            raise ConfigurationError(
                f"{self._folder}, where the catalog would lie, is a symbolic link; remove it, or "
                "give catalog= where it leads"
            )
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise StorePermissionError(
                f"the folder {self._folder} of the catalog is not writable; give catalog= another"
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if sys.platform == "win32":
            yield  # two that publish at once may leave a file behind, for the orphans' end
            return
        descriptor = os.open(
            self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _remove_orphans(self, present: Path) -> None:
        """Remove what builders left behind that died."""
        files: Sequence[Path] = sorted(self._folder.glob(f"{self._name}.*.sqlite"))
        for path in files:
            with suppress(OSError):
                if path != present and time.time() - path.stat().st_mtime > ORPHAN_AFTER:
                    self._remove(path)

    @staticmethod
    def _remove(path: Path) -> None:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
