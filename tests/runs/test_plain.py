"""What is known of runs survives its way over Temporal as JSON."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from temporal_state.runs import (
    ChainRef,
    Failure,
    Progress,
    Run,
    Snapshot,
    Source,
    Step,
    TraceContext,
    Value,
    from_plain,
    to_plain,
)
from temporal_state.runs._records import Start

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TIMES = st.datetimes(timezones=st.just(UTC))
SPANS_OF_TIME = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9))
VALUES = st.builds(Value, st.text(), st.none() | st.binary())
STARTS = st.builds(
    Start,
    SPANS_OF_TIME,
    st.none(),
    SPANS_OF_TIME,
    st.none(),
    st.dictionaries(st.text(), VALUES),
    st.just({}),
)
HOMES = st.builds(ChainRef) | st.builds(Source, way=st.just(("a", "continued")))
RUNS = st.builds(
    Run,
    started=TIMES,
    ended=st.none() | TIMES,
    updated=TIMES,
    progress=st.none() | st.builds(Progress, st.integers(), st.none(), st.text()),
    input=st.lists(VALUES, max_size=2),
    result=st.none() | VALUES,
    error=st.none() | st.builds(Failure),
    start=st.none() | STARTS,
    home=st.none() | HOMES,
    resumed_from=st.none() | st.builds(Source, way=st.just(())),
    metadata=st.just({"a": [1, {"b": None}]}),
    trace=st.none() | st.builds(TraceContext),
)


@given(RUNS)
def test_a_run_survives_its_way_as_json(run):
    assert from_plain(Run, json.loads(json.dumps(to_plain(run)))) == run


def test_so_do_a_step_and_a_snapshot():
    step = Step(
        1,
        "activity",
        "load",
        "1",
        None,
        "completed",
        NOON,
        NOON,
        None,
        None,
        1,
        "w",
        None,
        Value("binary/plain", b"\xff"),
        [],
        None,
        None,
        trace=TraceContext("a", "b"),
    )
    assert from_plain(Step, json.loads(json.dumps(to_plain(step)))) == step
    snapshot = Snapshot("s", NOON, {"type": "t", "id": "i"}, None, 1, {"a": {"b": [1]}}, {})
    assert from_plain(Snapshot, json.loads(json.dumps(to_plain(snapshot)))) == snapshot
