"""P6: what several writers saw becomes one record, in whatever order and however often."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from temporal_state.runs._merge import merge_attempt, merge_run, merge_step

# What happens to one step number: calls at growing clocks, each with an end after it or without.
histories = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "completed", "failed"])),
    min_size=1,
    max_size=5,
)


def parts_of(history):
    """Return what the workflow side tells of a number that was given out again and again."""
    parts = []
    for index, (key, status) in enumerate(history):
        call = {"kind": "activity", "name": key, "key": key, "clock": 2 * index}
        step = {"call": call}
        if status is not None:
            step["end"] = {"status": status, "clock": 2 * index + 1}
        parts.append(step)
    return parts


@given(histories, st.randoms(use_true_random=False))
def test_steps_merge_to_the_same_in_any_order(history, random):
    parts = parts_of(history)
    expected = reduce(merge_step, parts, None)
    shuffled = [*parts, *parts]
    random.shuffle(shuffled)
    merged = reduce(merge_step, shuffled, None)
    assert merged["call"] == expected["call"] == parts[-1]["call"]
    assert merged.get("end") == expected.get("end")


@given(histories)
def test_a_number_given_to_another_call_forgets_the_end_of_the_one_before(history):
    merged = reduce(merge_step, parts_of(history), None)
    last_key, last_status = history[-1]
    if last_status is None and all(key != last_key for key, _ in history[:-1]):
        assert "end" not in merged


def told(name, key, clock, *, guessed=False, end=None):
    call = {"kind": "activity", "name": name, "key": key, "clock": clock}
    step = {"call": {**call, "guessed": True} if guessed else call}
    return step if end is None else {**step, "end": {"status": end, "clock": clock}}


@given(st.permutations(range(3)), st.integers(0, 9))
def test_a_guessed_place_gives_way_to_what_a_worker_saw_whenever_that_comes(order, clock):
    seen = told("a", "key-a", 5, end="completed")
    parts = [seen, told("b", None, clock, guessed=True, end="failed"), seen]
    assert reduce(merge_step, [parts[i] for i in order], None) == seen


@given(st.permutations(range(3)))
def test_a_call_without_its_key_is_the_one_that_has_it(order):
    seen = told("a", "key-a", 5)
    parts = [seen, told("a", None, 5, guessed=True, end="completed"), told("a", None, 5)]
    merged = reduce(merge_step, [parts[i] for i in order], None)
    assert merged["call"]["key"] == "key-a"
    assert merged["end"]["status"] == "completed"


attempts = st.lists(
    st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=6, unique_by=lambda a: a[0]
)


@given(attempts, st.randoms(use_true_random=False))
def test_the_newest_attempt_wins_and_an_end_is_never_taken_back(seen, random):
    told = []
    for number, ended in seen:
        start = {"attempt": number, "started": f"2026-01-0{number}", "status": "started"}
        told.append(start)
        if ended:
            told.append({**start, "status": "completed", "ended": f"2026-01-0{number}"})
    random.shuffle(told)
    merged = reduce(merge_attempt, [*told, *told], None)
    newest, ended = max(seen)
    assert merged["attempt"] == newest
    assert merged["status"] == ("completed" if ended else "started")


headers = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["running", "completed"])),
    min_size=1,
    max_size=6,
    unique_by=lambda header: header[0],
)


@given(headers, st.randoms(use_true_random=False))
def test_the_newest_header_wins_and_nothing_known_only_once_is_lost(seen, random):
    told = [
        {
            "clock": clock,
            "status": status,
            "input": ["kept"] if index == 0 else [],
            "synced": clock,
            "checkpoints": [{"number": clock, "step": clock}],
        }
        for index, (clock, status) in enumerate(seen)
    ]
    random.shuffle(told)
    merged = reduce(merge_run, [*told, *told], {})
    newest, status = max(seen)
    assert (merged["clock"], merged["status"], merged["input"]) == (newest, status, ["kept"])
    assert merged["synced"] == newest
    assert [c["number"] for c in merged["checkpoints"]] == sorted(clock for clock, _ in seen)


notes = st.lists(
    st.tuples(st.integers(0, 9), st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))),
    min_size=1,
    max_size=6,
    unique_by=lambda note: note[0],
)


@given(notes, st.randoms(use_true_random=False))
def test_of_each_note_of_a_run_the_newest_holds_in_any_order(seen, random):
    told = [{"clock": clock, "metadata": metadata} for clock, metadata in seen]
    random.shuffle(told)
    merged = reduce(merge_run, [*told, *told], {})
    expected = {
        key: value
        for _, metadata in sorted(seen, key=lambda n: n[0])
        for key, value in metadata.items()
    }
    assert merged.get("metadata", {}) == expected


def test_a_local_activity_that_is_run_again_begins_with_attempt_1():
    before = {"attempt": 3, "started": "2026-01-01T00:00:00.000Z", "status": "failed"}
    again = {"attempt": 1, "started": "2026-01-01T00:00:05.000Z", "status": "completed"}
    assert merge_attempt(before, again) == merge_attempt(again, before) == again
