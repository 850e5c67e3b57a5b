"""
Billing periods: where they turn, and how many days they have.

Pure calendar. A boundary is a midnight in the subscription's time zone, told as a moment in UTC; where a zone skips
midnight, it is the first moment of that day. Periods are half-open. Boundaries are always counted from the anchor,
never from the boundary before: the 31st falls on the 28th in February and is back on the 31st in March.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

Interval = Literal["month", "year"]
Anchor = Literal["start", "calendar"]

_MONTHS: dict[str, int] = {"month": 1, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """``starts_at <= t < ends_at``."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """
    When a subscription's periods turn.

    ``starts_at`` is its first boundary, a local midnight. Anchored on the ``start``, periods turn on that day of the
    month (or of the year); on the ``calendar``, on the first of the month (or of January): the first may be partial.
    """

    starts_at: datetime
    interval: Interval
    anchor: Anchor
    time_zone: str

    def next_after(self, boundary: datetime) -> datetime:
        """The first boundary after a moment; the start itself where the moment is before it."""
        if boundary < self.starts_at:
            return self.starts_at
        # In the month of the moment its turn may be past or still to come.
        step = self._step_at(boundary)
        return next(turn for turn in map(self._turn, range(step, step + 3)) if turn > boundary)

    def period_ending(self, boundary: datetime) -> Period | None:
        """The period that ends at a boundary; None at the start, where nothing ended."""
        if boundary <= self.starts_at:
            return None
        return Period(max(self._turn_before(boundary), self.starts_at), boundary)

    def period_beginning(self, boundary: datetime) -> Period:
        """The period that begins at a boundary."""
        return Period(boundary, self.next_after(boundary))

    def whole_period(self, period: Period) -> Period:
        """The full period of which this is a part: itself, unless it is a partial first one of the calendar."""
        return Period(self._turn_before(period.ends_at), period.ends_at)

    def _turn_before(self, boundary: datetime) -> datetime:
        step = self._step_at(boundary)
        return next(turn for turn in map(self._turn, range(step, step - 3, -1)) if turn < boundary)

    def _anchor_day(self) -> date:
        day = local_day(self.starts_at, self.time_zone)
        if self.anchor == "start":
            return day
        return day.replace(day=1) if self.interval == "month" else day.replace(month=1, day=1)

    def _step_at(self, moment: datetime) -> int:
        """Which turn lies in the month (or year) of a moment."""
        anchor, day = self._anchor_day(), local_day(moment, self.time_zone)
        months = (day.year - anchor.year) * 12 + day.month - anchor.month
        return months // _MONTHS[self.interval]

    def _turn(self, step: int) -> datetime:
        """The turn ``step`` periods after the anchor."""
        return local_midnight(_add_months(self._anchor_day(), step * _MONTHS[self.interval]), self.time_zone)


def local_day(moment: datetime, time_zone: str) -> date:
    """The calendar day of a moment in a time zone."""
    return moment.astimezone(ZoneInfo(time_zone)).date()


def local_midnight(day: date, time_zone: str) -> datetime:
    """
    The first moment of a day in a time zone, in UTC.

    ``fold=0`` takes the earlier of two midnights, and for a midnight that is skipped the moment of the jump.
    """
    return datetime.combine(day, time.min, tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def midnight_on_or_before(moment: datetime, time_zone: str) -> datetime:
    """The local midnight that began the day of a moment."""
    return local_midnight(local_day(moment, time_zone), time_zone)


def days_in(period: Period, time_zone: str) -> int:
    """How many calendar days a period has in a time zone; an hour gained or lost to daylight saving does not count."""
    return (local_day(period.ends_at, time_zone) - local_day(period.starts_at, time_zone)).days


def _add_months(day: date, months: int) -> date:
    """The same day some months later, or the last day of a month that has no such day."""
    years, month = divmod(day.month - 1 + months, 12)
    year = day.year + years
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))
