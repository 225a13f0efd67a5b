"""All SQL of the catalog: plain, for SQLite and PostgreSQL alike.

Every list goes through an index that has its order, so that a page costs as much as it has rows,
however many runs there are. ``{id}``, ``{bytes}`` and ``{clustered}`` are what the two call
differently.
"""

SCHEMA = 4
LIFETIME = 100 * 365 * 24 * 3_600_000_000
"""Microseconds. Longer only a hand can write, who means that there is no end; it adds nothing to
sums, which would soon be more than an integer holds."""

TABLES = (
    """CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)""",
    """CREATE TABLE runs (
        id {id} PRIMARY KEY, tie BIGINT NOT NULL, namespace TEXT NOT NULL,
        workflow_id TEXT NOT NULL, run_id TEXT NOT NULL, kind TEXT NOT NULL,
        workflow_type TEXT NOT NULL, status TEXT NOT NULL, parent TEXT, parent_run TEXT,
        chain TEXT NOT NULL, source TEXT, started BIGINT NOT NULL, ended BIGINT,
        checkpoints BIGINT NOT NULL, timed BIGINT NOT NULL, writing BIGINT NOT NULL,
        bytes BIGINT NOT NULL, version BIGINT NOT NULL)""",
    # Apart from the columns above, so that what has to scan reads little.
    """CREATE TABLE headers (run {id} PRIMARY KEY, header {bytes} NOT NULL, steps TEXT NOT NULL)""",
    """CREATE TABLE labels (
        namespace TEXT NOT NULL, label TEXT NOT NULL, started BIGINT NOT NULL,
        tie BIGINT NOT NULL, run BIGINT NOT NULL,
        PRIMARY KEY (namespace, label, started, tie)){clustered}""",
    """CREATE TABLE tallies (
        namespace TEXT NOT NULL, grp TEXT NOT NULL, level INTEGER NOT NULL,
        bucket BIGINT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
        number BIGINT NOT NULL, closed BIGINT NOT NULL, micros BIGINT NOT NULL,
        checkpoints BIGINT NOT NULL, timed BIGINT NOT NULL, writing BIGINT NOT NULL,
        bytes BIGINT NOT NULL,
        PRIMARY KEY (namespace, grp, level, bucket, name, status)){clustered}""",
    """CREATE TABLE cursors (writer TEXT PRIMARY KEY, sequence BIGINT NOT NULL)""",
    """CREATE TABLE unsettled (
        writer TEXT NOT NULL, sequence BIGINT NOT NULL, position BIGINT NOT NULL,
        change TEXT NOT NULL, since DOUBLE PRECISION NOT NULL,
        again DOUBLE PRECISION NOT NULL, PRIMARY KEY (writer, sequence, position))""",
    """CREATE TABLE unreadable (place TEXT PRIMARY KEY, reason TEXT NOT NULL)""",
)

FIRST_INDEX = "CREATE UNIQUE INDEX runs_start ON runs (namespace, started, tie)"
# Made when all runs are there, which takes a fraction of the time.
INDEXES = (
    "CREATE INDEX runs_status ON runs (namespace, status, started, tie)",
    "CREATE INDEX runs_type ON runs (namespace, workflow_type, started, tie)",
    "CREATE INDEX runs_type_status ON runs (namespace, workflow_type, status, started, tie)",
    "CREATE INDEX runs_kind ON runs (namespace, kind, started, tie)",
    "CREATE INDEX runs_workflow ON runs (namespace, workflow_id, started, tie)",
    "CREATE INDEX runs_chain ON runs (namespace, chain, started, tie)",
    "CREATE INDEX runs_parent ON runs (namespace, parent, started, tie) WHERE parent IS NOT NULL",
    "CREATE INDEX runs_ended ON runs (namespace, ended, tie) WHERE ended IS NOT NULL",
    """CREATE INDEX runs_status_ended ON runs (namespace, status, ended, tie)
        WHERE ended IS NOT NULL""",
    "CREATE INDEX runs_source ON runs (source, ended) WHERE source IS NOT NULL",
    "CREATE INDEX labels_run ON labels (run)",
)

