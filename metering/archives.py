"""
The life of a month after its retention: sealed, archived, dropped, and restored where somebody needs it again.

A sealed month takes no event from anyone; the database refuses them under the name ``SEALED``. The door refuses them
first, as ``period_archived``, by what ``dropped_months`` answers. Each step is decided by the database, which refuses
to drop a month whose archive it has not found equal to it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import DatabaseError, OperationalError, connection, transaction
from psycopg import errors as pg_errors

from billing_site.kernel import database
from metering import errors, hours, models, partitions
from metering.lake import export, layout, store

SEALED: Final = "metering_event_month_is_archived"  # the constraint under which a sealed month refuses an event
QUIET: Final = timedelta(days=7)  # a month that events still arrive for (a backfill) is left alone
RESTORED: Final = timedelta(days=30)  # how long a restored month stays before it is archived again
_CACHE_SECONDS: Final = 30.0
_LOCK_TIMEOUT: Final = "3s"  # all writers queue behind whoever waits for the event store; better to come back later
_LOCK_REFUSALS: Final = (pg_errors.LockNotAvailable, pg_errors.DeadlockDetected)

# By database: when it was read (monotonic), and the months.
_cached: Final[dict[str, tuple[float, frozenset[date]]]] = {}


@dataclass(kw_only=True)
class ArchiveReport:
    """
    What one run did, by month: ``archived`` (sealed, written, read back, found equal) and ``dropped``.

    ``waiting`` months were left for the next run, with the reason; ``failed`` ones need a person.
    """

    archived: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    events: int = 0

    needs_person: bool = False


def archive_events(
    *,
    now: datetime,
    months: Sequence[date] = (),
    drops: Sequence[date] | None = None,
    on_day: Callable[[date], None] = lambda _: None,
) -> ArchiveReport:
    """
    Archive the months that ended more than the retention (90 days) ago, and drop them from the database.

    ``months`` names others, which must be over. ``drops`` limits which of them are dropped; default all.

    Idempotency: a month goes on where the last run left it, day by day; what was archived lies where it lay. Two runs
    beside each other do the same work twice, to the same end. Owns its transactions, many small ones.
    Locks: for the moment in which a month is sealed, the month; in which it is dropped, the event store, 3 s at most.

    Raises:
        errors.ArchiveNotConfigured: there is nowhere to archive to.
    """
    if not store.is_configured():
        raise errors.ArchiveNotConfigured("ARCHIVE_URL is not set: nothing is archived, and nothing dropped")
    report = ArchiveReport()
    for month in sorted(months) or list_due(now=now):
        name = f"{month:%Y-%m}"
        try:
            _archive_month(month, now, report, drop=drops is None or month in drops, asked=bool(months), on_day=on_day)
        except OperationalError as error:
            if not isinstance(error.__cause__, _LOCK_REFUSALS):
                raise
            report.waiting[name] = "the event store is busy"
        except errors.ArchiveUnreachable as error:
            report.failed[name] = f"{error.code}: {error.detail}"
        except (errors.ArchiveDamaged, DatabaseError) as error:
            if isinstance(error, DatabaseError) and database.raised_constraint(error) is None:
                raise
            if (stored := find_closed(month=month)) and stored.dropped_at is not None:
                continue  # another run was there first
            report.failed[name] = str(error).partition("\n")[0]
    report.needs_person = bool(report.failed)
    return report


def list_due(*, now: datetime) -> list[date]:
    """The months, oldest first, that are past the retention and still in the database, and were not restored lately."""
    done = models.ArchivedMonth.objects.exclude(dropped_at=None, restored_at=None)
    kept = {stored.month for stored in done if stored.restored_at is None or stored.restored_at > now - RESTORED}
    return [
        month
        for month in partitions.list_months()
        if month not in kept and _start_of(hours.month_after(month)) <= now - partitions.RETENTION
    ]


def _archive_month(
    month: date,
    now: datetime,
    report: ArchiveReport,
    *,
    drop: bool,
    asked: bool,
    on_day: Callable[[date], None],
) -> None:
    name = f"{month:%Y-%m}"
    stored = find_closed(month=month)
    if stored is not None and stored.dropped_at is not None:
        return
    if stored is None:
        last_arrival = _find_last_arrival(month)
        if last_arrival is None:
            return  # an empty month stays open, for events that may still come
        if last_arrival > now - QUIET and not asked:
            report.waiting[name] = f"events arrived less than {QUIET.days} days ago"
            return
        take_step("SELECT metering_seal_month(%s)", [month])
    if stored is None or stored.verified_at is None:
        report.events += _write_days(month, now, on_day)
        take_step("SELECT metering_verify_month(%s, %s, %s)", [month, *_write_manifest(month)])
        report.archived.append(name)
    if not drop:
        return
    for file in models.ArchivedFile.objects.filter(month=month):
        if store.size_of(file.path) != file.size_bytes:
            raise errors.ArchiveDamaged(f"{file.path}: has another size than when it was written")
    if take_step("SELECT metering_drop_month(%s)", [month]) == "pending":
        report.waiting[name] = "windows of it are not summarised yet"
        return
    report.dropped.append(name)


def _find_last_arrival(month: date) -> datetime | None:
    """When the last of a month's events came; none, where it has none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(created_at) FROM metering_event WHERE event_hour >= %s AND event_hour < %s",
            [hours.hour_of(_start_of(month)), hours.hour_of(_start_of(hours.month_after(month)))],
        )
        last_arrival: datetime | None = cursor.fetchone()[0]
        return last_arrival


