"""Increment, append, JSON Merge Patch and expected versions, on every store."""

import asyncio
import copy
import json
import pickle
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from temporal_state import (
    ConflictError,
    InvalidDocumentError,
    InvalidValueError,
    StateBackend,
    TooLargeError,
    VersionConflictError,
)
from temporal_state.documents import Caller, Limits, Token
from temporal_state.documents._edits import merge_patch

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["local", "memory"])
async def backend(request, tmp_path):
    url = "memory://" if request.param == "memory" else tmp_path / "store"
    async with StateBackend.open(url, app="tests") as opened:
        yield opened


@pytest.fixture
def documents(backend):
    return backend.documents


def at(documents, time):
    return documents.on_behalf_of(Caller(now=time))


def by(documents, step):
    return documents.on_behalf_of(Caller(NOON, Token(step, NOON)))


async def version(documents, id="a"):
    document = await documents.read(id)
    return 0 if document is None else document.version


async def test_increment_counts_a_missing_key_from_0_and_returns_the_sum(documents):
    assert await documents.increment("a", "n") == 1
    assert await documents.increment("a", "n", 41) == 42
    assert await documents.increment("a", "n", -50) == -8
    assert await documents.increment("a", "x", 0.5) == 0.5
    assert await documents.increment("a", "x", 2.5) == 3.0
    assert await documents.get("a") == {"n": -8, "x": 3.0}
    assert await version(documents) == 5


async def test_32_concurrent_increments_lose_none(documents):
    sums = await asyncio.gather(*(documents.increment("a", "n") for _ in range(32)))
    assert sorted(sums) == list(range(1, 33))
    assert await documents.get("a") == {"n": 32}


@pytest.mark.parametrize("value", [True, "1", None, [1], {"n": 1}])
async def test_what_is_no_number_is_not_incremented_and_named(documents, value):
    await documents.set("a", "count", value)
    with pytest.raises(InvalidValueError, match=r"workflows/a: key 'count' is .*, no number"):
        await documents.increment("a", "count")
    assert await documents.get("a") == {"count": value}
    assert await version(documents) == 1


@pytest.mark.parametrize("by", [True, "1", None, float("nan"), float("inf"), 2**64, [1]])
async def test_what_is_no_number_cannot_be_added(documents, by):
    with pytest.raises(InvalidValueError, match="by "):
        await documents.increment("a", "n", by)
    assert not await documents.exists("a")


@pytest.mark.parametrize(
    ("value", "by"),
    [
        (2**64 - 1, 1),
        (-(2**63), -1),
        (1.7e308, 1.7e308),
        (1e16, 1),  # as a float it would stay what it is, for ever
        (2**60 + 1, 0.5),
        (2**60 + 1, 0.0),
        (0.5, 2**60 + 1),
    ],
)
async def test_a_sum_that_json_cannot_hold_exactly_is_refused(documents, value, by):
    await documents.set("a", "n", value)
    with pytest.raises(InvalidValueError, match="'n'"):
        await documents.increment("a", "n", by)
    assert await documents.get("a") == {"n": value}


async def test_the_bounds_of_64_bits_can_be_reached(documents):
    await documents.replace("a", {"high": 2**64 - 2, "low": 1 - 2**63})
    assert await documents.increment("a", "high") == 2**64 - 1
    assert await documents.increment("a", "low", -1) == -(2**63)


async def test_append_makes_the_array_and_returns_its_length(documents):
    assert await documents.append("a", "log", "x") == 1
    assert await documents.append("a", "log", "y", {"z": None}, items=[1, [2]]) == 5
    assert await documents.append("a", "log") == 5
    assert await documents.get("a") == {"log": ["x", "y", {"z": None}, 1, [2]]}


async def test_append_with_a_limit_keeps_the_newest(documents):
    assert await documents.append("a", "log", items=[1, 2, 3], limit=2) == 2
    assert await documents.append("a", "log", 4, limit=2) == 2
    assert await documents.get("a") == {"log": [3, 4]}
    assert await documents.append("a", "log", items=[5, 6, 7], limit=1) == 1
    assert await documents.append("a", "log", limit=10) == 1
    assert await documents.get("a") == {"log": [7]}


