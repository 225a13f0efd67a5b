"""The table of writers that every object in a bucket carries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_state.storage._writers import KEPT, Writers

names = st.text("abcXYZ019_-", min_size=1, max_size=8)
commits = st.lists(st.tuples(names, st.integers(1, 10**12)), max_size=120)


def table(entries):
    made = Writers()
    for writer, number in entries:
        made = made.having(writer, number)
    return made


@given(commits)
def test_a_table_comes_back_from_its_text(entries):
    made = table(entries)
    assert Writers.parse(str(made)) == made


@given(commits, names)
def test_the_latest_commit_is_always_known(entries, writer):
    made = table(entries).having(writer, 7)
    assert made.has(writer, 6)
    assert made.has(writer, 7)
    assert not made.has(writer, 8)


@given(commits, names, commits)
def test_a_commit_is_either_known_or_may_have_been_dropped(before, writer, after):
    base = table(before)
    now = base.having(writer, 10**12)
    for name, number in after:
        if name != writer:
            now = now.having(name, number)
    assert now.has(writer, 10**12) or now.may_have_dropped(base)


def test_a_commit_that_never_was_is_seldom_thought_dropped():
    base = table([(f"w{n}", 1) for n in range(KEPT)])
    assert not base.may_have_dropped(base)
    assert not base.having("other", 1).may_have_dropped(base)
    assert not Writers().may_have_dropped(base)  # replaced by a plain put


def test_a_full_table_fits_into_the_metadata_of_s3():
    assert len(str(table([(f"writer{n:02}", 10**9) for n in range(200)]))) < 1500


@pytest.mark.parametrize("text", ["", ",", "a", "a:", ":1", "a:x", "a:1:2", "\u00e9:1", "a:-1"])
def test_what_is_no_entry_is_left_out(text):
    assert Writers.parse(text) == Writers()
    assert Writers.parse(f"{text},w:3").has("w", 3)
