"""
The event store's months: made ahead, and watched for rows that have none.

Partitions are made by a function of the database that runs as the schema's owner: the service's role owns no table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from django.db import connection, transaction

from metering import hours

RETENTION: Final = timedelta(days=90)
MAX_AHEAD: Final = timedelta(hours=1)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)  # no partition is made from here on
_MONTHS_AHEAD: Final = 2

# Months that are known to have their partition, by database: a process asks for each once.
_made: Final[dict[int, set[date]]] = {}


@dataclass(frozen=True)
class PartitionsReport:
    """What was made, and how many events lie in the default partition, which must be empty."""

    made: list[str]
    blocked: list[str]
    default_rows: int
    needs_person: bool


def maintain_partitions(*, now: datetime) -> PartitionsReport:
    """
    Make the partitions of every month that events may come for: from the retention behind to two months ahead.

    Idempotency: a month that has its partition is left alone. A month whose events lie in the default partition already
    cannot get one until they are moved, and is reported for a person.
    Locks: SHARE UPDATE EXCLUSIVE on the event store for each month made; writers go on.
    """
    first = hours.month_of(hours.hour_of(now - RETENTION))
    last = hours.month_after(hours.month_of(hours.hour_of(now)), _MONTHS_AHEAD)
    months = [first]
    while months[-1] < last:
        months.append(hours.month_after(months[-1]))
    outcomes: dict[str, list[date]] = {}
    for month in months:
        with transaction.atomic():
            outcomes.setdefault(_make(month), []).append(month)
    default_rows = count_default_rows()
    return PartitionsReport(
        made=[f"{month:%Y-%m}" for month in outcomes.get("created", ())],
        blocked=[f"{month:%Y-%m}" for month in outcomes.get("blocked", ())],
        default_rows=default_rows,
        needs_person=default_rows > 0,
    )


def ensure(*, event_hours: Iterable[int], database_id: int) -> None:
    """
    Make sure that each hour's month has its partition, before events are written to it.

    A month that cannot get one (its rows lie in the default partition) is left: its events go there too and are
    reported by ``maintain_partitions``, because taking them in matters more than where they lie.
    Requires an open transaction; what it makes is gone with it.
    """
    known = _made.setdefault(database_id, set())
    missing = sorted({hours.month_of(hour) for hour in event_hours} - known)
    if not missing:
        return
    made = {month for month in missing if _make(month) != "blocked"}
    transaction.on_commit(partial(known.update, made))


def count_default_rows() -> int:
    """How many events lie in the default partition; the index tells quickly that there are none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_event_default")
        return int(cursor.fetchone()[0])


def _make(month: date) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_make_partition(%s)", [month])
        return str(cursor.fetchone()[0])
