"""The catalog in SQLite: a connection to a database, and what goes wrong with one, in our words."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from temporal_state.errors import (
    StoreError,
    StoreFullError,
    StorePermissionError,
    StoreTimeoutError,
)
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._link import CatalogDamagedError, Link, Values

WORDS = {"id": "INTEGER", "bytes": "BLOB", "clustered": " WITHOUT ROWID"}
ANALYZED_ROWS = 10_000
"""So many rows of each index are looked at, if it is to take milliseconds."""
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

    def analyze(self, *, quickly: bool) -> None:
        """Gather what is needed to plan queries."""
        self.run(f"PRAGMA analysis_limit = {ANALYZED_ROWS if quickly else 0}")
        self.run("ANALYZE")

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
        make_tables(link, **WORDS)
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
