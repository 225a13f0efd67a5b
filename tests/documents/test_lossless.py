"""P9: through every entry a value comes back equal, types included, or is refused with its path."""

import math
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from temporal_state import InvalidValueError, StateBackend

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
KEYS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
REFUSED = st.sampled_from(
    [
        *(math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, "\ud800", "a\udfff"),
        *({1: 2}, {None: 1}, {"\ud800": 1}, {"1": 1, 1: 2}, {1, 2}, b"bytes", 1j, object()),
    ]
)


async def by_set(documents, value):
    await documents.set("a", "k", value)


async def by_merge(documents, value):
    await documents.merge("a", {"k": value})


async def by_replace(documents, value):
    await documents.replace("a", {"k": value})


async def by_patch(documents, value):
    await documents.patch("a", {"k": [value]})  # in an array, where None removes nothing


async def by_append(documents, value):
    await documents.append("a", "k", value)


async def by_items(documents, value):
    await documents.append("a", "k", items=[value])


async def by_transaction(documents, value):
    async with documents.transactions.transaction() as tx:
        await tx.merge("a", {"k": value})
        await tx.merge("b", {"k": value})


async def by_replace_in_transaction(documents, value):
    async with documents.transactions.transaction() as tx:
        await tx.replace("a", {"k": value})
        await tx.set("b", "k", value)


async def by_batch(documents, value):
    async with documents.batch() as batch:
        await batch.merge("a", {"k": value})


async def by_appending_batch(documents, value):
    async with documents.batch(interval=timedelta(hours=1)) as batch:
        await batch.append("a", "k", value)


ENTRIES = {
    entry.__name__: entry
    for entry in (
        *(by_set, by_merge, by_replace, by_patch, by_append, by_items, by_transaction),
        *(by_replace_in_transaction, by_batch, by_appending_batch),
    )
}
IN_ARRAYS = {"by_patch", "by_append", "by_items", "by_appending_batch"}


@pytest.fixture
async def documents():
    async with StateBackend.open("memory://", app="tests") as backend:
        yield backend.documents


def same(a, b):
    """Equal as JSON text is: 1 is not 1.0, 0.0 not -0.0, and keys have an order."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_accepted_comes_back_equal_with_its_types(virtually, entry):
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(VALUES, min_size=1, max_size=8))
    @example([True, 1, 1.0, 0.0, -0.0, 5e-324, 1.7976931348623157e308, 2**64 - 1, -(2**63)])
    @example(["", "\0", "\u2028", "\ufeff", "\U0010ffff", "e\u0301", "\u00e9", {"": {"": []}}])
    def run(values):
        async def main():
            async with StateBackend.open("memory://", app="tests") as backend:
                for value in values:
                    await backend.documents.delete("a")
                    await ENTRIES[entry](backend.documents, value)
                    expected = [value] if entry in IN_ARRAYS else value
                    assert same((await backend.documents.get("a"))["k"], expected)

        virtually(main)

    run()


@pytest.mark.parametrize("entry", ENTRIES)
def test_anything_else_is_refused_with_its_path_and_changes_nothing(virtually, entry):
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(REFUSED, st.lists(st.sampled_from(["x", 0]), max_size=3))
    def run(value, around):
        for step in around:
            value = {step: value} if step == "x" else [value]

        async def main():
            async with StateBackend.open("memory://", app="tests") as backend:
                await backend.documents.merge("a", {"kept": 1})
                with pytest.raises(InvalidValueError, match="cannot hold exactly") as error:
                    await ENTRIES[entry](backend.documents, value)
                inside = "".join(f".{step}" if step == "x" else "[0]" for step in reversed(around))
                assert inside in str(error.value)
                assert await backend.documents.get("a") == {"kept": 1}
                assert (await backend.documents.read("a")).version == 1

        virtually(main)

    run()


@pytest.mark.parametrize("by", [math.nan, math.inf, 2**64, "1", None, True, 1j])
async def test_what_cannot_be_added_exactly_is_refused(documents, by):
    for add in (documents.increment, documents.batch().increment):
        with pytest.raises(InvalidValueError):
            await add("a", "k", by)
    assert await documents.get("a") == {}


@pytest.mark.parametrize("key", [1, None, "\ud800", ("a",), b"a"])
@pytest.mark.parametrize("name", ["set", "append", "increment"])
async def test_a_key_that_is_no_text_is_refused(documents, name, key):
    with pytest.raises(InvalidValueError):
        await getattr(documents, name)("a", key, 1)
    assert await documents.get("a") == {}


async def test_nothing_that_was_given_or_returned_is_an_alias_of_what_is_stored(documents):
    given = {"list": [1], "object": {"a": 1}}
    for write in (documents.merge, documents.replace, documents.patch):
        returned = await write("a", given)
        given["list"].append("given")
        returned["list"].append("returned")
        returned["object"]["a"] = "returned"
        found = await documents.get("a")
        found["object"]["a"] = "found"
        assert (await documents.get("a"))["object"] == {"a": 1}
        assert "returned" not in (await documents.get("a"))["list"]
        given["list"].remove("given")
        assert await documents.get("a") == given
    async with documents.transactions.transaction() as tx:
        await tx.merge("b", given)
        given["list"].append(2)
        (await tx.get("b"))["list"].append(3)
    assert (await documents.get("b"))["list"] == [1]
