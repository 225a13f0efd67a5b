"""Objects as rows of one table: the statements, and the blocking half of each call.

A read is one statement, and so is a put or a delete, each with its token (see `Link`). An update
reads and locks its rows in one round trip, and writes and commits in another. Rows that are not
there cannot be locked; who loses the race to insert one starts over and then finds it.

An ETag is the token of the write and the digest of the bytes: the first so that equal content never
has an equal ETag, the second so that a change made by hand is noticed too.
"""

import logging
import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import cast

from psycopg import sql

from temporal_state.errors import ConfigurationError, ConflictError, DamagedObjectError, StateError
from temporal_state.storage._postgresql_link import Connection, Link
from temporal_state.storage._postgresql_sql import COMMITS, Statements
from temporal_state.storage._protocol import Change, Object, ObjectInfo

_OLDEST_SERVER = 140_000  # an older one does not say whether it is a standby
_CREATION = 0x74656D706F72616C  # who makes tables holds the advisory lock of this number
_PRUNE_EVERY = 500
_logger = logging.getLogger(__name__)

_SERVER = """
SELECT current_setting('fsync'), current_setting('server_version'),
       to_regclass(%(objects)s) IS NOT NULL AND to_regclass(%(commits)s) IS NOT NULL
"""
_COLLATION = """
SELECT collname FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation
WHERE attrelid = to_regclass(%(objects)s) AND attname = 'key'
"""


