"""One connection to a catalog's database, and where its databases are: the seam between the two.

Statements are written once, for SQLite and PostgreSQL, with ``?`` for values. A `Home` knows which
database is the present one, makes fresh ones, and puts a fresh one in the place of the present one
in one step. All of it blocks; it runs on the catalog's own thread.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

Values: TypeAlias = Sequence[Any]


class CatalogMissingError(Exception):
    """There is no database, or it is too old; never leaves the catalog, which makes a new one."""


class CatalogDamagedError(CatalogMissingError):
    """The database is not what was written."""


class CatalogReplacedError(Exception):
    """The database is not the one that was followed; it is asked again."""


class Link(Protocol):
    """A connection."""

    def rows(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        ...

    def run(self, sql: str, values: Values = ()) -> None:
        """Execute a statement."""
        ...

    def many(self, sql: str, values: Iterable[Values]) -> None:
        """Execute a statement for each of several rows of values."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Let all queries of a block see one state."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Let all of a block happen or nothing, and no other writer in between."""
        ...

    def analyze(self, *, quickly: bool) -> None:
        """Gather what the database needs to know of its tables to plan queries."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Home(Protocol):
    """Where the databases of one catalog are."""

    def open(self) -> Link | None:
        """Return a connection to the present database, or ``None`` if there is none."""
        ...

    def is_present(self, link: Link) -> bool:
        """Return whether the connection is still to the present database; cheap."""
        ...

    def fresh(self) -> Link:
        """Return a connection to a new database, which nobody else sees, with its tables."""
        ...

    def publish(self, link: Link) -> Link:
        """Make a fresh database the present one; return a connection to it."""
        ...

    def discard(self, link: Link) -> None:
        """Remove a database that is damaged or was not finished, and let go of it."""
        ...

    def release(self, link: Link) -> None:
        """Let go of a connection that is not needed now."""
        ...
