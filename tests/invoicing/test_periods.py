"""Billing periods over short months, leap days, daylight saving and zones at :45."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing import periods


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _schedule(
    start: str, *, interval: periods.Interval = "month", anchor: periods.Anchor = "start", zone: str = "UTC"
) -> periods.Schedule:
    starts_at = periods.local_midnight(date.fromisoformat(start), zone)
    return periods.Schedule(starts_at=starts_at, interval=interval, anchor=anchor, time_zone=zone)


def _days(schedule: periods.Schedule, count: int) -> list[str]:
    """The local days on which the first boundaries fall, the start among them."""
    boundary, days = schedule.starts_at, []
    for _ in range(count):
        days.append(periods.local_day(boundary, schedule.time_zone).isoformat())
        boundary = schedule.next_after(boundary)
    return days


ZONES = [
    "UTC",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "America/New_York",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Africa/Cairo",
]
schedules = st.builds(
    lambda day, interval, anchor, zone: periods.Schedule(
        starts_at=periods.local_midnight(day, zone), interval=interval, anchor=anchor, time_zone=zone
    ),
    st.dates(date(2000, 1, 1), date(2090, 12, 31)),
    st.sampled_from(["month", "year"]),
    st.sampled_from(["start", "calendar"]),
    st.sampled_from(ZONES),
)


class TestNextAfter:
    def test_brings_the_31st_to_the_last_day_of_shorter_months_and_back(self) -> None:
        assert _days(_schedule("2026-12-31"), 5) == [
            "2026-12-31",
            "2027-01-31",
            "2027-02-28",
            "2027-03-31",
            "2027-04-30",
        ]

    def test_falls_on_the_leap_day_in_leap_years(self) -> None:
        assert _days(_schedule("2027-12-30"), 4) == ["2027-12-30", "2028-01-30", "2028-02-29", "2028-03-30"]

    def test_keeps_a_yearly_leap_day(self) -> None:
        assert _days(_schedule("2024-02-29", interval="year"), 5) == [
            "2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29",
        ]  # fmt: skip

    def test_turns_on_the_first_of_the_month_by_the_calendar(self) -> None:
        assert _days(_schedule("2026-11-15", anchor="calendar"), 3) == ["2026-11-15", "2026-12-01", "2027-01-01"]

    def test_has_no_partial_period_when_the_calendar_is_met(self) -> None:
        assert _days(_schedule("2026-11-01", anchor="calendar"), 3) == ["2026-11-01", "2026-12-01", "2027-01-01"]

    def test_turns_in_january_by_the_yearly_calendar(self) -> None:
        days = _days(_schedule("2026-11-15", interval="year", anchor="calendar"), 3)

        assert days == ["2026-11-15", "2027-01-01", "2028-01-01"]

    def test_answers_the_start_before_the_start(self) -> None:
        schedule = _schedule("2026-11-15")

        assert schedule.next_after(_utc("2020-01-01")) == schedule.starts_at

    def test_takes_any_moment_inside_a_period(self) -> None:
        assert _schedule("2026-01-31").next_after(_utc("2026-02-28T00:00:00")) == _utc("2026-03-31")
        assert _schedule("2026-01-31").next_after(_utc("2026-02-27T23:59:59")) == _utc("2026-02-28")

    def test_turns_at_midnight_in_kathmandu(self) -> None:
        schedule = _schedule("2026-11-01", zone="Asia/Kathmandu")

        assert schedule.starts_at == _utc("2026-10-31T18:15:00")
        assert schedule.next_after(schedule.starts_at) == _utc("2026-11-30T18:15:00")

    def test_keeps_local_midnight_over_daylight_saving(self) -> None:
        schedule = _schedule("2026-02-15", zone="America/New_York")
        first = schedule.next_after(schedule.starts_at)

        assert schedule.starts_at == _utc("2026-02-15T05:00:00")
        assert first == _utc("2026-03-15T04:00:00")

    @given(schedule=schedules, turns=st.integers(1, 30))
    def test_leaves_no_gap_and_no_overlap(self, schedule: periods.Schedule, turns: int) -> None:
        boundary = schedule.starts_at
        for _ in range(turns):
            following = schedule.next_after(boundary)

            assert following > boundary
            assert schedule.period_beginning(boundary) == periods.Period(boundary, following)
            assert schedule.period_ending(following) == periods.Period(boundary, following)
            boundary = following

    @given(schedule=schedules, turns=st.integers(1, 30))
    def test_always_turns_at_the_first_moment_of_a_local_day(self, schedule: periods.Schedule, turns: int) -> None:
        boundary = schedule.starts_at
        for _ in range(turns):
            boundary = schedule.next_after(boundary)
            just_before = boundary - timedelta(microseconds=1)

            assert periods.local_day(just_before, schedule.time_zone) < periods.local_day(boundary, schedule.time_zone)


class TestPeriodEnding:
    def test_finds_nothing_at_the_start(self) -> None:
        schedule = _schedule("2026-11-15")

        assert schedule.period_ending(schedule.starts_at) is None

    def test_begins_the_partial_first_period_at_the_start(self) -> None:
        schedule = _schedule("2026-11-15", anchor="calendar")

        assert schedule.period_ending(_utc("2026-12-01")) == periods.Period(_utc("2026-11-15"), _utc("2026-12-01"))


class TestWholePeriod:
    def test_is_the_calendar_month_of_a_partial_period(self) -> None:
        schedule = _schedule("2026-10-15", anchor="calendar")
        partial = periods.Period(_utc("2026-10-15"), _utc("2026-11-01"))
        whole = schedule.whole_period(partial)

        assert whole == periods.Period(_utc("2026-10-01"), _utc("2026-11-01"))
        assert (periods.days_in(partial, "UTC"), periods.days_in(whole, "UTC")) == (17, 31)

    @given(schedule=schedules)
    def test_is_the_period_itself_after_the_first(self, schedule: periods.Schedule) -> None:
        period = schedule.period_beginning(schedule.next_after(schedule.starts_at))

        assert schedule.whole_period(period) == period

    @given(schedule=schedules.filter(lambda schedule: schedule.anchor == "start"))
    def test_is_never_partial_when_anchored_on_the_start(self, schedule: periods.Schedule) -> None:
        first = schedule.period_beginning(schedule.starts_at)

        assert schedule.whole_period(first) == first


class TestLocalMidnight:
    def test_is_the_moment_of_the_jump_where_midnight_is_skipped(self) -> None:
        # In São Paulo the clocks went from 00:00 to 01:00 on 2018-11-04.
        moment = periods.local_midnight(date(2018, 11, 4), "America/Sao_Paulo")

        assert moment == _utc("2018-11-04T03:00:00")
        assert moment.astimezone(ZoneInfo("America/Sao_Paulo")).hour == 1

    def test_is_the_earlier_of_two_midnights(self) -> None:
        # In Havana the clocks went from 01:00 back to 00:00 on 2026-11-01.
        assert periods.local_midnight(date(2026, 11, 1), "America/Havana") == _utc("2026-11-01T04:00:00")


class TestMidnightOnOrBefore:
    @pytest.mark.parametrize(
        ("moment", "zone", "midnight"),
        [
            ("2026-11-10T15:30:00", "UTC", "2026-11-10T00:00:00"),
            ("2026-11-10T00:00:00", "UTC", "2026-11-10T00:00:00"),
            ("2026-11-10T18:14:59", "Asia/Kathmandu", "2026-11-09T18:15:00"),
            ("2026-11-10T18:15:00", "Asia/Kathmandu", "2026-11-10T18:15:00"),
        ],
    )
    def test_begins_the_local_day_of_the_moment(self, moment: str, zone: str, midnight: str) -> None:
        assert periods.midnight_on_or_before(_utc(moment), zone) == _utc(midnight)


class TestDaysIn:
    @pytest.mark.parametrize(
        ("start", "end", "zone", "days"),
        [
            ("2028-02-01", "2028-03-01", "UTC", 29),
            ("2026-03-01", "2026-04-01", "Europe/Berlin", 31),
            ("2026-10-01", "2026-11-01", "Europe/Berlin", 31),
            ("2026-11-01", "2026-12-01", "Asia/Kathmandu", 30),
        ],
    )
    def test_counts_days_and_not_hours(self, start: str, end: str, zone: str, days: int) -> None:
        period = periods.Period(
            periods.local_midnight(date.fromisoformat(start), zone),
            periods.local_midnight(date.fromisoformat(end), zone),
        )

        assert periods.days_in(period, zone) == days