class Table:
    """The objects in one schema.

    Args:
        link: Runs what is done here on connections.
        statements: What can be done there.
        schema: The schema to make if it is not there.
        force: Take a server that may forget what it has acknowledged.
    """

    def __init__(
        self, link: Link, statements: Statements, schema: str | None, *, force: bool
    ) -> None:
        self._link = link
        self._sql = statements
        self._schema = schema
        self._force = force

    def prepare(self) -> None:
        """Make the tables if need be, and refuse a server that cannot keep the contract."""
        self._link.once(self._prepare, "open the table of objects")

    def get(self, key: str) -> Object | None:
        """Return the object, or ``None``."""
        found = self._look_up(self._sql.get, key, f"read {key!r}")
        if found is None:
            return None
        data, etag = cast("tuple[bytes, str]", found)
        return Object(data, _etag(etag, data))

    def head(self, key: str) -> ObjectInfo | None:
        """Return size and time, or ``None``."""
        found = self._look_up(self._sql.head, key, f"look up {key!r}")
        if found is None:
            return None
        size, modified = cast("tuple[int, datetime]", found)
        return ObjectInfo(key, size, modified.astimezone(UTC))

    def put(self, key: str, data: bytes, *, if_match: str | None, if_absent: bool) -> str:
        """Write the object if the conditions hold; return its ETag."""
        if if_absent and if_match is not None:
            raise ConflictError(f"{key!r} cannot both be absent and have an ETag; drop a condition")
        unless_absent = self._sql.put if if_match is None else self._sql.replace
        statement = self._sql.create if if_absent else unless_absent
        present, _, digest = (if_match or "").partition("-")
        token = _token()
        arguments = {"data": data, "present": present, "digest": digest}
        if self._write(statement, key, token, f"write {key!r}", **arguments):
            return _etag(token, data)
        problem = "exists already" if if_absent else "is not what was read before"
        raise ConflictError(f"{key!r} {problem}; read it and decide again")

    def delete(self, key: str) -> bool:
        """Remove the object; return whether there was one."""
        return self._write(self._sql.delete, key, _token(), f"delete {key!r}")

    def delete_if_match(self, key: str, etag: str) -> bool:
        """Remove the object if it has this ETag; return whether it had."""
        present, _, digest = etag.partition("-")
        arguments = {"present": present, "digest": digest}
        return self._write(self._sql.remove, key, _token(), f"delete {key!r}", **arguments)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return keys in order."""
        # "~" is the last character of a key.
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\x7f"
        bounds = {"prefix": prefix, "beyond": beyond, "after": after, "limit": max(limit, 0)}

        def select(connection: Connection) -> Sequence[str]:
            rows = connection.execute(self._sql.list, bounds).fetchall()
            return [cast("str", key) for (key,) in rows]

        return self._link.read(select, f"list {prefix!r}")

    def commit(self, changes: Mapping[str, Change]) -> Mapping[str, BaseException]:
        """Read, change and write objects in one transaction; see `Combiner`."""
        token = _token()
        failures: dict[str, BaseException] = {}  # of the try that made the change, if one did

        def attempt(connection: Connection) -> dict[str, BaseException]:
            failures.clear()
            self._commit(connection, changes, token, failures)
            return failures

        what = f"change {next(iter(changes))!r}" + " and others" * (len(changes) > 1)
        done = self._link.change(token, attempt, what, done=failures)
        self._now_and_then_prune()
        return done

    def _commit(
        self,
        connection: Connection,
        changes: Mapping[str, Change],
        token: str,
        failures: dict[str, BaseException],
    ) -> None:
        written = False
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(self._sql.note, {"token": token})
            found = [  # sorted, so that two who want several rows do not wait for each other
                (
                    key,
                    connection.execute(self._sql.lock, {"key": key}, binary=True),
                    connection.execute(self._sql.clash, _place(key)),
                )
                for key in sorted(changes)
            ]
            for key, locked, folder in found:
                row, (clash,) = locked.fetchone(), folder.fetchone() or (None,)
                if clash is not None:
                    failures[key] = _clashing(key, clash)
                    continue
                data = changes[key](None if row is None else cast("bytes", row[0]))
                if data is not None:
                    statement = self._sql.add if row is None else self._sql.change
                    connection.execute(statement, {"key": key, "data": bytes(data), "token": token})
                    written = True
            connection.execute("COMMIT" if written else "ROLLBACK")

    def _look_up(self, query: bytes, key: str, what: str) -> tuple[object, ...] | None:
        def select(connection: Connection) -> tuple[object, ...] | None:
            return connection.execute(query, _place(key), binary=True).fetchone()

        clash, *found = self._link.read(select, what) or (None, None)
        if clash is not None:
            raise _clashing(key, clash)
        return None if found[0] is None else tuple(found)

    def _write(self, statement: bytes, key: str, token: str, what: str, **more: object) -> bool:
        arguments = {**_place(key), "token": token, **more}

        def write(connection: Connection) -> bool:
            clash, written = connection.execute(statement, arguments).fetchone() or ()
            if clash is not None and not written:
                raise _clashing(key, clash)
            return cast("bool", written)

        written = self._link.change(token, write, what, done=True)
        self._now_and_then_prune()
        return written

    def _now_and_then_prune(self) -> None:
        if random.randrange(_PRUNE_EVERY):  # noqa: S311 - no secret
            return
        try:
            self._link.once(lambda connection: connection.execute(self._sql.prune), "prune")
        except StateError as error:  # the change is made, and the next one prunes as well
            _logger.warning("tokens of old changes stay in %s for now: %s", COMMITS, error)

    def _prepare(self, connection: Connection) -> None:
        names = self._sql.names
        row = connection.execute(_SERVER, names).fetchone() or ()
        fsync, version, complete = cast("tuple[str, str, bool]", row)
        if connection.info.server_version < _OLDEST_SERVER:
            raise ConfigurationError(f"the server is PostgreSQL {version}; 14 or newer is needed")
        if fsync != "on" and not self._force:
            raise ConfigurationError(
                "the server runs with fsync = off and would forget acknowledged writes when the "
                "power fails; turn it on, or use PostgresStore(url, force=True) for tests"
            )
        if not complete:
            self._create(connection)
        if connection.execute(_COLLATION, names).fetchone() != ("C",):
            raise ConfigurationError(
                f"the table {names['objects']} is not one of ours: its column key must be text "
                'COLLATE "C"; name another schema in the URL (?schema=…)'
            )

    def _create(self, connection: Connection) -> None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATION])
            if self._schema is not None and not _has_schema(connection, self._schema):
                schema = sql.Identifier(self._schema)
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            connection.execute(self._sql.tables)


def _has_schema(connection: Connection, name: str) -> bool:
    # CREATE … IF NOT EXISTS needs the right to create even if there is nothing to do.
    query = "SELECT FROM pg_namespace WHERE nspname = %s"
    return connection.execute(query, [name]).fetchone() is not None


def _place(key: str) -> dict[str, object]:
    parts = key.split("/")
    return {"key": key, "above": ["/".join(parts[:depth]) for depth in range(1, len(parts))]}


def _clashing(key: str, other: object) -> DamagedObjectError:
    return DamagedObjectError(
        f"cannot use {key!r}: one of it and {other!r} would be the other's folder; give every "
        "object's name a suffix"
    )


def _token() -> str:
    return uuid.uuid4().hex


def _etag(token: str, data: bytes) -> str:
    return f"{token}-{sha256(data).hexdigest()[:32]}"
