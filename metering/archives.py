"""
The life of a month after its retention: sealed, archived, dropped, and restored where somebody needs it again.

A sealed month takes no event from anyone; the database refuses them under the name ``SEALED``. The door refuses them
first, as ``period_archived``, by what ``dropped_months`` answers.
"""

import time
from datetime import date
from typing import Final

from django.db import connection, transaction

SEALED: Final = "metering_event_month_is_archived"  # the constraint under which a sealed month refuses an event
_CACHE_SECONDS: Final = 30.0

# By database: when it was read (monotonic), and the months.
_cached: Final[dict[str, tuple[float, frozenset[date]]]] = {}


def dropped_months() -> frozenset[date]:
    """
    The months (their first days) that are read-only: sealed for the archive, or dropped, and not restored.

    Remembered by the process for 30 s, and read anew inside a transaction, so that whoever is about to recompute windows
    knows the months of that moment. What is too old is made good by the database, which refuses the event (``SEALED``):
    call ``forget_dropped_months`` and judge the batch again.
    """
    if connection.in_atomic_block:
        return _read()
    name = _database_name()
    read_at, months = _cached.get(name, (0.0, frozenset()))
    if read_at == 0.0 or time.monotonic() - read_at > _CACHE_SECONDS:
        months = _read()
        _cached[name] = (time.monotonic(), months)
    return months


def forget_dropped_months() -> None:
    """Read them anew next time, because one was sealed or restored."""
    _cached.pop(_database_name(), None)


def _read() -> frozenset[date]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT month FROM metering_archived_month WHERE restored_at IS NULL")
        return frozenset(month for (month,) in cursor.fetchall())


def _database_name() -> str:
    return "{HOST}:{PORT}/{NAME}".format_map(connection.settings_dict)


def forget_at_commit() -> None:
    """Read them anew once what this transaction does to a month is committed."""
    transaction.on_commit(forget_dropped_months)
