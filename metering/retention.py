"""
How long an idempotency key is kept: as long as its event, and 13 months from its arrival at least.

Which keys are old is read from the archive, whose files name the events of each day, so that the key table needs no
index but its own. The database refuses to forget a key that is younger, or whose event it still holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.db.models import QuerySet

from metering import models
from metering.lake import replay, store

KEPT: Final = "13 months"
_SLICE_KEYS: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class ExpiryReport:
    """Days whose keys were forgotten, how many keys, and the days that are left for the next run."""

    days: int
    keys: int
    days_left: int


def expire_keys(
    *,
    now: datetime,
    max_days: int | None = None,
    on_day: Callable[[int, int], None] = lambda _done, _total: None,
) -> ExpiryReport:
    """
    Forget the keys of days that were dropped, 13 months after the day's last event arrived; oldest days first.

    Idempotency: a day whose keys are gone is marked; one that was cut short begins again and finds fewer. Owns its
    transactions, one per 5,000 keys.
    Locks: the keys of a slice, in their order.

    Raises:
        errors.ArchiveUnreachable, errors.ArchiveDamaged: a day's file cannot be read, or is not what was kept.
    """
    due = list_due(now=now)
    total = due.count()
    days = keys = 0
    for file in due[: total if max_days is None else max_days]:
        keys += _expire_day(file)
        models.ArchivedFile.objects.filter(pk=file.pk).update(keys_expired_at=now)
        days += 1
        on_day(days, total)
    return ExpiryReport(days=days, keys=keys, days_left=total - days)


def list_due(*, now: datetime) -> QuerySet[models.ArchivedFile]:
    """The archived days whose keys may be forgotten, oldest first."""
    with connection.cursor() as cursor:
        # By the database, which counts months as its own rule does; and never by a clock that is ahead of its own.
        cursor.execute("SELECT least(%s, clock_timestamp()) - %s::interval", [now, KEPT])
        (oldest_kept,) = cursor.fetchone()
    dropped = models.ArchivedMonth.objects.filter(dropped_at__isnull=False, restored_at=None)
    return models.ArchivedFile.objects.filter(
        last_arrival_at__lt=oldest_kept,
        month__in=dropped.values("month"),
        keys_expired_at=None,
    ).order_by("day")


def _expire_day(file: models.ArchivedFile) -> int:
    forgotten = 0
    with store.fetched(path=file.path, sha256=file.sha256) as path:
        for events in replay.read(path):
            for start in range(0, len(events), _SLICE_KEYS):
                names = ",".join(event.key_hash.hex() for event in events[start : start + _SLICE_KEYS])
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SELECT metering_expire_keys(%s::uuid[])", [f"{{{names}}}"])
                    forgotten += int(cursor.fetchone()[0])
    return forgotten