async def test_concurrent_appends_all_arrive(documents):
    await asyncio.gather(*(documents.append("a", "log", n) for n in range(32)))
    assert sorted((await documents.get("a"))["log"]) == list(range(32))


@pytest.mark.parametrize("value", ["text", None, 1, {"0": "x"}])
async def test_what_is_no_array_is_not_appended_to(documents, value):
    await documents.set("a", "log", value)
    with pytest.raises(InvalidValueError, match=r"key 'log' is .*, no array"):
        await documents.append("a", "log", 1)
    assert await documents.get("a") == {"log": value}


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
async def test_a_limit_is_an_integer_above_zero(documents, limit):
    with pytest.raises(InvalidValueError, match="limit="):
        await documents.append("a", "log", 1, limit=limit)


@pytest.mark.parametrize("items", ["abc", {"a": 1}, {1}, None])
async def test_items_are_a_list(documents, items):
    with pytest.raises(InvalidValueError, match="items"):
        await documents.append("a", "log", items=items)


async def test_an_item_that_json_cannot_hold_is_refused_with_its_place(documents):
    with pytest.raises(InvalidValueError, match=r"items\[1\]"):
        await documents.append("a", "log", 1, float("nan"))


async def test_an_array_grown_over_the_limit_is_refused_and_stays(tmp_path):
    async with StateBackend.open(tmp_path, limits=Limits(document_bytes=100)) as backend:
        await backend.documents.append("a", "log", "x" * 50)
        with pytest.raises(TooLargeError):
            await backend.documents.append("a", "log", "x" * 50)
        assert await backend.documents.get("a") == {"log": ["x" * 50]}


RFC_7386_APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "change", "result"), RFC_7386_APPENDIX_A)
async def test_patch_does_what_the_rfc_shows(documents, original, change, result):
    original, change, result = map(json.loads, (original, change, result))
    before = copy.deepcopy(original)
    assert merge_patch(original, change) == result
    assert original == before
    if isinstance(original, dict):
        await documents.replace("a", original)
        if isinstance(change, dict):
            assert await documents.patch("a", change) == result
        else:
            with pytest.raises(InvalidValueError, match="a document is a JSON object"):
                await documents.patch("a", change)
        assert await documents.get("a") == (result if isinstance(change, dict) else original)


def values(nulls):
    leaves = st.booleans() | st.integers(-9, 9) | st.floats(0, 2) | st.text("abé", max_size=2)
    leaves = leaves | st.none() if nulls else leaves
    keys = st.text("abc", max_size=1)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner),
        max_leaves=9,
    )


def objects(nulls=False):
    return st.dictionaries(st.text("abc", max_size=1), values(nulls))


