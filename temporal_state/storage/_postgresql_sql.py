"""The statements on the tables of one schema.

Each that changes something also stores its token if, and only if, it changes something. Each looks
for keys that are a folder of this one or have this one as a folder: such objects cannot lie in
other stores.
"""

from typing import LiteralString

from psycopg import sql

OBJECTS = "temporal_state_objects"
COMMITS = "temporal_state_commits"

_TABLES = """
CREATE TABLE IF NOT EXISTS {objects} (
    key text COLLATE "C" PRIMARY KEY,
    data bytea NOT NULL,
    etag text NOT NULL DEFAULT '',
    modified timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {commits} (
    token text PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS temporal_state_commits_time ON {commits} (time)
"""
_CLASH = """coalesce(
    (SELECT key FROM {objects} WHERE key > %(key)s::text || '/' AND key < %(key)s::text || '0'
     LIMIT 1),
    (SELECT key FROM {objects} WHERE key = ANY(%(above)s::text[]) LIMIT 1))
"""
_GET = """
SELECT {clash}, data, etag FROM (SELECT) AS one LEFT JOIN {objects} ON key = %(key)s::text
"""
_HEAD = """
SELECT {clash}, octet_length(data), modified
FROM (SELECT) AS one LEFT JOIN {objects} ON key = %(key)s::text
"""
_LIST = """
SELECT key FROM {objects}
WHERE key >= %(prefix)s::text AND key < %(beyond)s::text AND key > %(after)s::text
ORDER BY key LIMIT %(limit)s
"""
_PUT = """
WITH written AS (
    INSERT INTO {objects} (key, data, etag)
    SELECT %(key)s::text, %(data)b::bytea, %(token)s::text WHERE {clash} IS NULL
    ON CONFLICT (key) DO UPDATE SET data = excluded.data, etag = excluded.etag, modified = now()
    RETURNING 1
), {stored}
"""
_CREATE = """
WITH written AS (
    INSERT INTO {objects} (key, data, etag)
    SELECT %(key)s::text, %(data)b::bytea, %(token)s::text WHERE {clash} IS NULL
    ON CONFLICT (key) DO NOTHING RETURNING 1
), {stored}
"""
_REPLACE = """
WITH written AS (
    UPDATE {objects} SET data = %(data)b, etag = %(token)s, modified = now()
    WHERE key = %(key)s::text AND {clash} IS NULL AND etag = %(present)s::text
      AND left(encode(sha256(data), 'hex'), 32) = %(digest)s::text
    RETURNING 1
), {stored}
"""
_DELETE = """
WITH written AS (
    DELETE FROM {objects} WHERE key = %(key)s::text AND {clash} IS NULL RETURNING 1
), {stored}
"""
_REMOVE = """
WITH written AS (
    DELETE FROM {objects} WHERE key = %(key)s::text AND {clash} IS NULL
      AND etag = %(present)s::text
      AND left(encode(sha256(data), 'hex'), 32) = %(digest)s::text
    RETURNING 1
), {stored}
"""
_STORED = """stored AS (
    INSERT INTO {commits} (token) SELECT %(token)s::text FROM written RETURNING token
)
SELECT {clash}, EXISTS (SELECT FROM stored)
"""
_LOCK = "SELECT data FROM {objects} WHERE key = %(key)s::text FOR UPDATE"
_ADD = "INSERT INTO {objects} (key, data, etag) VALUES (%(key)s, %(data)b, %(token)s)"
_CHANGE = """
UPDATE {objects} SET data = %(data)b, etag = %(token)s, modified = now() WHERE key = %(key)s
"""
_NOTE = "INSERT INTO {commits} (token) VALUES (%(token)s)"
_CLAIM = "INSERT INTO {commits} (token) VALUES (%(token)s) ON CONFLICT DO NOTHING RETURNING token"
_PRUNE = """
DELETE FROM {commits} WHERE token IN (
    SELECT token FROM {commits} WHERE time < now() - interval '1 hour'
    LIMIT 5000 FOR UPDATE SKIP LOCKED
)
"""


class Statements:
    """What can be executed, by name.

    Args:
        schema: The schema of the tables; ``None`` goes by the search path.
    """

    def __init__(self, schema: str | None) -> None:
        path = () if schema is None else (schema,)
        objects, commits = sql.Identifier(*path, OBJECTS), sql.Identifier(*path, COMMITS)
        clash = sql.SQL(_CLASH).format(objects=objects)
        stored = sql.SQL(_STORED).format(commits=commits, clash=clash)

        def render(statement: LiteralString) -> bytes:
            composed = sql.SQL(statement).format(
                objects=objects, commits=commits, clash=clash, stored=stored
            )
            return composed.as_bytes()

        self.names = {"objects": objects.as_string(), "commits": commits.as_string()}
        self.tables = render(_TABLES)
        self.get = render(_GET)
        self.head = render(_HEAD)
        self.list = render(_LIST)
        self.put = render(_PUT)
        self.create = render(_CREATE)
        self.replace = render(_REPLACE)
        self.delete = render(_DELETE)
        self.remove = render(_REMOVE)
        self.lock = render(_LOCK)
        self.clash = render("SELECT {clash}")
        self.add = render(_ADD)
        self.change = render(_CHANGE)
        self.note = render(_NOTE)
        self.claim = render(_CLAIM)
        self.prune = render(_PRUNE)
