"""The catalog in PostgreSQL: one that all machines share, in a schema of its own.

A fresh one is built in another schema, which then takes the name in one transaction. Whoever waits
for a statement meanwhile goes on with the new one.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from temporal_state.errors import ConfigurationError, StateError, StoreError, StoreTimeoutError
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._feed import minute
from temporal_state.runs.catalog._link import CatalogDamagedError, Link, Values
from temporal_state.runs.catalog._sqlite import make_tables

try:
    import psycopg
    from psycopg import errors, sql
except ModuleNotFoundError as _missing:
    raise ConfigurationError(
        "a catalog in PostgreSQL needs the extra: pip install 'temporal-state[postgresql]'"
    ) from _missing

FORGOTTEN_AFTER = timedelta(days=1)
_EXISTS = "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = 'meta'"


class PostgresLink:
    """A connection to the tables in one schema."""

    def __init__(self, url: str, schema: str, patience: float) -> None:
        self.schema = schema
        self._key = _key_of(schema)
        milliseconds = max(int(patience * 1000), 1)
        with self._reporting():
            self._connection = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=max(int(patience), 1),
                application_name="temporal_state",
                options=f"-c search_path={schema} -c lock_timeout={milliseconds} "
                f"-c statement_timeout={milliseconds * 6} -c client_min_messages=warning",
            )
            self._connection.prepare_threshold = 2

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._reporting():
            return self._connection.execute(_translated(sql), values).fetchall()

    def run(self, sql: str, values: Values = ()) -> None:
        """Execute a statement."""
        with self._reporting():
            self._connection.execute(_translated(sql), values)

    def many(self, sql: str, values: Iterable[Values]) -> None:
        """Execute a statement for each of several rows of values."""
        with self._reporting(), self._connection.cursor() as cursor:
            cursor.executemany(_translated(sql), [*values])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all queries of a block see one state."""
        with self._block("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let all of a block happen or nothing; waits for other writers."""
        with self._block("BEGIN"):
            self.run("SELECT pg_advisory_xact_lock(?)", (self._key,))
            yield

    def analyze(self, *, quickly: bool) -> None:
        """Gather what is needed to plan queries, of our tables only; it takes samples anyway."""
        del quickly
        self.run(f"ANALYZE {', '.join(_sql.PLANNED_FOR)}")

    def close(self) -> None:
        """Let go of it."""
        with suppress(psycopg.Error):
            self._connection.close()

    @property
    def is_open(self) -> bool:
        """Whether it has not been lost."""
        return not self._connection.closed

    @contextmanager
    def _block(self, begin: str) -> Iterator[None]:
        self.run(begin)
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise _told(error) from error


class PostgresHome:
    """A catalog in a schema of a PostgreSQL database."""

    def __init__(self, url: str, name: str, patience: float) -> None:
        self._url, self._patience = url, patience
        self._all, self._schema = f"{name}_v", f"{name}_v{_sql.SCHEMA}"

    def open(self) -> Link | None:
        """Return a connection to the present tables, or ``None`` if there are none."""
        link = self._link(self._schema)
        if link.rows(_EXISTS, (self._schema,)):
            self._remove_former_versions(link)
            return link
        link.close()
        return None

    def is_present(self, link: Link) -> bool:
        """Return whether the connection is there; the schema's name is always the present one's."""
        return isinstance(link, PostgresLink) and link.is_open

    def fresh(self) -> Link:
        """Return a connection to new tables, in a schema that nobody else knows."""
        link = self._link(f"{self._schema}_{secrets.token_hex(4)}")
        link.run("SET statement_timeout = 0")  # indexes of many runs take their time
        link.run(f"CREATE SCHEMA {link.schema}")
        make_tables(link, id="BIGINT", bytes="BYTEA", clustered="")
        return link

    def publish(self, link: Link) -> Link:
        """Give fresh tables the present ones' name."""
        assert isinstance(link, PostgresLink)
        with link.writing():
            link.run("SELECT pg_advisory_xact_lock(?)", (_key_of(self._schema),))
            link.run(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
            link.run(f"ALTER SCHEMA {link.schema} RENAME TO {self._schema}")
        link.close()
        return self._link(self._schema)

    def discard(self, link: Link) -> None:
        """Remove the tables of a connection."""
        assert isinstance(link, PostgresLink)
        with suppress(StateError, CatalogDamagedError):
            link.run(f"DROP SCHEMA IF EXISTS {link.schema} CASCADE")
        link.close()

    def release(self, link: Link) -> None:
        """Let go of a connection."""
        link.close()

    def _remove_former_versions(self, link: Link) -> None:
        """Remove catalogs of former versions of the tables that nobody has used for long."""
        long_ago = minute(datetime.now(UTC) - FORGOTTEN_AFTER)
        for version in range(1, _sql.SCHEMA):
            schema = f"{self._all}{version}"
            if link.rows(_EXISTS, (schema,)):
                sql = f"SELECT 1 FROM {schema}.meta WHERE name = 'since' AND value > ?"  # noqa: S608 a name of ours
                if not link.rows(sql, (long_ago,)):
                    link.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def _link(self, schema: str) -> PostgresLink:
        return PostgresLink(self._url, schema, self._patience)


def _key_of(schema: str) -> int:
    """Return by what those who write into a schema, or put one in its place, keep apart."""
    return int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8], signed=True)


def _translated(text: str) -> sql.SQL:
    return sql.SQL(text.replace("?", "%s"))


def _told(error: psycopg.Error) -> Exception:
    if isinstance(error, errors.UndefinedTable | errors.UndefinedColumn | errors.InvalidSchemaName):
        return CatalogDamagedError(f"the catalog in PostgreSQL is not what was written: {error}")
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
        return StoreTimeoutError(
            f"the catalog in PostgreSQL did not answer in time ({error}); see who holds its locks"
        )
    return StoreError(f"the catalog in PostgreSQL failed: {error}")
