"""
Reading usage: totals for billing, rows for the API, and how fresh they are.

Each event type has, without being made, a meter of its own name that sums ``quantity``; its summaries carry the event
type as their meter. Whole hours are read from the summaries; where a period begins or ends inside an hour, that part is
summed from the events themselves, in the same statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import connection

from metering import hours, models, partitions


@dataclass(frozen=True)
class UsageTotal:
    """
    What a meter adds up to over a period.

    ``value`` is the figure of a meter that does not sum: its count, maximum, average (to 12 decimals), latest, or how
    many different values there are.
    """

    total_quantity: int
    event_count: int
    value: int | Decimal | None = None

    @property
    def quantity(self) -> int | Decimal:
        """The figure that the meter stands for."""
        return self.total_quantity if self.value is None else self.value


@dataclass(frozen=True)
class ChangedWindow:
    """That an hourly summary of a meter changed. ``id`` is a place in the order of its shard."""

    id: int
    tenant_id: str
    meter: str
    period_start: datetime


@dataclass(frozen=True)
class UsageRow:
    """What a meter adds up to in one hour, day or month."""

    tenant_id: str
    meter: str
    period_start: datetime
    period_end: datetime
    total_quantity: int
    event_count: int


@dataclass(frozen=True)
class UsagePage:
    """Rows in time order, whether there are more, and since when later events may not be counted yet."""

    rows: Sequence[UsageRow]
    has_more: bool
    fresh_as_of: datetime


def totals(
    *,
    tenant_id: str,
    meters: Sequence[str],
    period_start: datetime,
    period_end: datetime,
) -> Mapping[str, UsageTotal]:
    """
    What each meter adds up to in ``period_start <= t < period_end``, zero where there is nothing. One statement.

    Whole hours are as fresh as the summaries: ask ``has_pending_windows`` first where that matters.
    """
    if period_end <= period_start:
        return {meter: UsageTotal(0, 0) for meter in meters}
    edges = _edges(period_start, period_end)
    with connection.cursor() as cursor:
        cursor.execute(
            _TOTALS,
            {
                "tenant_id": tenant_id,
                "meters": list(meters),
                "whole_start": hours.start_of(edges.first_whole),
                "whole_end": hours.start_of(edges.end_whole),
                "edge_hours": edges.partial,
                "first_hour": hours.hour_of(period_start),
                "last_hour": hours.hour_of(period_end),
                "period_start": period_start,
                "period_end": period_end,
            },
        )
        found = {meter: UsageTotal(int(total), int(count)) for meter, total, count in cursor.fetchall()}
    return {meter: found.get(meter, UsageTotal(0, 0)) for meter in meters}


def has_pending_windows(
    *, tenant_id: str, period_start: datetime, period_end: datetime, meters: Sequence[str] | None = None
) -> bool:
    """
    Whether events of the tenant and period are stored that no hourly summary counts yet.

    They wait for aggregation, or their window is quarantined, or a meter of ``meters`` is still being computed for what
    was there before it. With ``meters``, only what these count.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _PENDING,
            {
                "tenant_id": tenant_id,
                "first": hours.hour_of(period_start),
                "end": hours.first_hour_from(period_end),
                "meters": None if meters is None else list(meters),
            },
        )
        return bool(cursor.fetchone()[0])


def list_changed_windows(*, shard: int, after_id: int, limit: int) -> Sequence[ChangedWindow]:
    """
    Windows of a shard whose summaries changed, in the order in which that became visible: who reads on misses none.

    Rows of groups are left out: their window has a row of its own. They are kept for a week.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, tenant_id, meter, period_start
            FROM metering_changed_window
            WHERE shard = %s AND id > %s AND group_key = ''
            ORDER BY id
            LIMIT %s
            """,
            [shard, after_id, limit],
        )
        return [ChangedWindow(*row) for row in cursor.fetchall()]


