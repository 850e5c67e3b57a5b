"""Reading events as they came, newest first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection

from metering import hours, partitions, requests


@dataclass(frozen=True)
class RawEvent:
    """One event as it was stored."""

    key_hash: UUID
    tenant_id: str
    event_type: str
    quantity: int
    idempotency_key: str
    event_timestamp: datetime
    source: str
    properties: dict[str, Any]
    corrects: str | None
    void: bool
    created_at: datetime


@dataclass(frozen=True)
class RawEventPage:
    """Events, newest first, and whether there are older ones."""

    events: Sequence[RawEvent]
    has_more: bool


def list_raw_events(
    *,
    tenant_id: str,
    event_type: str | None,
    timestamp_gte: datetime | None,
    timestamp_lt: datetime | None,
    limit: int,
    before: tuple[datetime, UUID] | None = None,
) -> RawEventPage:
    """
    A tenant's events in ``timestamp_gte <= event_timestamp < timestamp_lt``.

    ``before`` is the timestamp and the key hash of the last event of the page before.
    """
    # An open end is closed where no event can lie, so that the statement has one form.
    start = timestamp_gte or partitions.EARLIEST
    end = timestamp_lt or partitions.LATEST
    newest = min(end, before[0]) if before else end
    with connection.cursor() as cursor:
        cursor.execute(
            _PAGE,
            {
                "tenant_id": tenant_id,
                "event_type": event_type,
                "start": start,
                "end": end,
                "start_hour": hours.hour_of(start),
                "start_hour_at": hours.start_of(hours.hour_of(start)),
                "newest": newest,
                "newest_hour": hours.hour_of(newest),
                "before_timestamp": before[0] if before else None,
                "before_key": before[1] if before else None,
                "request_type": requests.EVENT_TYPE,
                "limit": limit + 1,
            },
        )
        found = cursor.fetchall()
    events = [
        RawEvent(
            key, tenant_id, event_type, quantity, name, at, source, json.loads(properties), corrects, void, created_at
        )
        for key, event_type, quantity, name, at, source, properties, corrects, void, created_at in found
    ]
    return RawEventPage(events=events[:limit], has_more=len(events) > limit)


# The event store is ordered by hour, then series, so a tenant's events are found from the hours that it has any in:
# those that are summarised, and those touched since or set aside; and, because no summary counts them, those of
# corrections, of what they correct, and of requests. Of these only the newest that fill the page are looked into; an
# hour that the page's bounds cut may have nothing to give, so it weighs nothing.
_PAGE: Final = """
    WITH mine AS (
        SELECT id AS series_id, event_type FROM metering_series
        WHERE tenant_id = %(tenant_id)s AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s)
    ),
    having_events AS (
        SELECT
            mine.series_id,
            floor(extract(epoch FROM summary.period_start) / 3600)::int AS event_hour,
            summary.event_count
        FROM metering_usage_summary AS summary
        JOIN mine ON mine.event_type = summary.meter
        WHERE summary.tenant_id = %(tenant_id)s AND summary.group_key = '' AND summary.granularity = 'hour'
            AND summary.period_start >= %(start_hour_at)s AND summary.period_start <= %(newest)s
        UNION ALL
        SELECT touched.series_id, touched.event_hour, 1
        FROM metering_touched_window AS batch
        CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, event_hour)
        JOIN mine ON mine.series_id = touched.series_id
        WHERE touched.event_hour BETWEEN %(start_hour)s AND %(newest_hour)s
        UNION ALL
        -- An hour may have nothing but corrections, which count elsewhere, or voided events, and then no summary.
        SELECT correction.series_id, correction.event_hour, 1
        FROM metering_correction AS correction
        JOIN mine ON mine.series_id = correction.series_id
        WHERE correction.event_hour BETWEEN %(start_hour)s AND %(newest_hour)s
        UNION ALL
        SELECT correction.original_series_id, correction.original_event_hour, 1
        FROM metering_correction AS correction
        JOIN mine ON mine.series_id = correction.original_series_id
        WHERE correction.original_event_hour BETWEEN %(start_hour)s AND %(newest_hour)s
        UNION ALL
        SELECT aside.series_id, aside.event_hour, 1
        FROM metering_quarantined_window AS aside
        JOIN mine ON mine.series_id = aside.series_id
        WHERE aside.event_hour BETWEEN %(start_hour)s AND %(newest_hour)s
        UNION ALL
        -- Nor is an hour summarised that has only requests that are not billable; their roll-up has it.
        SELECT mine.series_id, (extract(epoch FROM summary.period_start) / 3600)::int, summary.requests
        FROM metering_request_summary AS summary
        JOIN mine ON mine.event_type = %(request_type)s
        WHERE summary.tenant_id = %(tenant_id)s AND summary.granularity = 'hour'
            AND summary.period_start >= %(start_hour_at)s AND summary.period_start <= %(newest)s
    ),
    weighed AS (
        SELECT
            series_id,
            event_hour,
            CASE WHEN event_hour IN (%(start_hour)s, %(newest_hour)s) THEN 0 ELSE max(event_count) END AS weight
        FROM having_events
        GROUP BY series_id, event_hour
    ),
    newest AS (
        SELECT series_id, event_hour
        FROM (
            SELECT
                series_id,
                event_hour,
                sum(weight) OVER (ORDER BY event_hour DESC RANGE UNBOUNDED PRECEDING EXCLUDE GROUP) AS newer
            FROM weighed
        ) AS counted
        WHERE coalesce(newer, 0) < %(limit)s
    )
    SELECT
        event.key_hash, mine.event_type, event.quantity, event.idempotency_key, event.event_timestamp, event.source,
        event.properties, event.corrects, event.void, event.created_at
    FROM newest
    JOIN mine USING (series_id)
    CROSS JOIN LATERAL (
        SELECT * FROM metering_event AS stored
        WHERE stored.event_hour = newest.event_hour AND stored.series_id = newest.series_id
            AND stored.event_hour BETWEEN %(start_hour)s AND %(newest_hour)s
            AND stored.event_timestamp >= %(start)s AND stored.event_timestamp < %(end)s
            AND (
                %(before_timestamp)s::timestamptz IS NULL
                OR (stored.event_timestamp, stored.key_hash) < (%(before_timestamp)s::timestamptz, %(before_key)s::uuid)
            )
        ORDER BY stored.event_timestamp DESC, stored.key_hash DESC
        LIMIT %(limit)s
    ) AS event
    ORDER BY event.event_timestamp DESC, event.key_hash DESC
    LIMIT %(limit)s
"""