def _write_days(month: date, now: datetime, on_day: Callable[[date], None]) -> int:
    """Write the days that are not in the archive yet; the events written."""
    known = set(models.ArchivedFile.objects.filter(month=month).values_list("day", flat=True))
    written = 0
    day = month
    while day < hours.month_after(month):
        if day not in known and (exported := export.export_day(day=day)):
            models.ArchivedFile.objects.bulk_create(
                [
                    models.ArchivedFile(
                        month=month,
                        day=day,
                        path=exported.stored.path,
                        sha256=exported.stored.sha256,
                        size_bytes=exported.stored.size_bytes,
                        event_count=exported.figures.event_count,
                        quantity=exported.figures.quantity,
                        digest=exported.figures.digest,
                        last_arrival_at=exported.figures.last_arrival_at,
                        created_at=now,
                    )
                ],
                ignore_conflicts=True,  # another run wrote the same file
            )
            written += exported.figures.event_count
        on_day(day)
        day += timedelta(days=1)
    return written


def _write_manifest(month: date) -> tuple[str, str]:
    files = [
        layout.ManifestFile(
            day=file.day,
            path=file.path,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            event_count=file.event_count,
            quantity=str(file.quantity),
            digest=str(file.digest),
        )
        for file in models.ArchivedFile.objects.filter(month=month).order_by("day")
    ]
    manifest = layout.Manifest(
        version=layout.VERSION,
        month=month,
        event_count=sum(file.event_count for file in files),
        quantity=str(sum(int(file.quantity) for file in files)),
        digest=str(sum(int(file.digest) for file in files)),
        files=files,
    )
    stored = export.put_manifest(manifest)
    return stored.path, stored.sha256


def find_closed(*, month: date) -> models.ArchivedMonth | None:
    """What became of a month that is sealed or dropped; None where it is open."""
    return models.ArchivedMonth.objects.filter(month=month, restored_at=None).first()


def dropped_months() -> frozenset[date]:
    """
    The months (their first days) that are read-only: sealed for the archive, or dropped, and not restored.

    Remembered by the process for 30 s, and read anew inside a transaction, so that whoever is about to recompute
    windows knows the months of that moment. What is too old is made good by the database, which refuses the event
    (``SEALED``): call ``forget_dropped_months`` and judge the batch again.
    """
    if connection.in_atomic_block:
        return read_dropped_months()
    name = _database_name()
    read_at, months = _cached.get(name, (0.0, frozenset()))
    if read_at == 0.0 or time.monotonic() - read_at > _CACHE_SECONDS:
        months = read_dropped_months()
        _cached[name] = (time.monotonic(), months)
    return months


def hold_months() -> frozenset[date]:
    """
    The months that are read-only now. No other month is dropped until the transaction ends.

    Requires an open transaction. Locks: the event store in ACCESS SHARE, which only who drops or drains waits for.
    """
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE ONLY metering_event IN ACCESS SHARE MODE")
    return read_dropped_months()


def forget_dropped_months() -> None:
    """Read them anew next time, because one was sealed or restored."""
    _cached.pop(_database_name(), None)


def read_dropped_months() -> frozenset[date]:
    """The same, as the database says now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT month FROM metering_archived_month WHERE restored_at IS NULL")
        return frozenset(month for (month,) in cursor.fetchall())


def _database_name() -> str:
    return "{HOST}:{PORT}/{NAME}".format_map(connection.settings_dict)


def take_step(statement: str, parameters: Sequence[date | str]) -> object:
    """
    One step of a month's life, in a transaction of its own or the caller's; what the database answers.

    Locks: those of the step, for which it waits 3 s at most.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        cursor.execute(statement, parameters)
        answer: object = cursor.fetchone()[0]
        transaction.on_commit(forget_dropped_months)
        return answer


def _start_of(month: date) -> datetime:
    return datetime(month.year, month.month, month.day, tzinfo=UTC)