def fresh_as_of() -> datetime:
    """The moment before which every accepted event is counted in the summaries."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(min(started_at), statement_timestamp()) FROM metering_touched_window")
        moment: datetime = cursor.fetchone()[0]
        return moment


def list_usage(
    *,
    tenant_id: str,
    meter: str | None,
    period_from: datetime,
    period_to: datetime,
    granularity: models.Granularity,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> UsagePage:
    """
    One row per meter and hour, day or month (in UTC) with events, in time order.

    ``period_from`` and ``period_to`` are widened to whole hours; the first and the last row reach no further than
    these, so that rows always add up to what lies between. ``after`` is the period start and the meter of the last row
    of the page before.
    """
    # Where no event can lie there is nothing to find, and hours of the year 10000 do not exist.
    period_from, period_to = max(period_from, partitions.EARLIEST), min(period_to, partitions.LATEST)
    with connection.cursor() as cursor:
        cursor.execute(
            _ROWS,
            {
                "tenant_id": tenant_id,
                "meter": meter,
                "from": hours.start_of(hours.hour_of(period_from)),
                "to": hours.start_of(hours.first_hour_from(period_to)),
                "granularity": granularity,
                "after_start": after[0] if after else None,
                "after_meter": after[1] if after else None,
                "limit": limit + 1,
            },
        )
        found = cursor.fetchall()
    as_of = found[0][0]
    rows = [
        UsageRow(tenant_id, meter, start, end, int(total), int(count))
        for _, meter, start, end, total, count in found
        if start is not None
    ]
    return UsagePage(rows=rows[:limit], has_more=len(rows) > limit, fresh_as_of=as_of)


@dataclass(frozen=True)
class _Edges:
    """A period cut at the hours: whole ones from ``first_whole`` to ``end_whole``, and those it covers in part."""

    first_whole: int
    end_whole: int
    partial: list[int]


def _edges(period_start: datetime, period_end: datetime) -> _Edges:
    first_whole = hours.first_hour_from(period_start)
    end_whole = max(hours.hour_of(period_end), first_whole)
    covered = range(hours.hour_of(period_start), hours.first_hour_from(period_end))
    partial = [hour for hour in {covered[0], covered[-1]} if not first_whole <= hour < end_whole]
    return _Edges(first_whole, end_whole, partial)


_TOTALS: Final = """
    SELECT part.meter, sum(part.total), sum(part.event_count)
    FROM (
        SELECT meter, total, event_count
        FROM metering_usage_summary
        WHERE tenant_id = %(tenant_id)s AND meter = ANY(%(meters)s::text[]) AND group_key = ''
            AND granularity = 'hour' AND period_start >= %(whole_start)s AND period_start < %(whole_end)s
        UNION ALL
        SELECT series.event_type, edge.total, edge.event_count
        FROM metering_series AS series
        CROSS JOIN unnest(%(edge_hours)s::int[]) AS partly(event_hour)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(event.quantity), 0) AS total, count(*) AS event_count
            FROM metering_event AS event
            WHERE event.event_hour = partly.event_hour AND event.series_id = series.id
                AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
                AND event.event_timestamp >= %(period_start)s AND event.event_timestamp < %(period_end)s
        ) AS edge
        WHERE series.tenant_id = %(tenant_id)s AND series.event_type = ANY(%(meters)s::text[])
    ) AS part
    GROUP BY part.meter
"""

_PENDING: Final = """
    WITH wanted AS (
        SELECT series.id
        FROM metering_series AS series
        WHERE series.tenant_id = %(tenant_id)s
            AND (
                %(meters)s::text[] IS NULL
                OR series.event_type = ANY(%(meters)s::text[])
                OR series.event_type IN (SELECT event_type FROM metering_meter WHERE code = ANY(%(meters)s::text[]))
            )
    )
    SELECT
        EXISTS (
            SELECT FROM metering_touched_window AS batch
            CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, event_hour)
            WHERE batch.stage = 'recompute'
                AND touched.event_hour >= %(first)s AND touched.event_hour < %(end)s
                AND touched.series_id IN (SELECT id FROM wanted)
        )
        OR EXISTS (
            SELECT FROM metering_quarantined_window AS held
            JOIN wanted ON wanted.id = held.series_id
            WHERE held.event_hour >= %(first)s AND held.event_hour < %(end)s
        )
        OR EXISTS (
            SELECT FROM metering_meter_backfill AS backfill
            JOIN metering_meter AS meter ON meter.id = backfill.meter_id
            WHERE backfill.finished_at IS NULL AND meter.code = ANY(%(meters)s::text[])
        )
"""

# Fresh as of: the beginning of the oldest batch that is not summarised yet; where there is none, this very statement.
# Read together with the rows, in one snapshot: every event accepted before that moment is counted in them.
_ROWS: Final = """
    WITH fresh AS (
        SELECT coalesce(min(started_at), statement_timestamp()) AS as_of FROM metering_touched_window
    )
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT
            summary.meter,
            period.starts_at,
            least(
                date_trunc(%(granularity)s, period.starts_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
                    + ('1 ' || %(granularity)s)::interval,
                %(to)s
            ) AS ends_at,
            sum(summary.total) AS total,
            sum(summary.event_count) AS event_count
        FROM metering_usage_summary AS summary
        CROSS JOIN LATERAL (
            SELECT greatest(date_trunc(%(granularity)s, summary.period_start, 'UTC'), %(from)s) AS starts_at
        ) AS period
        WHERE summary.tenant_id = %(tenant_id)s
            AND (%(meter)s::text IS NULL OR summary.meter = %(meter)s)
            AND summary.group_key = ''
            AND summary.granularity = 'hour'
            AND summary.period_start >= %(from)s
            AND summary.period_start < %(to)s
            AND (
                %(after_start)s::timestamptz IS NULL
                OR (period.starts_at, summary.meter) > (%(after_start)s::timestamptz, %(after_meter)s::text)
            )
        GROUP BY summary.meter, period.starts_at
        ORDER BY period.starts_at, summary.meter
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.starts_at, page.meter
"""