def text(value):
    """JSON tells 1, 1.0 and true apart, and Python does not."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def diff(a, b):
    """Return the merge patch that makes ``b`` of ``a``; ``b`` has no null, which no patch sets."""
    if not isinstance(a, dict) or not isinstance(b, dict):
        return b
    change = {key: None for key in a if key not in b}
    for key, value in b.items():
        if key not in a or text(a[key]) != text(value):
            change[key] = diff(a.get(key), value)
    return change


@given(objects(nulls=True), objects())
def test_a_patch_made_of_a_difference_makes_the_difference(a, b):
    assert text(merge_patch(a, diff(a, b))) == text(b)


@given(objects(nulls=True), objects(nulls=True))
def test_a_patch_applied_twice_is_applied_once(a, change):
    once = merge_patch(a, change)
    assert text(merge_patch(once, change)) == text(once)


async def test_a_patch_keeps_what_it_does_not_name(documents):
    await documents.merge("a", {"limits": {"cpu": 1, "ram": 2}, "name": "x"})
    assert await documents.patch("a", {"limits": {"cpu": None, "disk": 3}}) == {
        "limits": {"ram": 2, "disk": 3},
        "name": "x",
    }
    assert await version(documents) == 2


async def test_a_patch_of_nothing_makes_a_document(documents):
    assert await documents.patch("a", {"x": {"y": None, "z": 1}}) == {"x": {"z": 1}}


@pytest.mark.parametrize("change", [{"$temporal_state": None}, {"$temporal_state": {"version": 9}}])
async def test_the_reserved_key_cannot_be_patched(documents, change):
    await documents.set("a", "k", 1)
    with pytest.raises(InvalidValueError, match="reserved"):
        await documents.patch("a", change)
    assert await version(documents) == 1


@pytest.mark.parametrize("key", ["$temporal_state", 1, "\ud800"])
async def test_no_operation_takes_a_key_that_no_document_has(documents, key):
    with pytest.raises(InvalidValueError):
        await documents.increment("a", key)
    with pytest.raises(InvalidValueError):
        await documents.append("a", key, 1)


async def test_a_patch_too_deep_is_refused(documents):
    deep = 1
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(InvalidValueError, match="levels deep"):
        await documents.patch("a", deep)


async def test_what_changes_a_value_in_place_keeps_its_lifetime(documents):
    await at(documents, NOON).merge("a", {"n": 1, "log": [1], "o": {"x": 1}}, ttl=HOUR)
    soon = at(documents, NOON + HOUR / 2)
    await soon.increment("a", "n")
    await soon.append("a", "log", 2)
    await soon.patch("a", {"o": {"y": 2}})
    assert await soon.get("a") == {"n": 2, "log": [1, 2], "o": {"x": 1, "y": 2}}
    assert await at(documents, NOON + HOUR).get("a") == {}


async def test_what_has_expired_is_missing(documents):
    await at(documents, NOON).merge("a", {"n": 7, "log": [7], "o": {"x": 7}}, ttl=HOUR)
    late = at(documents, NOON + HOUR)
    assert await late.increment("a", "n") == 1
    assert await late.append("a", "log", 1) == 1
    assert await late.patch("a", {"o": {"y": 1}}) == {"n": 1, "log": [1], "o": {"y": 1}}
    assert await at(documents, NOON + 9 * HOUR).get("a") == {"n": 1, "log": [1], "o": {"y": 1}}


@pytest.mark.parametrize("value", [1, [2], "text"])
async def test_a_value_that_a_patch_sets_loses_the_lifetime_of_the_former(documents, value):
    await at(documents, NOON).merge("a", {"k": {"x": 1}, "gone": 1}, ttl=HOUR)
    await at(documents, NOON).patch("a", {"k": value, "gone": None})
    await at(documents, NOON).set("a", "gone", 2)
    assert await at(documents, NOON + 9 * HOUR).get("a") == {"k": value, "gone": 2}


async def test_an_object_patched_over_another_value_loses_its_lifetime(documents):
    await at(documents, NOON).set("a", "k", 1, ttl=HOUR)
    await at(documents, NOON).patch("a", {"k": {"x": 1}})
    assert await at(documents, NOON + 9 * HOUR).get("a") == {"k": {"x": 1}}


CHANGES = {
    "set": lambda d, **o: d.set("a", "k", "new", **o),
    "merge": lambda d, **o: d.merge("a", {"k": "new"}, **o),
    "replace": lambda d, **o: d.replace("a", {"k": "new"}, **o),
    "patch": lambda d, **o: d.patch("a", {"k": "new"}, **o),
    "increment": lambda d, **o: d.increment("a", "n", **o),
    "append": lambda d, **o: d.append("a", "log", "new", **o),
    "delete": lambda d, **o: d.delete("a", **o),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
async def test_a_change_of_the_expected_version_is_made(documents, change):
    await documents.merge("a", {"old": 1})
    await change(documents, if_version=1)
    assert await documents.get("a") != {"old": 1}


@every_change
@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_a_change_of_another_version_is_a_conflict_with_both(documents, change, expected):
    await documents.merge("a", {"old": 1})
    await documents.merge("a", {"old": 2})
    with pytest.raises(VersionConflictError, match="workflows/a has version 2") as conflict:
        await change(documents, if_version=expected)
    assert (conflict.value.expected, conflict.value.actual) == (expected, 2)
    assert isinstance(conflict.value, ConflictError)
    assert not conflict.value.retryable
    assert await documents.get("a") == {"old": 2}
    assert await version(documents) == 2


@every_change
async def test_version_0_is_an_absent_document_and_makes_one(documents, change):
    with pytest.raises(VersionConflictError) as conflict:
        await change(documents, if_version=1)
    assert (conflict.value.expected, conflict.value.actual) == (1, 0)
    assert not await documents.exists("a")
    await change(documents, if_version=0)
    assert await documents.exists("a") == (change is not CHANGES["delete"])


@every_change
async def test_a_deleted_document_is_absent_and_goes_on_counting(documents, change):
    await documents.merge("a", {"old": 1})
    await documents.delete("a")
    with pytest.raises(VersionConflictError) as conflict:
        await change(documents, if_version=2)
    assert conflict.value.actual == 0
    await change(documents, if_version=0)
    if change is not CHANGES["delete"]:  # so who knows version 1 of before is never mistaken
        assert await version(documents) == 3


async def test_an_expired_document_is_absent(documents):
    await at(documents, NOON).replace("a", {"k": 1}, ttl=HOUR)
    late = at(documents, NOON + HOUR)
    with pytest.raises(VersionConflictError):
        await late.merge("a", {"k": 2}, if_version=1)
    assert await late.merge("a", {"k": 2}, if_version=0) == {"k": 2}


@every_change
async def test_a_file_of_another_tool_has_version_0(backend, documents, change):
    key = backend.layout.document("a", "workflows").key
    await backend.store.put(key, b'{"mine": true}')
    with pytest.raises(VersionConflictError):
        await change(documents, if_version=1)
    assert await documents.get("a") == {"mine": True}
    await change(documents, if_version=0)
    assert await documents.get("a") != {"mine": True}


@every_change
async def test_a_repeated_change_is_no_conflict_and_answers_as_the_first(documents, change):
    await documents.merge("a", {"old": 1})
    first = await change(by(documents, "one"), if_version=1)
    after = await documents.get("a")
    assert await change(by(documents, "one"), if_version=1) == first
    assert await documents.get("a") == after
    assert await version(documents) in {0, 2}
    with pytest.raises(VersionConflictError):
        await change(by(documents, "two"), if_version=1)


async def test_repeated_increments_and_appends_return_what_they_returned(documents):
    assert await by(documents, "i").increment("a", "n", 5) == 5
    assert await by(documents, "a").append("a", "log", "x") == 1
    await documents.increment("a", "n", 5)
    await documents.append("a", "log", "y")
    assert await by(documents, "i").increment("a", "n", 5) == 5
    assert await by(documents, "a").append("a", "log", "x") == 1
    assert await documents.get("a") == {"n": 10, "log": ["x", "y"]}


@pytest.mark.parametrize("expected", [-1, True, "1", 1.0])
async def test_an_expected_version_is_an_integer(documents, expected):
    with pytest.raises(InvalidValueError, match="if_version="):
        await documents.merge("a", {"k": 1}, if_version=expected)


async def test_of_writers_that_expect_one_version_exactly_one_wins(documents):
    await documents.merge("a", {"winner": None})
    outcomes = await asyncio.gather(
        *(documents.merge("a", {"winner": n}, if_version=1) for n in range(16)),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    assert won == [await documents.get("a")]
    assert {type(o) for o in outcomes if o not in won} == {VersionConflictError}


async def test_read_decide_write_loses_nothing(documents):
    async def add(n):
        while True:
            document = await documents.read("a")
            known = [] if document is None else document.value["all"]
            expected = 0 if document is None else document.version
            try:
                await documents.merge("a", {"all": [*known, n]}, if_version=expected)
            except VersionConflictError:
                continue
            return

    await asyncio.gather(*(add(n) for n in range(12)))
    assert sorted((await documents.get("a"))["all"]) == list(range(12))


class Order(BaseModel):
    total: int = 0


async def test_a_model_is_saved_at_its_version_and_names_the_field_that_does_not_fit(documents):
    assert await documents.save("a", Order(total=1), if_version=0) == Order(total=1)
    with pytest.raises(VersionConflictError):
        await documents.save("a", Order(total=2), if_version=0)
    assert await documents.save("a", Order(total=3), if_version=1) == Order(total=3)
    await documents.append("a", "log", 1)
    await documents.set("a", "total", "hunter2")
    with pytest.raises(InvalidDocumentError, match="total"):
        await documents.load("a", Order)


def test_a_conflict_keeps_both_versions_when_it_is_copied():
    error = VersionConflictError("what", 1, 2)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.expected, twin.actual) == ("what", 1, 2)
