"""
From touched windows to usage summaries: recomputed from the events, never incremented, so that any run may be repeated.

One aggregator at a time per shard of series. Without that, two that claim different touched rows of one window can
write their results out of order, with nothing left to mend it:

    A claims row 1 of the window, sums 10
                                            an event of 5 commits, with row 2
                                            B claims row 2, sums 15, writes 15
    A writes 10

An event that commits while a window is recomputed has a touched row of its own, so the window is done again.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction

from metering import ingestion, requests

LOCK_CLASS: Final = 0x6D74  # "mt": keeps our advisory locks apart from other apps'
_SLICE_BATCHES: Final = 1_000
_SLICE_WINDOWS: Final = 50_000  # a slice holds no more in memory than this and one batch's


@dataclass(frozen=True)
class AggregationReport:
    """
    What one run did: slices committed, windows recomputed, summaries that changed, touched rows left.

    ``busy`` shards were left to the run that is at them.
    """

    slices: int
    windows: int
    changed: int
    remaining: int
    busy: int


def aggregate_usage(*, now: datetime, slice_batches: int = _SLICE_BATCHES) -> AggregationReport:
    """
    Recompute the summaries of all touched windows, slice by slice, until none is left.

    Idempotency: a summary is what its events add up to, whoever computes it and how often.
    Locks: one advisory lock per shard for a slice; a shard that another run holds is left to it. Owns its transactions,
    one a slice, so that a run cut short has lost nothing.
    """
    slices = windows = changed = busy = 0
    for shard in range(ingestion.SHARDS):
        while True:
            outcome = _aggregate_slice(shard, now, slice_batches)
            if outcome is None:
                busy += 1
                break
            if outcome == (0, 0):
                break
            slices += 1
            windows += outcome[0]
            changed += outcome[1]
    return AggregationReport(slices=slices, windows=windows, changed=changed, remaining=_count_touched(), busy=busy)


def _aggregate_slice(shard: int, now: datetime, slice_batches: int) -> tuple[int, int] | None:
    """Windows recomputed and summaries changed; (0, 0) when nothing was left; None when another run holds the shard."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # A statement of its own, and the first: whatever the next ones see is newer than the lock.
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_CLASS, shard])
        if not cursor.fetchone()[0]:
            return None
        cursor.execute("SET LOCAL jit = off")  # compiling would take longer than the recompute
        series_ids, event_hours = _claim(shard, slice_batches)
        if not series_ids:
            return 0, 0
        return _recompute(series_ids, event_hours, now)


def _claim(shard: int, slice_batches: int) -> tuple[list[int], list[int]]:
    """Take the oldest touched rows; their windows, each once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH claimed AS (
                DELETE FROM metering_touched_window
                WHERE id = ANY(ARRAY(
                    SELECT id
                    FROM (
                        SELECT id, sum(cardinality(hours)) OVER (ORDER BY id) - cardinality(hours) AS claimed_before
                        FROM (
                            SELECT id, hours FROM metering_touched_window WHERE shard = %s ORDER BY id LIMIT %s
                        ) AS oldest
                    ) AS counted
                    WHERE claimed_before < %s
                ))
                RETURNING series_ids, hours
            )
            SELECT DISTINCT touched.series_id, touched.event_hour
            FROM claimed CROSS JOIN unnest(claimed.series_ids, claimed.hours) AS touched(series_id, event_hour)
            """,
            [shard, slice_batches, _SLICE_WINDOWS],
        )
        windows = cursor.fetchall()
    return [series_id for series_id, _ in windows], [event_hour for _, event_hour in windows]


def _recompute(series_ids: list[int], event_hours: list[int], now: datetime) -> tuple[int, int]:
    """
    Sum each window from its events and write what differs.

    A statement after the claim, so that it sees every event whose touched row was claimed. From the list of windows
    into the covering index, one probe each: the cost follows what changed, not how much is stored.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            RECOMPUTE,
            {
                "series_ids": series_ids,
                "hours": event_hours,
                # Known when the statement is planned, so that only these months are locked and looked at.
                "first_hour": min(event_hours),
                "last_hour": max(event_hours),
                "now": now,
            },
        )
        changed = int(cursor.rowcount)
    requests.recompute(windows=list(zip(series_ids, event_hours, strict=True)), now=now)
    return len(series_ids), changed


RECOMPUTE: Final = """
    INSERT INTO metering_usage_summary AS stored (
        tenant_id, meter, group_key, granularity, period_start, total, event_count, maximum, computed_at
    )
    SELECT
        series.tenant_id, series.event_type, '', 'hour', to_timestamp(touched.event_hour::bigint * 3600),
        summed.total, summed.event_count, summed.maximum, %(now)s
    FROM unnest(%(series_ids)s::int[], %(hours)s::int[]) AS touched(series_id, event_hour)
    JOIN metering_series AS series ON series.id = touched.series_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(event.quantity), 0) AS total, count(*) AS event_count, max(event.quantity) AS maximum
        FROM metering_event AS event
        WHERE event.event_hour = touched.event_hour AND event.series_id = touched.series_id
            AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
    ) AS summed
    ON CONFLICT (tenant_id, meter, group_key, granularity, period_start) DO UPDATE SET
        total = EXCLUDED.total,
        event_count = EXCLUDED.event_count,
        maximum = EXCLUDED.maximum,
        computed_at = EXCLUDED.computed_at
    WHERE (stored.total, stored.event_count, stored.maximum)
        IS DISTINCT FROM (EXCLUDED.total, EXCLUDED.event_count, EXCLUDED.maximum)
"""


def _count_touched() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_touched_window")
        return int(cursor.fetchone()[0])
