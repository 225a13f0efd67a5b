"""Whatever is asked, the catalog answers what a look at every record would."""

from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from catalog_runs import NOON, header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from temporal_state.documents import Layout, from_text, to_text
from temporal_state.runs import RunRef
from temporal_state.runs._refs import RunLayout
from temporal_state.runs.catalog._asked import filter_of
from temporal_state.runs.catalog._reads import find, statistics
from temporal_state.runs.catalog._rows import micros_of, row_of, run_of
from temporal_state.runs.catalog._select import FIRST, LAST, Part
from temporal_state.runs.catalog._sqlite import MemoryHome
from temporal_state.runs.catalog._standing import finish
from temporal_state.runs.catalog._writes import Batch, Seen, insert, versions, write

PLACES = RunLayout(Layout("tests"))
STATUSES = ["running", "failed", "completed", "timed_out"]
times = st.integers(0, 200).map(lambda n: NOON + timedelta(minutes=17 * n, microseconds=n % 3))
values = st.recursive(
    st.sampled_from([1, 1.0, True, "1", None, [1], ""]),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
notes = st.dictionaries(st.sampled_from("abc"), values, max_size=2)


writings = st.lists(st.none() | st.integers(1, 10**7), max_size=3)


def point(number: int, took: int | None):
    told = {"number": number, "name": f"p{number}"}
    return told if took is None else {**told, "took": took}


@st.composite
def records(draw):
    found = []
    for n in range(draw(st.integers(0, 25))):
        ref = RunRef("default", draw(st.sampled_from("xyz")), f"r{n}", draw(times))
        status = draw(st.sampled_from(STATUSES))
        took = timedelta(minutes=draw(st.integers(-5, 600)))
        parent = {"namespace": "default", "workflow_id": draw(st.sampled_from("pq")), "run_id": "b"}
        changes = {
            "status": status,
            "workflow_type": draw(st.sampled_from(["A", "B"])),
            "ended": None if status == "running" else to_text(ref.started + took),
            "parent": parent if draw(st.booleans()) else None,
            "chain": draw(st.sampled_from(["c1", "c2"])),
            "kind": draw(st.sampled_from(["workflow", "manual"])),
            "metadata": draw(notes),
            "checkpoints": [point(n, took) for n, took in enumerate(draw(writings), 1)],
        }
        found.append((ref, header(ref, **changes)))
    return found


filters = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(STATUSES) | st.sets(st.sampled_from(STATUSES), min_size=1),
        "workflow_type": st.sampled_from(["A", "B", "C"]),
        "workflow_id": st.sampled_from("xyz"),
        "parent": st.sampled_from("pq"),
        "chain": st.sampled_from(["c1", "c2"]),
        "kind": st.sampled_from(["workflow", "manual"]),
        "metadata": notes,
        "since": times,
        "until": times,
        "ended_since": times,
        "ended_until": times,
    },
)


def contains(whole, part) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(whole, bool) or isinstance(part, bool):
        return whole is part
    return whole == part and not isinstance(whole, dict)


def end_of(record):
    ended = record["ended"]
    return None if ended is None else max(from_text(ended), from_text(record["started"]))


def wanted(record, asked) -> bool:
    status, end, start = asked.get("status"), end_of(record), from_text(record["started"])
    statuses = {status} if isinstance(status, str) else status
    parent = (record["parent"] or {}).get("workflow_id")
    plain = ("workflow_type", "workflow_id", "chain", "kind")
    return (
        (statuses is None or record["status"] in statuses)
        and all(asked.get(name, record[name]) == record[name] for name in plain)
        and asked.get("parent", parent) == parent
        and contains(record["metadata"], asked.get("metadata", {}))
        and ("since" not in asked or start >= asked["since"])
        and ("until" not in asked or start < asked["until"])
        and ("ended_since" not in asked or (end is not None and end >= asked["ended_since"]))
        and ("ended_until" not in asked or (end is not None and end < asked["ended_until"]))
    )


def rows_of(found):
    return [row_of(PLACES.run(ref), record, [], 100) for ref, record in found]


@pytest.fixture
def home(postgres_url):
    from temporal_state.runs.catalog._postgresql import PostgresHome

    return PostgresHome(postgres_url, "scanned", 5)


def filled(home, found):
    link = home.fresh()
    insert(link, rows_of(found))
    finish(link)
    return link


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(records(), st.lists(filters, min_size=1, max_size=8), st.integers(1, 7), st.integers(0, 5))
def test_a_list_is_what_a_scan_finds_page_by_page(found, asked, limit, offset):
    link = filled(MemoryHome(5), found)
    for few in (2, 2000):  # however the query is planned
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("temporal_state.runs.catalog._reads.FEW", few)
            compare(link, found, asked, limit, offset)
    link.close()


@settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    found=records(),
    asked=st.lists(filters, min_size=4, max_size=12),
    moments=st.tuples(times, times, times),
)
def test_the_other_database_answers_alike(home, found, asked, moments):
    link, local = filled(home, found), filled(MemoryHome(5), found)
    try:
        compare(link, found, asked, 3, 1)
        since, until, now = map(micros_of, moments)
        for window in ((FIRST, LAST), (since, LAST), (FIRST, until), (since, until)):
            summed = partial(
                statistics, namespace="default", since=window[0], until=window[1], now=now
            )
            assert summed(link) == summed(local)
    finally:
        home.discard(link)
        local.close()


def compare(link, found, asked, limit, offset) -> None:
    keys = {ref.run_id: row.tie for (ref, _), row in zip(found, rows_of(found), strict=True)}
    order = sorted(found, key=lambda one: (one[0].started, keys[one[0].run_id]), reverse=True)
    for one in asked:
        expected = [ref.run_id for ref, record in order if wanted(record, one)]
        filter = filter_of(namespace="default", **one)
        page = find(link, filter, Part(limit=None, offset=offset))
        assert [run_of(h).run_id for h in page.headers] == expected[offset:]
        seen, after = [], None
        while True:
            page = find(link, filter, Part(limit=limit, after=after))
            seen += [run_of(h).run_id for h in page.headers]
            after = page.last
            if after is None:
                break
        assert seen == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records(), records(), st.none() | times, st.none() | times, times)
def test_sums_are_those_of_a_scan_after_any_changes(before, after, since, until, asked_at):
    link = filled(MemoryHome(5), before)
    now = dict(after)
    for ref, _ in before:
        now.setdefault(ref, None)
    by_ref = dict(before)
    places = [(ref, row_tie(ref)) for ref in now]
    seen = [
        Seen(
            PLACES.run(ref),
            ref,
            tie,
            None if now[ref] is None else row_of(PLACES.run(ref), now[ref], [], 100),
            version=version,
        )
        for (ref, tie), version in zip(places, versions(link, places), strict=True)
    ]
    assert [one.version is not None for one in seen] == [ref in by_ref for ref in now]
    assert write(link, Batch(seen)) == []
    window = [
        record
        for ref, record in after
        if (since is None or ref.started >= since) and (until is None or ref.started < until)
    ]
    stats = statistics(
        link,
        namespace="default",
        since=FIRST if since is None else micros_of(since),
        until=LAST if until is None else micros_of(until),
        now=micros_of(asked_at),
    )
    link.close()
    a_day_ago = asked_at - timedelta(days=1)
    assert stats.last_24_hours == Counter(r["status"] for f, r in after if f.started >= a_day_ago)
    assert stats.total == len(window)
    assert stats.by_status == Counter(r["status"] for r in window)
    assert stats.by_type == Counter(r["workflow_type"] for r in window)
    assert stats.background_by_status == Counter(r["status"] for r in window if r["parent"])
    assert stats.bytes == 100 * len(window)
    assert stats.checkpoints == sum(len(r["checkpoints"]) for r in window)
    writing = [one["took"] for r in window for one in r["checkpoints"] if "took" in one]
    mean = timedelta(microseconds=sum(writing) / len(writing)) if writing else None
    assert stats.average_checkpoint_time == mean
    durations = [end_of(r) - from_text(r["started"]) for r in window if r["ended"]]
    average = sum(durations, timedelta()) / len(durations) if durations else None
    assert (stats.average_duration is None) == (average is None)
    if average is not None:
        assert abs(stats.average_duration - average) <= timedelta(microseconds=1)


def test_the_last_day_begins_at_its_microsecond_and_has_no_end():
    now, tick = NOON + timedelta(minutes=20), timedelta(microseconds=1)
    begun, hour = now - timedelta(days=1), NOON - timedelta(hours=23)
    within = [begun, begun + tick, hour - tick, hour, now, now + timedelta(days=40_000)]
    refs = [RunRef("default", "x", f"r{n}", at) for n, at in enumerate([begun - tick, *within])]
    link = filled(MemoryHome(5), [(ref, header(ref)) for ref in refs])
    for since in (FIRST, micros_of(now)):  # the window is another matter
        stats = statistics(link, namespace="default", since=since, until=LAST, now=micros_of(now))
        assert stats.last_24_hours == {"running": len(within)}
    link.close()


def row_tie(ref) -> int:
    from temporal_state.runs.catalog._rows import tie_of

    return tie_of(PLACES.run(ref))


def test_one_whose_row_changed_meanwhile_is_left_out():
    ref = RunRef("default", "x", "r", NOON)
    link = filled(MemoryHome(5), [(ref, header(ref))])
    ((_, tie),) = places = [(ref, row_tie(ref))]
    (version,) = versions(link, places)
    newer = row_of(PLACES.run(ref), header(ref, status="completed"), [], 1)
    older = row_of(PLACES.run(ref), header(ref, status="failed"), [], 1)
    first = Seen(PLACES.run(ref), ref, tie, newer, version=version)
    second = Seen(PLACES.run(ref), ref, tie, older, version=version)
    assert write(link, Batch([first])) == []
    assert write(link, Batch([second], cursors={"w": 5})) == [second]
    assert link.rows("SELECT status FROM runs") == [("completed",)]
    assert link.rows("SELECT * FROM cursors") == []
