"""
Reading usage: totals for billing, and what is not counted yet. ``usage_rows`` reads it by hour, day and month.

Each event type has, without being made, a meter of its own name that sums ``quantity``. Totals are read from the hourly
summaries. Where a period begins or ends inside an hour, the summaries of its parts are read if the hour is split there
and summarised so; else that part is counted from the events, so that the total is exact at any time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final

from django.db import connection

from metering import figures, hours, models
from metering.figures import Figures, Stretch


@dataclass(frozen=True)
class UsageTotal:
    """
    What a meter adds up to over a period.

    ``value`` is the figure of a meter that does not sum: its count, maximum, average (to 12 decimals), latest, or how
    many different values there are; 0 where it has none.
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


def totals(
    *,
    tenant_id: str,
    meters: Sequence[str],
    period_start: datetime,
    period_end: datetime,
) -> Mapping[str, UsageTotal]:
    """
    What each meter adds up to in ``period_start <= t < period_end``, zero where there is nothing.

    One statement where the period begins and ends with an hour, and no meter counts different values. Whole hours are
    as fresh as the summaries: ask ``has_pending_windows`` first where that matters.

    Raises:
        UsageArchived: events are needed whose month is archived.
    """
    if period_end <= period_start:
        return {meter: UsageTotal(0, 0) for meter in meters}
    made = find_meters(meters)
    reading = _Reading(
        tenant_id=tenant_id,
        period=Stretch(period_start, period_end),
        made=made,
        types={meter: made[meter].event_type if meter in made else meter for meter in meters},
        edges=_edges(period_start, period_end),
    )
    # Looked at before the summaries are read: a window that is summarised by now stays so, or is counted in full.
    split = _list_split_hours(reading) if reading.edges else frozenset()
    return {meter: _total(reading, meter, whole, split) for meter, whole in _read_hours(reading, split).items()}


def has_pending_windows(
    *, tenant_id: str, period_start: datetime, period_end: datetime, meters: Sequence[str] | None = None
) -> bool:
    """
    Whether events of the tenant and period are stored that no hourly summary counts yet.

    They wait for aggregation, or their window is quarantined, or a correction of one was not linked to it yet, or a
    meter of ``meters`` is still being computed for what was there before it. With ``meters``, only what these count.
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


def fresh_as_of(*, tenant_id: str | None = None) -> datetime:
    """
    The moment before which every accepted event is counted in the summaries, days and months too.

    With ``tenant_id``, a quarantined window of another tenant does not hold it back.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {FRESH_AS_OF}", {"tenant_id": tenant_id, "codes": None, "is_rolled_up": True})
        moment: datetime = cursor.fetchone()[0]
        return moment


def find_meters(codes: Sequence[str]) -> Mapping[str, models.Meter]:
    """The meters among these that were made; an event type's own is not."""
    return {meter.code: meter for meter in models.Meter.objects.filter(code__in=list(codes))}


def list_changed_windows(*, shard: int, after_id: int, limit: int) -> Sequence[ChangedWindow]:
    """
    Windows of a shard whose summaries changed, in the order in which that became visible: who reads on misses none.

    Rows of groups are left out: their window has a row of its own. They are kept for ``aggregation.CHANGES_KEPT_FOR``.
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


@dataclass(frozen=True)
class _Edge:
    """A part of an hour with which a period begins or ends, and where the hour is cut for it."""

    hour: int
    stretch: Stretch
    cuts: tuple[datetime, ...]


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """What is read: the meters' event types by code, those that were made, the parts of hours at the period's ends."""

    tenant_id: str
    period: Stretch
    made: Mapping[str, models.Meter]
    types: Mapping[str, str]
    edges: Sequence[_Edge]


_SplitHours = frozenset[tuple[str, int]]
"""The event types and hours whose parts are summarised each for itself."""


def _edges(period_start: datetime, period_end: datetime) -> Sequence[_Edge]:
    """The hours that a period covers in part, in time order: none, one or two."""
    edges = []
    for hour in sorted({hours.hour_of(period_start), hours.hour_of(period_end)}):
        begins, ends = hours.start_of(hour), hours.start_of(hour + 1)
        stretch = Stretch(max(begins, period_start), min(ends, period_end))
        cuts = tuple(cut for cut in (period_start, period_end) if begins < cut < ends)
        if cuts and stretch.starts_at < stretch.ends_at:
            edges.append(_Edge(hour, stretch, cuts))
    return edges


def _list_split_hours(reading: _Reading) -> _SplitHours:
    """Those of the edges' hours that are split where the period needs it, and have been summarised since."""
    with connection.cursor() as cursor:
        cursor.execute(
            _SPLIT_HOURS,
            {
                "tenant_id": reading.tenant_id,
                "event_types": sorted(set(reading.types.values())),
                "hours": [edge.hour for edge in reading.edges for _ in edge.cuts],
                "cuts": [cut for edge in reading.edges for cut in edge.cuts],
            },
        )
        return frozenset(cursor.fetchall())


