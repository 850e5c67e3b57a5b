"""Hours counted from 1970."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering import hours

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001  (hypothesis adds the zone)
    max_value=datetime(2199, 12, 31),  # noqa: DTZ001
    timezones=st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters))),
)


class TestHourOf:
    @given(moments)
    def test_holds_the_moment(self, moment: datetime) -> None:
        start = hours.start_of(hours.hour_of(moment))
        assert start <= moment < start + timedelta(hours=1)

    def test_begins_with_its_first_microsecond(self) -> None:
        turn = datetime(2026, 11, 1, tzinfo=UTC)
        assert hours.hour_of(turn) == hours.hour_of(turn - timedelta(microseconds=1)) + 1


class TestFirstHourFrom:
    @given(moments)
    def test_is_the_first_that_begins_at_or_after(self, moment: datetime) -> None:
        start = hours.start_of(hours.first_hour_from(moment))
        assert moment <= start < moment + timedelta(hours=1)


class TestMonthAfter:
    @pytest.mark.parametrize(
        ("month", "count", "expected"),
        [
            (date(2026, 11, 1), 1, date(2026, 12, 1)),
            (date(2026, 12, 1), 1, date(2027, 1, 1)),
            (date(2026, 11, 1), 14, date(2028, 1, 1)),
            (date(2026, 1, 1), -1, date(2025, 12, 1)),
        ],
    )
    def test_turns_the_year(self, month: date, count: int, expected: date) -> None:
        assert hours.month_after(month, count) == expected
