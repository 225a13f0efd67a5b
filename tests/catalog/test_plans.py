"""A catalog that has grown by following is searched as one that was built of the same runs."""

from datetime import timedelta

import pytest
from catalog_runs import NOON, header

from temporal_state.documents import Layout, to_text
from temporal_state.runs import RunRef
from temporal_state.runs._refs import RunLayout
from temporal_state.runs.catalog import _sql
from temporal_state.runs.catalog._asked import filter_of
from temporal_state.runs.catalog._rows import row_of
from temporal_state.runs.catalog._select import Part, select
from temporal_state.runs.catalog._sqlite import MemoryHome, SqliteLink
from temporal_state.runs.catalog._standing import finish
from temporal_state.runs.catalog._writes import Batch, Seen, insert, write

PLACES = RunLayout(Layout("tests"))
NUMBER, AT_ONCE = 1600, 400


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request):
    if request.param == "sqlite":
        return MemoryHome(5)
    from temporal_state.runs.catalog._postgresql import PostgresHome

    return PostgresHome(request.getfixturevalue("postgres_url"), "planned", 5)


def row(n: int):
    ref = RunRef("default", f"order-{n}", f"run-{n}", NOON + timedelta(minutes=n))
    parent = {"namespace": "default", "workflow_id": f"boss-{n % 50}", "run_id": "b"}
    changes = {
        "status": "failed" if n % 50 == 0 else "completed",
        "ended": to_text(ref.started + timedelta(minutes=n % 100)),
        "workflow_type": f"Type{n % 20}",
        "chain": f"chain-{n % 500}",
        "parent": parent if n % 10 == 0 else None,
        "metadata": {"customer": n % 300, "env": "prod"},
    }
    return ref, row_of(PLACES.run(ref), header(ref, **changes), [], 1000)


ASKED = [
    {},
    {"status": "failed"},
    {"workflow_type": "Type7"},
    {"workflow_type": "Type7", "status": "failed"},
    {"workflow_id": "order-7"},
    {"parent": "boss-0"},
    {"chain": "chain-7"},
    {"kind": "workflow"},
    {"metadata": {"customer": 7}},
    {"metadata": {"env": "prod"}, "workflow_type": "Type7"},
    {"since": NOON + timedelta(hours=3), "status": "failed"},
]


def plan_of(link, asked) -> str:
    wanted = filter_of(namespace="default", **asked)
    sql, values = select(wanted, Part(limit=20))
    if isinstance(link, SqliteLink):
        assert link.rows("SELECT * FROM sqlite_stat1 WHERE tbl = 'runs'")
        return "\n".join(line for *_, line in link.rows(f"EXPLAIN QUERY PLAN {sql}", values))
    return "\n".join(line for (line,) in link.rows(f"EXPLAIN (COSTS OFF) {sql}", values))


def without_housekeeping(link):
    """Let the server not vacuum one of two catalogs in the middle of the comparison."""
    if not isinstance(link, SqliteLink):
        for table in _sql.PLANNED_FOR:
            link.run(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    return link


def test_a_catalog_that_grew_is_searched_as_one_that_was_built(home):
    rows = [row(n) for n in range(NUMBER)]
    grown, built = without_housekeeping(home.fresh()), without_housekeeping(home.fresh())
    try:
        finish(grown)  # of a store that was empty
        for start in range(0, NUMBER, AT_ONCE):
            some = rows[start : start + AT_ONCE]
            seen = [Seen(PLACES.run(ref), ref, one.tie, one) for ref, one in some]
            assert write(grown, Batch(seen)) == []
        insert(built, [one for _, one in rows])
        finish(built)
        for asked in ASKED:
            assert plan_of(grown, asked) == plan_of(built, asked), asked
        assert "runs_type_status" in plan_of(grown, ASKED[3])
    finally:
        home.discard(grown)
        home.discard(built)