def _read_hours(reading: _Reading, split: _SplitHours) -> Mapping[str, Figures]:
    """What the hourly summaries of the period say of each meter, without those parts of hours that they do not know."""
    unknown = [
        (meter, edge.hour)
        for meter, event_type in reading.types.items()
        for edge in reading.edges
        if (event_type, edge.hour) not in split
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _HOURS,
            {
                "tenant_id": reading.tenant_id,
                "meters": list(reading.types),
                "period_start": reading.period.starts_at,
                "period_end": reading.period.ends_at,
                "unknown_meters": [meter for meter, _ in unknown],
                "unknown_starts": [hours.start_of(hour) for _, hour in unknown],
            },
        )
        return {meter: Figures(int(total), int(count), *rest) for meter, total, count, *rest in cursor.fetchall()}


def _total(reading: _Reading, code: str, whole: Figures, split: _SplitHours) -> UsageTotal:
    """A meter's total: what the summaries say, and in time order around it the parts of hours counted from events."""
    meter, event_type = reading.made.get(code), reading.types[code]
    if meter is not None and meter.aggregation == models.Aggregation.UNIQUE_COUNT:
        return _total_of_different(reading, meter)
    parts = [edge.stretch for edge in reading.edges if (event_type, edge.hour) not in split]
    found = figures.count_events(tenant_id=reading.tenant_id, event_type=event_type, meter=meter, stretches=parts)
    first = reading.period.starts_at
    before = [found.get((part, ""), Figures(0, 0)) for part in parts if part.starts_at == first]
    after = [found.get((part, ""), Figures(0, 0)) for part in parts if part.starts_at != first]
    both = reduce(figures.add, [*before, whole, *after])
    if meter is None or meter.aggregation == models.Aggregation.SUM:
        return UsageTotal(both.total, both.event_count)
    return UsageTotal(both.total, both.event_count, figures.figure_of(meter.aggregation, both) or 0)


def _total_of_different(reading: _Reading, meter: models.Meter) -> UsageTotal:
    """
    How many different values a period has: of one month or day in UTC as rolled up, else from the events.

    A roll-up that has still to be brought up to date is not read.
    """
    period = reading.period
    with connection.cursor() as cursor:
        cursor.execute(
            _ROLLED_UP,
            {
                "tenant_id": reading.tenant_id,
                "meter": meter.code,
                "event_type": meter.event_type,
                "period_start": period.starts_at,
                "period_end": period.ends_at,
                "first": hours.hour_of(period.starts_at),
                "end": hours.first_hour_from(period.ends_at),
            },
        )
        row = cursor.fetchone()
    if row is not None:
        return UsageTotal(int(row[0]), row[1], row[2] or 0)
    found = figures.count_events(
        tenant_id=reading.tenant_id, event_type=meter.event_type, meter=meter, stretches=[period]
    ).get((period, ""), Figures(0, 0))
    return UsageTotal(found.total, found.event_count, found.unique_count or 0)


# The beginning of the oldest batch that is not summarised yet; where there is none, this very statement. Read together
# with the rows, in one snapshot: every event accepted before that moment is counted in them. Hours do not wait for the
# days and months above them.
FRESH_AS_OF: Final = """
    coalesce(
        least(
            CASE WHEN %(is_rolled_up)s THEN (SELECT min(started_at) FROM metering_touched_window)
                ELSE (SELECT min(started_at) FROM metering_touched_window WHERE stage = 'recompute') END,
            (
                SELECT min(held.started_at)
                FROM metering_quarantined_window AS held
                JOIN metering_series AS series ON series.id = held.series_id
                WHERE %(tenant_id)s::text IS NULL OR series.tenant_id = %(tenant_id)s::text
            ),
            (
                SELECT min(backfill.started_at)
                FROM metering_meter_backfill AS backfill
                JOIN metering_meter AS made ON made.id = backfill.meter_id
                WHERE backfill.finished_at IS NULL AND (%(codes)s::text[] IS NULL OR made.code = ANY(%(codes)s::text[]))
            )
        ),
        statement_timestamp()
    )
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
            JOIN metering_meter AS made ON made.id = backfill.meter_id
            WHERE backfill.finished_at IS NULL AND made.code = ANY(%(meters)s::text[])
        )
        -- A correction that came beside its original may lie in an hour that is outside, and be linked by the next run.
        OR EXISTS (
            SELECT FROM wanted
            JOIN metering_correction AS waiting
                ON waiting.series_id = wanted.id AND waiting.original_event_hour IS NULL AND waiting.fault = ''
            JOIN metering_event_key AS key
                ON key.key_hash = waiting.original_key_hash AND key.series_id = waiting.series_id
            WHERE key.event_hour >= %(first)s AND key.event_hour < %(end)s
        )
"""

