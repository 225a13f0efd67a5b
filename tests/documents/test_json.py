"""P9: what JSON cannot hold exactly is refused with its path; nothing is changed in silence."""

import dataclasses
import enum
import math
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from temporal_state import InvalidValueError
from temporal_state.documents import dumps, plain, plain_object


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    at: datetime
    many: set[int] = {1}


@dataclasses.dataclass
class Point:
    x: int
    y: tuple[int, ...] = (1, 2)


def deep(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": [1, math.nan]}}, "$.a.b[1]"),
        ({"a": math.inf}, "$.a"),
        ({"a": -math.inf}, "$.a"),
        ({"a": 2**64}, "$.a"),
        ({"a": -(2**63) - 1}, "$.a"),
        ({"a": {1: 2}}, "$.a"),
        ({"a": {None: 2}}, "$.a"),
        ({"1": 2, 1: 3}, "$"),
        ({"a": "\ud800"}, "$.a"),
        ({"\udfff": 1}, "$"),
        ({"a": {1, 2}}, "$.a"),
        ({"a": frozenset()}, "$.a"),
        ({"a": b"bytes"}, "$.a"),
        ({"a": Ellipsis}, "$.a"),
        ({"a": Point}, "$.a"),
        ({"a": deep(300)}, "$.a"),
        ({"a": [Point(2**70)]}, "$.a[0].x"),
        ({"a": 1j}, "$.a"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_json_cannot_hold_is_refused_with_its_path(value, path):
    with pytest.raises(InvalidValueError) as error:
        plain(value)
    assert str(error.value).startswith(path)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(hours=1), "PT1H"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Point(1), {"x": 1, "y": [1, 2]}),
        (Model(at=datetime(2026, 1, 1, tzinfo=UTC)), {"at": "2026-01-01T00:00:00Z", "many": [1]}),
        ((1, 2), [1, 2]),
        ({Colour: 1}.keys(), None),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (-0.0, -0.0),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_pydantic_converts_is_converted(value, stored):
    if stored is None:
        with pytest.raises(InvalidValueError):
            plain(value)
        return
    assert plain(value) == stored
    assert orjson.loads(dumps(plain(value))) == stored


class Anything(BaseModel):
    x: Any = None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (float("nan"), "$.m.x "),
        ([1, float("inf")], "$.m.x[1] "),
        ({float("nan")}, "$.m.x[0] "),
        ({"a": {1: "one", "1": "text"}}, "$.m.x.a "),
        ({None: 1, "None": 2}, "$.m.x "),
        (Anything(x=[float("nan")]), "$.m.x.x[0] "),
        (b"\xff", "$.m "),
        (object(), "$.m "),
        ("\ud800", "$.m.x "),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_pydantic_would_lose_of_a_model_is_refused_with_its_path(value, path):
    with pytest.raises(InvalidValueError) as error:
        plain({"m": Anything(x=value)})
    assert str(error.value).startswith(path)


class Disguised(str):
    __slots__ = ()

    def __str__(self):
        return "other"


def test_a_subclass_is_stored_as_what_it_is():
    assert plain({"a": Disguised("abc"), Disguised("k"): 1}) == {"a": "abc", "k": 1}


def test_a_document_is_an_object():
    with pytest.raises(InvalidValueError, match="JSON object"):
        plain_object([1])


def test_the_result_shares_nothing_with_the_argument():
    inner = [1]
    result = plain({"a": inner})
    inner.append(2)
    assert result == {"a": [1]}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_every_json_value_reads_back_equal(value):
    back = orjson.loads(dumps(plain(value)))
    assert back == value
    assert repr(back) == repr(value)  # also 1 is not 1.0, and -0.0 not 0.0


@given(st.recursive(st.floats() | st.integers() | st.text(st.characters()), st.lists))
def test_any_value_is_refused_or_reads_back_equal(value):
    try:
        stored = plain(value)
    except InvalidValueError:
        return
    assert orjson.loads(dumps(stored)) == value
