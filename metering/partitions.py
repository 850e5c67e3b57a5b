"""
The event store's months: made ahead, and watched for rows that have none.

Partitions are made by a function of the database that runs as the schema's owner: the service's role owns no table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from psycopg import errors as pg_errors

from metering import hours

RETENTION: Final = timedelta(days=90)
MAX_AHEAD: Final = timedelta(hours=1)
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)  # no partition is made from here on
_MONTHS_AHEAD: Final = 2

# Which database a connection leads to: asked once for each.
_database_ids: Final[WeakKeyDictionary[Any, int]] = WeakKeyDictionary()

# Months that are known to have their partition, by database: a process asks for each once.
_made: Final[dict[int, set[date]]] = {}


@dataclass(frozen=True, kw_only=True)
class DrainReport:
    """Events moved by month, months left for another run because the event store was busy, events that stay."""

    moved: dict[str, int]
    busy: list[str]
    default_rows: int
    needs_person: bool


@dataclass(frozen=True)
class PartitionsReport:
    """What was made, and how many events lie in the default partition, which must be empty."""

    made: list[str]
    blocked: list[str]
    default_rows: int
    needs_person: bool


def maintain_partitions(*, now: datetime, using: str = DEFAULT_DB_ALIAS) -> PartitionsReport:
    """
    Make the partitions of every month that events may come for: from the retention behind to two months ahead.

    Idempotency: a month that has its partition is left alone. A month whose events lie in the default partition already
    cannot get one until they are moved (``drain_default_partition``), and is reported for a person. ``using`` names
    the connection: ``migrate`` has the owner's.
    Locks: SHARE UPDATE EXCLUSIVE on the event store for each month made; writers go on.
    """
    first = hours.month_of(hours.hour_of(now - RETENTION))
    last = hours.month_after(hours.month_of(hours.hour_of(now)), _MONTHS_AHEAD)
    months = [first]
    while months[-1] < last:
        months.append(hours.month_after(months[-1]))
    outcomes: dict[str, list[date]] = {}
    for month in months:
        with transaction.atomic(using=using):
            outcomes.setdefault(_make(month, using), []).append(month)
    default_rows = count_default_rows(using=using)
    return PartitionsReport(
        made=[f"{month:%Y-%m}" for month in outcomes.get("created", ())],
        blocked=[f"{month:%Y-%m}" for month in outcomes.get("blocked", ())],
        default_rows=default_rows,
        needs_person=default_rows > 0,
    )


def can_be_made(*, using: str) -> bool:
    """Whether the schema has come as far as partitions: a migration in part leaves the event store out."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regprocedure('metering_make_partition(date)') IS NOT NULL")
        return bool(cursor.fetchone()[0])


def drain_default_partition(*, on_month: Callable[[date], None] = lambda _: None) -> DrainReport:
    """
    Give each month whose events lie in the default partition a partition of its own, and move them there.

    Idempotency: what was moved is not found again. Owns its transactions, one a month: all of a month's events or none.
    Locks: writers wait while a month is moved. Whoever holds the event store for longer than 3 s is not waited for.
    """
    moved: dict[str, int] = {}
    busy: list[str] = []
    for month in _list_default_months():
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '3s'")
                cursor.execute("SELECT metering_drain_month(%s)", [month])
                moved[f"{month:%Y-%m}"] = int(cursor.fetchone()[0])
        except OperationalError as error:
            if not isinstance(error.__cause__, pg_errors.LockNotAvailable | pg_errors.DeadlockDetected):
                raise
            busy.append(f"{month:%Y-%m}")
        on_month(month)
    left = count_default_rows()
    return DrainReport(moved=moved, busy=busy, default_rows=left, needs_person=left > 0)


def list_months() -> list[date]:
    """The months that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'metering_event'::regclass AND relname ~ '^metering_event_[0-9]{4}_[0-9]{2}$'",
        )
        names = [name for (name,) in cursor.fetchall()]
    return sorted(date(int(name[-7:-3]), int(name[-2:]), 1) for name in names)


def ensure(*, event_hours: Iterable[int]) -> None:
    """
    Make sure that each hour's month has its partition, before events are written to it.

    A month that cannot get one (its rows lie in the default partition) is left: its events go there too and are
    reported by ``maintain_partitions``, because taking them in matters more than where they lie.
    Locks: those of a new month. Called before the transaction that writes, they last for a moment; in an open
    transaction they last as long as that, and what is made is gone with it.
    """
    known = _made.setdefault(_database_id(), set())
    missing = sorted({hours.month_of(hour) for hour in event_hours} - known)
    if not missing:
        return
    made = {month for month in missing if _make(month) != "blocked"}
    transaction.on_commit(partial(known.update, made))


def count_default_rows(*, using: str = DEFAULT_DB_ALIAS) -> int:
    """How many events lie in the default partition; the index tells quickly that there are none."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_event_default")
        return int(cursor.fetchone()[0])


def _database_id() -> int:
    connection.ensure_connection()
    found = _database_ids.get(connection.connection)
    if found is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
            found = _database_ids[connection.connection] = int(cursor.fetchone()[0])
    return found


def _list_default_months() -> list[date]:
    """The months of events in the default partition that can have a partition at all, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT event_hour FROM metering_event_default WHERE event_hour >= %s AND event_hour < %s",
            [hours.hour_of(EARLIEST), hours.hour_of(LATEST)],
        )
        return sorted({hours.month_of(hour) for (hour,) in cursor.fetchall()})


def _make(month: date, using: str = DEFAULT_DB_ALIAS) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT metering_make_partition(%s)", [month])
        return str(cursor.fetchone()[0])
