"""Times as text: always UTC, always of one length, so that they sort as what they mean."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_state.documents import from_text, to_text

ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES | st.just(UTC))  # noqa: DTZ001 st.datetimes adds the zone


@given(TIMES | TIMES.map(lambda time: time.replace(microsecond=0)))
def test_a_time_reads_back_and_has_one_form(time):
    text = to_text(time)
    assert from_text(text) == time
    assert text == time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


@given(TIMES, TIMES)
def test_text_is_in_the_order_of_the_times(one, other):
    assert (to_text(one) < to_text(other)) == (one < other)


@pytest.mark.parametrize(
    "time", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_the_first_and_the_last_time_have_it_too(time):
    assert from_text(to_text(time)) == time
    assert len(to_text(time)) == 27


class Frozen(datetime):
    """As libraries for tests and for times have them."""


def test_a_kind_of_datetime_is_written_as_any_other():
    for micros in (0, 5):
        time = Frozen(2026, 1, 2, 3, 4, 5, micros, tzinfo=UTC)
        assert to_text(time) == f"2026-01-02T03:04:05.00000{micros}Z"
