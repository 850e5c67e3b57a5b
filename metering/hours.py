"""Hours counted from 1970: the unit of windows, of partitions and of the event store's order."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = 3600
_DAY_SECONDS: Final = 86_400


def hour_of(moment: datetime) -> int:
    """The hour that an aware moment lies in."""
    since = moment - EPOCH
    return (since.days * _DAY_SECONDS + since.seconds) // _SECONDS


def first_hour_from(moment: datetime) -> int:
    """The first hour that begins at or after an aware moment."""
    hour = hour_of(moment)
    return hour if start_of(hour) == moment else hour + 1


def start_of(hour: int) -> datetime:
    """The moment at which an hour begins."""
    return EPOCH + timedelta(hours=hour)


def month_of(hour: int) -> date:
    """The first day of the month, in UTC, that an hour lies in."""
    return start_of(hour).date().replace(day=1)


def month_after(month: date, count: int = 1) -> date:
    """The first day of the month ``count`` months later (earlier where negative)."""
    years, month_index = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(years, month_index + 1, 1)
