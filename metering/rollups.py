"""
Days and months (in UTC): recomputed whole from the hours of the days that changed, written where they differ.

Sums and counts are added up from the rows below, the greatest and the latest are taken from them. Different values are
counted again from the events of the whole day or month, because counts of different values cannot be added.
"""

from collections.abc import Iterable
from typing import Final

from django.db import connection

from metering import models, recompute, statements


def roll_up(*, slice_: recompute.Slice, meters: Iterable[models.Meter]) -> int:
    """
    Bring the days and months of the windows up to date; how many rows changed.

    Idempotency, locks: as ``recompute.recompute``, after which it must run.
    """
    meters = list(meters)
    has_groups = any(meter.group_by and meter.aggregation != models.Aggregation.UNIQUE_COUNT for meter in meters)
    changed = 0
    with connection.cursor() as cursor:
        for statement in STATEMENTS + GROUPED_STATEMENTS if has_groups else STATEMENTS:
            cursor.execute(statement, slice_.values())
            changed += int(cursor.fetchone()[0])
    for meter in meters:
        if meter.aggregation == models.Aggregation.UNIQUE_COUNT:
            changed += _count_again(slice_, meter)
    return changed


def _count_again(slice_: recompute.Slice, meter: models.Meter) -> int:
    own = slice_.of_type(meter.event_type)
    if own is None:
        return 0
    values = own.values() | recompute.values_of(meter)
    changed = 0
    for granularity in ("day", "month"):
        with connection.cursor() as cursor:
            cursor.execute(_BOUNDS.format(granularity=granularity), values)
            first_hour, last_hour = cursor.fetchone()
            touched = _WINDOWS_BELOW.format(granularity=granularity)
            cursor.execute(
                statements.counted(touched=touched, granularity=granularity, meter=meter) + _CHANGED,
                values | {"first_hour": first_hour, "last_hour": last_hour},
            )
            changed += int(cursor.fetchone()[0])
    return changed


_CHANGED: Final = " SELECT count(*) FROM differing"
_BOUNDS: Final = """
    SELECT
        min((extract(epoch FROM date_trunc('{granularity}', starts_at))::bigint / 3600)::int),
        max((extract(epoch FROM date_trunc('{granularity}', starts_at) + interval '1 {granularity}') / 3600)::int) - 1
    FROM (
        SELECT to_timestamp(touched.event_hour::bigint * 3600) AT TIME ZONE 'UTC' AS starts_at
        FROM unnest(%(hours)s::int[]) AS touched(event_hour)
    ) AS touched
"""

# All hours of the day or month in which the meter has counted something.
_WINDOWS_BELOW: Final = """
        SELECT DISTINCT
            period.series_id, (extract(epoch FROM hour.period_start)::bigint / 3600)::int AS event_hour,
            period.tenant_id, period.meter, period.period_start, NULL::timestamptz[] AS splits
        FROM (
            SELECT DISTINCT
                touched.series_id, series.tenant_id, %(code)s::text AS meter,
                date_trunc('{granularity}', to_timestamp(touched.event_hour::bigint * 3600), 'UTC') AS period_start
            FROM unnest(%(series_ids)s::int[], %(hours)s::int[]) AS touched(series_id, event_hour)
            JOIN metering_series AS series ON series.id = touched.series_id
        ) AS period
        JOIN metering_usage_summary AS hour
            ON hour.tenant_id = period.tenant_id AND hour.meter = period.meter AND hour.group_key = ''
            AND hour.granularity = 'hour' AND hour.period_start >= period.period_start
            AND hour.period_start
                < (period.period_start AT TIME ZONE 'UTC' + interval '1 {granularity}') AT TIME ZONE 'UTC'
"""