# An hour is cut in its summaries once it is split and no recompute of it is left to do: the split touched it.
_SPLIT_HOURS: Final = """
    SELECT series.event_type, needed.event_hour
    FROM metering_series AS series
    CROSS JOIN unnest(%(hours)s::int[], %(cuts)s::timestamptz[]) AS needed(event_hour, cut_at)
    LEFT JOIN metering_window_split AS split
        ON split.tenant_id = series.tenant_id
        AND split.event_hour = needed.event_hour AND split.split_at = needed.cut_at
    WHERE series.tenant_id = %(tenant_id)s AND series.event_type = ANY(%(event_types)s::text[])
        AND NOT EXISTS (
            SELECT FROM metering_touched_window AS batch
            CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, event_hour)
            WHERE batch.stage = 'recompute'
                AND touched.series_id = series.id AND touched.event_hour = needed.event_hour
        )
        AND NOT EXISTS (
            SELECT FROM metering_quarantined_window AS held
            WHERE held.series_id = series.id AND held.event_hour = needed.event_hour
        )
    GROUP BY series.event_type, needed.event_hour
    HAVING bool_and(split.split_at IS NOT NULL)
"""

# An hour's row that lies before the period may be the first part of a split hour, so hours begin where the period does.
# OFFSET keeps the look at a meter's hours a probe into the key, whatever the statistics say.
_HOURS: Final = """
    SELECT
        wanted.meter, coalesce(sum(summary.total), 0), coalesce(sum(summary.event_count), 0), max(summary.maximum),
        (array_agg(summary.latest ORDER BY summary.period_start DESC) FILTER (WHERE summary.latest IS NOT NULL))[1]
    FROM unnest(%(meters)s::text[]) AS wanted(meter)
    LEFT JOIN LATERAL (
        SELECT hour.period_start, hour.total, hour.event_count, hour.maximum, hour.latest
        FROM metering_usage_summary AS hour
        WHERE hour.tenant_id = %(tenant_id)s AND hour.meter = wanted.meter AND hour.group_key = ''
            AND hour.granularity = 'hour'
            AND hour.period_start >= %(period_start)s AND hour.period_start < %(period_end)s
        OFFSET 0
    ) AS summary
        ON NOT EXISTS (
            SELECT
            FROM unnest(%(unknown_meters)s::text[], %(unknown_starts)s::timestamptz[]) AS unknown(meter, starts_at)
            WHERE unknown.meter = wanted.meter
                AND summary.period_start >= unknown.starts_at
                AND summary.period_start < unknown.starts_at + interval '1 hour'
        )
    GROUP BY wanted.meter
"""

_ROLLED_UP: Final = """
    SELECT summary.total, summary.event_count, summary.unique_count
    FROM metering_usage_summary AS summary
    WHERE summary.tenant_id = %(tenant_id)s AND summary.meter = %(meter)s AND summary.group_key = ''
        AND summary.granularity IN ('day', 'month') AND summary.period_start = %(period_start)s
        AND (summary.period_start AT TIME ZONE 'UTC' + ('1 ' || summary.granularity)::interval) AT TIME ZONE 'UTC'
            = %(period_end)s
        AND NOT EXISTS (
            SELECT FROM metering_touched_window AS batch
            CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, event_hour)
            WHERE touched.event_hour >= %(first)s AND touched.event_hour < %(end)s
                AND touched.series_id IN (
                    SELECT id FROM metering_series
                    WHERE tenant_id = %(tenant_id)s AND event_type = %(event_type)s
                )
        )
"""
