"""
What was sent again, for the investigation: kept batch by batch for two days, then added up by hour, forgotten in time.

A client in a loop leaves rows with each batch; added up, ten thousand of them are one for each hour that it repeats.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import connection

ADDED_UP: Final = 0  # the batch of a row that stands for many
_SINGLE_FOR: Final = timedelta(days=2)  # the database lets none go that is younger than a day
_KEPT_FOR: Final = timedelta(days=90)
_SLICE: Final = 10_000  # of rows; what they count in all is far below what a column holds


def tidy(*, now: datetime) -> None:
    """
    Add up what is older than two days and forget what is older than 90, a bounded number of rows of each.

    Idempotency: a row is added up once, and the sums stay what they were; safe beside itself and beside writers. Each
    statement is a transaction of its own, or joins the caller's.
    """
    with connection.cursor() as cursor:
        for oldest, work, kept_for in ((_OLDEST_SINGLE, _ADD_UP, _SINGLE_FOR), (_OLDEST, _FORGET, _KEPT_FOR)):
            cursor.execute(oldest)
            row = cursor.fetchone()
            if row is not None and row[0] < now - kept_for:
                cursor.execute(work, {"before": now - kept_for, "limit": _SLICE, "added_up": ADDED_UP})


_OLDEST_SINGLE: Final = "SELECT created_at FROM metering_repeated_event WHERE batch_id <> 0 ORDER BY id LIMIT 1"
_OLDEST: Final = "SELECT created_at FROM metering_repeated_event ORDER BY id LIMIT 1"
_ADD_UP: Final = """
    WITH single AS (
        DELETE FROM metering_repeated_event
        WHERE id = ANY(ARRAY(
            SELECT id
            FROM (
                SELECT id, created_at FROM metering_repeated_event WHERE batch_id <> 0 ORDER BY id LIMIT %(limit)s
            ) AS oldest
            WHERE created_at < %(before)s
        ))
        RETURNING tenant_id, event_type, event_hour, duplicates, conflicts, created_at
    )
    INSERT INTO metering_repeated_event (
        batch_id, tenant_id, event_type, event_hour, duplicates, conflicts, created_at
    )
    SELECT %(added_up)s, tenant_id, event_type, event_hour, sum(duplicates), sum(conflicts), max(created_at)
    FROM single
    GROUP BY tenant_id, event_type, event_hour
"""
_FORGET: Final = """
    DELETE FROM metering_repeated_event
    WHERE id = ANY(ARRAY(
        SELECT id
        FROM (SELECT id, created_at FROM metering_repeated_event ORDER BY id LIMIT %(limit)s) AS oldest
        WHERE created_at < %(before)s
    ))
"""