_ROLLED_UP: Final = """
    WITH touched AS MATERIALIZED (
        SELECT period.tenant_id, meter.code AS meter, meter.is_latest, period.starts_at, period.ends_at
        FROM (
            SELECT DISTINCT
                series.tenant_id, series.event_type,
                date_trunc('{granularity}', to_timestamp(touched.event_hour::bigint * 3600), 'UTC') AS starts_at,
                (
                    date_trunc('{granularity}', to_timestamp(touched.event_hour::bigint * 3600) AT TIME ZONE 'UTC')
                        + interval '1 {granularity}'
                ) AT TIME ZONE 'UTC' AS ends_at
            FROM unnest(%(series_ids)s::int[], %(hours)s::int[]) AS touched(series_id, event_hour)
            JOIN metering_series AS series ON series.id = touched.series_id
        ) AS period
        CROSS JOIN LATERAL ({meters}) AS meter
    ),
    differing AS MATERIALIZED (
        SELECT
            touched.tenant_id, touched.meter, summed.group_key, touched.starts_at AS period_start,
            summed.total, summed.event_count, summed.maximum, latest.latest, NULL::bigint AS unique_count,
            summed.skipped_count
        FROM touched
        CROSS JOIN LATERAL (
            SELECT
                hour.group_key, sum(hour.total) AS total, sum(hour.event_count) AS event_count,
                max(hour.maximum) AS maximum, sum(hour.skipped_count) AS skipped_count
            FROM metering_usage_summary AS hour
            WHERE hour.tenant_id = touched.tenant_id AND hour.meter = touched.meter AND hour.group_key {groups} ''
                AND hour.granularity = '{below}'
                AND hour.period_start >= touched.starts_at AND hour.period_start < touched.ends_at
            GROUP BY hour.group_key
        ) AS summed
        LEFT JOIN LATERAL (
            SELECT hour.latest
            FROM metering_usage_summary AS hour
            WHERE touched.is_latest AND hour.latest IS NOT NULL
                AND hour.tenant_id = touched.tenant_id AND hour.meter = touched.meter
                AND hour.group_key = summed.group_key AND hour.granularity = '{below}'
                AND hour.period_start >= touched.starts_at AND hour.period_start < touched.ends_at
            ORDER BY hour.period_start DESC
            LIMIT 1
        ) AS latest ON true
        LEFT JOIN LATERAL (
            SELECT stored.total, stored.event_count, stored.maximum, stored.latest, stored.skipped_count
            FROM metering_usage_summary AS stored
            WHERE stored.tenant_id = touched.tenant_id AND stored.meter = touched.meter
                AND stored.group_key = summed.group_key AND stored.granularity = '{granularity}'
                AND stored.period_start = touched.starts_at
            LIMIT 1
        ) AS stored ON true
        WHERE (summed.total, summed.event_count, summed.maximum, latest.latest, summed.skipped_count)
            IS DISTINCT FROM (stored.total, stored.event_count, stored.maximum, stored.latest, stored.skipped_count)
    ),"""
_ALL_METERS: Final = """
            SELECT period.event_type AS code, false AS is_latest
            WHERE NOT EXISTS (SELECT FROM metering_meter WHERE metering_meter.code = period.event_type)
            UNION ALL
            SELECT metering_meter.code, metering_meter.aggregation = 'latest'
            FROM metering_meter
            WHERE metering_meter.event_type = period.event_type AND metering_meter.aggregation <> 'unique_count'
"""
_METERS_WITH_GROUPS: Final = """
            SELECT metering_meter.code, metering_meter.aggregation = 'latest' AS is_latest
            FROM metering_meter
            WHERE metering_meter.event_type = period.event_type AND metering_meter.aggregation <> 'unique_count'
                AND metering_meter.group_by <> '{}'
"""


def _statement(*, granularity: str, below: str, meters: str, groups: str) -> str:
    start = _ROLLED_UP.format(granularity=granularity, below=below, meters=meters, groups=groups)
    return start + statements.WRITE.format(granularity=granularity) + _CHANGED


STATEMENTS: Final = (
    _statement(granularity="day", below="hour", meters=_ALL_METERS, groups="="),
    _statement(granularity="month", below="day", meters=_ALL_METERS, groups="="),
)
GROUPED_STATEMENTS: Final = (
    _statement(granularity="day", below="hour", meters=_METERS_WITH_GROUPS, groups="<>"),
    _statement(granularity="month", below="day", meters=_METERS_WITH_GROUPS, groups="<>"),
)