PLANNED_FOR = ("runs", "headers", "labels", "tallies")
GET_POSITION = "SELECT name, value FROM meta"
GET_NAME = "SELECT value FROM meta WHERE name = 'name'"
SET_META = (
    "INSERT INTO meta (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
RAISE_META = (
    "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET "
    "value = CASE WHEN excluded.value > meta.value THEN excluded.value ELSE meta.value END"
)

LAST_ID = "SELECT COALESCE(MAX(id), 0) FROM runs"
GET_VERSION = "SELECT version FROM runs WHERE namespace = ? AND started = ? AND tie = ?"
GET_COUNTED = (
    "SELECT id, version, workflow_type, status, parent, ended, checkpoints, timed, writing, bytes, "
    "steps FROM runs JOIN headers ON run = id WHERE namespace = ? AND started = ? AND tie = ?"
)
INSERT_RUN = (
    "INSERT INTO runs (id, tie, namespace, workflow_id, run_id, started, kind, workflow_type, "
    "status, parent, parent_run, chain, source, ended, checkpoints, timed, writing, bytes, "
    "version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_RUN = (
    "UPDATE runs SET kind = ?, workflow_type = ?, status = ?, parent = ?, parent_run = ?, "
    "chain = ?, source = ?, ended = ?, checkpoints = ?, timed = ?, writing = ?, bytes = ?, "
    "version = ? WHERE id = ?"
)
DELETE_RUN = "DELETE FROM runs WHERE id = ?"
INSERT_HEADER = "INSERT INTO headers (run, header, steps) VALUES (?, ?, ?)"
UPDATE_HEADER = "UPDATE headers SET header = ?, steps = ? WHERE run = ?"
DELETE_HEADER = "DELETE FROM headers WHERE run = ?"
GET_LABELS = "SELECT label FROM labels WHERE run = ?"
INSERT_LABEL = "INSERT INTO labels (namespace, label, started, tie, run) VALUES (?, ?, ?, ?, ?)"
DELETE_LABELS = "DELETE FROM labels WHERE run = ?"
ADD_TALLY = (
    "INSERT INTO tallies (namespace, grp, level, bucket, name, status, number, closed, micros, "
    "checkpoints, timed, writing, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (namespace, grp, level, bucket, name, status) DO UPDATE SET "
    "number = tallies.number + excluded.number, closed = tallies.closed + excluded.closed, "
    "micros = tallies.micros + excluded.micros, "
    "checkpoints = tallies.checkpoints + excluded.checkpoints, "
    "timed = tallies.timed + excluded.timed, writing = tallies.writing + excluded.writing, "
    "bytes = tallies.bytes + excluded.bytes"
)

GET_CURSORS = "SELECT writer, sequence FROM cursors WHERE writer >= ?"
SET_CURSOR = (
    "INSERT INTO cursors (writer, sequence) VALUES (?, ?) ON CONFLICT (writer) DO UPDATE SET "
    "sequence = CASE WHEN excluded.sequence > cursors.sequence "
    "THEN excluded.sequence ELSE cursors.sequence END"
)
DROP_CURSORS = "DELETE FROM cursors WHERE writer < ?"
GET_UNSETTLED = (
    "SELECT writer, sequence, position, change, since, again FROM unsettled ORDER BY again LIMIT ?"
)
SET_UNSETTLED = (
    "INSERT INTO unsettled (writer, sequence, position, change, since, again) "
    "VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (writer, sequence, position) DO UPDATE SET again = excluded.again"
)
DELETE_UNSETTLED = "DELETE FROM unsettled WHERE writer = ? AND sequence = ? AND position = ?"
SET_UNREADABLE = (
    "INSERT INTO unreadable (place, reason) VALUES (?, ?) "
    "ON CONFLICT (place) DO UPDATE SET reason = excluded.reason"
)
DELETE_UNREADABLE = "DELETE FROM unreadable WHERE place = ?"
# What statistics are made of, each part with the same columns, so that one query finds them all.
_SUMS = (
    "CAST(SUM(number) AS BIGINT), CAST(SUM(closed) AS BIGINT), CAST(SUM(micros) AS BIGINT), "
    "CAST(SUM(checkpoints) AS BIGINT), CAST(SUM(timed) AS BIGINT), CAST(SUM(writing) AS BIGINT), "
    "CAST(SUM(bytes) AS BIGINT)"
)
_TALLIES = (
    "FROM tallies WHERE namespace = ? AND grp IN (?, ?, ?) AND level = ? AND bucket >= ? "
    "AND bucket < ?"
)
_STARTED = "FROM runs WHERE namespace = ? AND started >= ? AND started < ?"
TALLIES = (
    "SELECT grp, name, status, number, closed, micros, checkpoints, timed, writing, bytes "
    f"{_TALLIES}"
)
SUM_TALLIES = f"SELECT grp, name, status, {_SUMS} {_TALLIES} GROUP BY grp, name, status"
SUM_RUNS = (
    "SELECT CASE WHEN parent IS NULL THEN 'run' ELSE 'child run' END, workflow_type, status, "
    "COUNT(*), COUNT(ended), CAST(SUM(CASE WHEN ended - started BETWEEN 0 AND ? "
    "THEN ended - started ELSE 0 END) AS BIGINT), CAST(SUM(checkpoints) AS BIGINT), "
    "CAST(SUM(timed) AS BIGINT), CAST(SUM(writing) AS BIGINT), CAST(SUM(bytes) AS BIGINT) "
    f"{_STARTED} GROUP BY 1, 2, 3"
)
LATE_TALLIES = (
    "SELECT 'late', '', status, number, 0, 0, 0, 0, 0, 0 FROM tallies WHERE namespace = ? "
    "AND grp = 'status' AND level = ? AND bucket >= ? AND bucket < ?"
)
COUNT_LATE = f"SELECT 'late', '', status, COUNT(*), 0, 0, 0, 0, 0, 0 {_STARTED} GROUP BY status"
COUNT_UNREADABLE = "SELECT 'unreadable', '', '', COUNT(*), 0, 0, 0, 0, 0, 0 FROM unreadable"

COUNT_LABEL = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM labels WHERE namespace = ? AND label = ? LIMIT ?) AS found"
)
COUNT_ENDED = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE namespace = ? AND ended IS NOT NULL "
    "AND ended >= ? AND ended < ? LIMIT ?) AS found"
)


SOURCES = (
    "SELECT source, workflow_id, run_id, CASE WHEN ended IS NULL THEN 1 ELSE 0 END FROM runs "
    "WHERE source IS NOT NULL"
)
IS_RESUMED = "SELECT 1 FROM runs WHERE source = ? LIMIT 1"


def count_by(name: str) -> str:
    """Return the query that counts the runs with a value in a column that has an index."""
    return (
        f"SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE namespace = ? AND {name} = ? "  # noqa: S608 a name of ours
        "LIMIT ?) AS found"
    )
