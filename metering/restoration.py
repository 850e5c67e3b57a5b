"""Months that come back from the archive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection, transaction

from metering import archives, errors, hours, models, slices
from metering.lake import replay, store


@dataclass(frozen=True, kw_only=True)
class RestoreReport:
    """The months that are open again, and how many events came back from the archive."""

    restored: list[str]
    events: int


def restore_events(*, months: Sequence[date], on_file: Callable[[date], None] = lambda _: None) -> RestoreReport:
    """
    Bring months back from the archive, whole or not at all, and open them for events again.

    A month that was sealed but not dropped is only opened. Idempotency: a month that is open already is left alone.
    Locks: the event store for the moment in which a month takes its place, 3 s at most. Owns its transactions, one a
    month; the files are fetched before it.

    Raises:
        errors.MonthNotArchived: a month was never sealed.
        errors.ArchiveUnreachable, errors.ArchiveDamaged: its files cannot be read, or are not what was kept.
    """
    restored: list[str] = []
    events = 0
    for month in sorted(set(months)):
        stored = models.ArchivedMonth.objects.filter(month=month).first()
        if stored is None:
            raise errors.MonthNotArchived(f"{month:%Y-%m} was not archived")
        if stored.restored_at is not None:
            continue
        if stored.dropped_at is None:
            archives.take_step("SELECT metering_unseal_month(%s)", [month])
        else:
            events += _restore(month, on_file)
        restored.append(f"{month:%Y-%m}")
    return RestoreReport(restored=restored, events=events)


def _restore(month: date, on_file: Callable[[date], None]) -> int:
    with store.scratch_folder() as folder:
        files = models.ArchivedFile.objects.filter(month=month).order_by("day")
        for file in files:
            store.fetch(path=file.path, sha256=file.sha256, file=folder / f"{file.day}.parquet")
        with transaction.atomic():
            table = str(archives.take_step("SELECT metering_begin_restore(%s)", [month]))
            for file in files:
                replay.copy_into(table, folder / f"{file.day}.parquet")
                on_file(file.day)
            return int(str(archives.take_step("SELECT metering_finish_restore(%s)", [month])))


def touch_events(*, months: Sequence[date]) -> int:
    """
    Have all windows of these months recomputed from their events, a day at a time; how many windows.

    For a meter that was made, or a correction that came, while they were archived. Idempotency: a summary is what its
    events add up to. Owns its transactions, one a day.
    """
    touched = 0
    for month in sorted(set(months)):
        day = datetime(month.year, month.month, month.day, tzinfo=UTC)
        while hours.month_of(hours.hour_of(day)) == month:
            touched += _touch_day(day)
            day += timedelta(days=1)
    return touched


def _touch_day(day: datetime) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT series_id, event_hour FROM metering_event WHERE event_hour >= %s AND event_hour < %s",
            [hours.hour_of(day), hours.hour_of(day + timedelta(days=1))],
        )
        windows = cursor.fetchall()
        slices.touch(windows=windows)
    return len(windows)
