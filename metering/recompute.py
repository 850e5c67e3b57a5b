"""
What a window adds up to: its hourly summaries, recomputed from the events and written where they differ.

Most windows are summed from the covering index alone. A window that has a correction, whose hour is split, or whose
type has meters of its own is read from the events themselves:

* a correction never counts by itself. The latest gives its original another quantity, in the original's window, or
  takes it out where it voids it; the original's time and properties stand.
* a split hour has a row for each of its parts.
* a meter counts ``quantity``, or an integer property of 0 to 10^15; an event without one is counted as skipped.

Which way a window goes is decided by the statement that reads its events, in the snapshot that it reads them in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db import connection

from metering import models, request_rollup

Window = tuple[int, int]
"""A series and an hour."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Windows that are recomputed together, in one shard, at one moment."""

    shard: int
    windows: Sequence[Window]
    now: datetime
    types: Mapping[int, str]
    """The event types of series that are more than summed; others may be left out."""

    def of_type(self, event_type: str) -> "Slice | None":
        """The windows of one event type, where there are any."""
        windows = [window for window in self.windows if self.types.get(window[0]) == event_type]
        return replace(self, windows=windows) if windows else None

    def values(self) -> dict[str, Any]:
        """What the statements need. The bounds are known when they are planned: other months are not even locked."""
        event_hours = [hour for _, hour in self.windows]
        return {
            "series_ids": as_array(series_id for series_id, _ in self.windows),
            "hours": as_array(event_hours),
            "first_hour": min(event_hours),
            "last_hour": max(event_hours),
            "shard": self.shard,
            "now": self.now,
        }


def as_array(numbers: Iterable[int]) -> str:
    """An array as PostgreSQL reads it: psycopg's own dump of a long list takes as long as the statement."""
    return f"{{{','.join(map(str, numbers))}}}"


def recompute(*, slice_: Slice, meters: Iterable[models.Meter]) -> list[Window]:
    """
    Bring the hourly summaries of the windows up to date; a window for each row that changed.

    Idempotency: a summary is what its events add up to, whoever computes it and how often.
    Locks: none of its own. Requires an open transaction and aggregation's lock on the shard, or two who compute the
    same window could write out of order.
    """
    changed = _execute(RECOMPUTE, slice_.values())
    if _may_be_special():
        changed += _execute(_SPECIAL, slice_.values())
    for meter in meters:
        if own := slice_.of_type(meter.event_type):
            changed += recompute_meter(slice_=own, meter=meter)
    return changed


def recompute_meter(*, slice_: Slice, meter: models.Meter) -> list[Window]:
    """The same for one meter, and windows of its type."""
    return _execute(_hourly(meter), slice_.values() | values_of(meter))


def find_types(*, windows: Sequence[Window], event_types: Iterable[str]) -> dict[int, str]:
    """The series of the windows that hold events of these types, and of which."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, event_type FROM metering_series WHERE event_type = ANY(%s) AND id = ANY(%s::int[])",
            [sorted(set(event_types)), as_array({series_id for series_id, _ in windows})],
        )
        return dict(cursor.fetchall())


def values_of(meter: models.Meter) -> dict[str, Any]:
    """What a meter's statement needs beside its slice."""
    values: dict[str, Any] = {"code": meter.code, "property": meter.property, "group_by": meter.group_by}
    for place, (name, accepted) in enumerate(sorted(meter.filters.items())):
        values |= {f"filter_{place}": name, f"accepted_{place}": accepted}
    return values


def _execute(statement: str, values: dict[str, Any]) -> list[Window]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def _may_be_special() -> bool:
    """Whether there is any window that ``RECOMPUTE`` could have left out. Asked after it, so that none is missed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM metering_correction) OR EXISTS (SELECT FROM metering_window_split)",
        )
        return bool(cursor.fetchone()[0])


# A type that came up under the name of a meter has no meter of its own: the one that was made stands.
_HAS_IMPLICIT_METER: Final = """
    NOT EXISTS (SELECT FROM metering_meter AS meter WHERE meter.code = series.event_type)
"""
_IS_SPECIAL: Final = """
    (
        EXISTS (
            SELECT FROM metering_correction AS own
            WHERE own.event_hour = touched.event_hour AND own.series_id = touched.series_id
        )
        OR EXISTS (
            SELECT FROM metering_correction AS amended
            WHERE amended.original_event_hour = touched.event_hour AND amended.original_series_id = touched.series_id
        )
        OR EXISTS (
            SELECT FROM metering_window_split AS split
            WHERE split.tenant_id = series.tenant_id AND split.event_hour = touched.event_hour
        )
    )
"""

# What all statements end with: the rows that differ are written, told to whoever watches them, and answered. Old
# figures are read by the statement that replaces them; nobody else may write them meanwhile.
WRITE: Final = """
    written AS (
        INSERT INTO metering_usage_summary AS stored (
            tenant_id, meter, group_key, granularity, period_start,
            total, event_count, maximum, latest, unique_count, skipped_count, computed_at
        )
        SELECT
            tenant_id, meter, group_key, '{granularity}', period_start,
            total, event_count, maximum, latest, unique_count, skipped_count, %(now)s
        FROM differing
        ON CONFLICT (tenant_id, meter, group_key, granularity, period_start) DO UPDATE SET
            total = EXCLUDED.total,
            event_count = EXCLUDED.event_count,
            maximum = EXCLUDED.maximum,
            latest = EXCLUDED.latest,
            unique_count = EXCLUDED.unique_count,
            skipped_count = EXCLUDED.skipped_count,
            computed_at = EXCLUDED.computed_at
    )
"""
_TELL: Final = """,
    told AS (
        INSERT INTO metering_changed_window (
            shard, tenant_id, meter, group_key, period_start, old_total, new_total, old_count, new_count, changed_at
        )
        SELECT
            %(shard)s, tenant_id, meter, group_key, period_start, old_total, total, old_count, event_count, %(now)s
        FROM differing
    )
    SELECT series_id, (extract(epoch FROM period_start)::bigint / 3600)::int FROM differing
"""

# From the list of windows into the covering index, one probe each: the cost follows what changed, not how much is
# stored. LIMIT keeps the look at the stored row a probe as well, whatever the statistics say. A window without events
# gets no row, because hours of zero would be many.
_RECOMPUTE: Final = """
    WITH touched AS MATERIALIZED (
        SELECT
            touched.series_id, touched.event_hour, series.tenant_id, series.event_type,
            to_timestamp(touched.event_hour::bigint * 3600) AS starts_at
        FROM unnest(%(series_ids)s::int[], %(hours)s::int[]) AS touched(series_id, event_hour)
        JOIN metering_series AS series ON series.id = touched.series_id
        WHERE NOT {is_special} AND {has_implicit_meter}
    ),
    differing AS MATERIALIZED (
        SELECT
            touched.series_id, touched.tenant_id, touched.event_type AS meter, '' AS group_key,
            touched.starts_at AS period_start,
            summed.total, summed.event_count, summed.maximum, NULL::bigint AS latest, NULL::bigint AS unique_count,
            0 AS skipped_count, coalesce(stored.total, 0) AS old_total, coalesce(stored.event_count, 0) AS old_count
        FROM touched
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(event.quantity), 0) AS total, count(*) AS event_count, max(event.quantity) AS maximum
            FROM metering_event AS event
            WHERE event.event_hour = touched.event_hour AND event.series_id = touched.series_id
                AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
        ) AS summed
        LEFT JOIN LATERAL (
            SELECT summary.total, summary.event_count, summary.maximum
            FROM metering_usage_summary AS summary
            WHERE summary.tenant_id = touched.tenant_id AND summary.meter = touched.event_type
                AND summary.group_key = '' AND summary.granularity = 'hour'
                AND summary.period_start = touched.starts_at
            LIMIT 1
        ) AS stored ON true
        WHERE (summed.total, summed.event_count, summed.maximum)
            IS DISTINCT FROM (coalesce(stored.total, 0), coalesce(stored.event_count, 0), stored.maximum)
    ),
    {write}
"""
RECOMPUTE: Final = _RECOMPUTE.format(
    is_special=_IS_SPECIAL, has_implicit_meter=_HAS_IMPLICIT_METER, write=WRITE.format(granularity="hour") + _TELL
)


_COUNTED: Final = """
    WITH touched AS MATERIALIZED ({touched}),
    period AS MATERIALIZED (
        SELECT DISTINCT
            series_id, tenant_id, meter, period_start,
            (period_start AT TIME ZONE 'UTC' + interval '1 {granularity}') AT TIME ZONE 'UTC' AS period_end
        FROM touched
    ),
    correction AS MATERIALIZED (
        SELECT DISTINCT ON (given.original_key_hash) given.original_key_hash, given.quantity, given.void
        FROM touched
        JOIN metering_correction AS given
            ON given.original_event_hour = touched.event_hour AND given.original_series_id = touched.series_id
        ORDER BY given.original_key_hash, given.created_at DESC, given.batch_id DESC, given.position DESC
    ),
    counted AS (
        SELECT
            touched.series_id, touched.tenant_id, touched.meter,
            CASE WHEN touched.splits IS NULL THEN touched.period_start ELSE greatest(
                touched.period_start, (SELECT max(at) FROM unnest(touched.splits) AS at WHERE at <= event.happened_at)
            ) END AS period_start,
            event.happened_at, event.key_hash, event.group_key, {value} AS value, event.text AS text
        FROM touched
        CROSS JOIN LATERAL (
            SELECT
                event.key_hash, event.event_timestamp AS happened_at, event.quantity, event.properties,
                {group_key} AS group_key, {text} AS text
            FROM metering_event AS event
            WHERE event.event_hour = touched.event_hour AND event.series_id = touched.series_id
                AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
                AND event.corrects IS NULL {filters}
            OFFSET 0
        ) AS event
        LEFT JOIN correction ON correction.original_key_hash = event.key_hash
        WHERE correction.void IS NOT TRUE
    ),
    computed AS (
        SELECT
            series_id, tenant_id, meter, coalesce(group_key, '') AS group_key, period_start,
            coalesce(sum(value), 0) AS total, {count} AS event_count, max(value) AS maximum,
            {latest} AS latest, {unique} AS unique_count, count(*) - {count} AS skipped_count
        FROM counted
        GROUP BY series_id, tenant_id, meter, period_start, GROUPING SETS ({grouping})
    ),
    stored AS MATERIALIZED (
        SELECT period.series_id, summary.* FROM period CROSS JOIN LATERAL ({stored}) AS summary
    ),
    differing AS MATERIALIZED (
        SELECT
            coalesce(computed.series_id, stored.series_id) AS series_id, tenant_id, meter, group_key, period_start,
            coalesce(computed.total, 0) AS total, coalesce(computed.event_count, 0) AS event_count, computed.maximum,
            computed.latest, coalesce(computed.unique_count, {no_unique}) AS unique_count,
            coalesce(computed.skipped_count, 0) AS skipped_count,
            coalesce(stored.total, 0) AS old_total, coalesce(stored.event_count, 0) AS old_count
        FROM computed
        FULL JOIN stored USING (tenant_id, meter, group_key, period_start)
        WHERE (
            coalesce(computed.total, 0), coalesce(computed.event_count, 0), computed.maximum, computed.latest,
            coalesce(computed.unique_count, 0), coalesce(computed.skipped_count, 0)
        ) IS DISTINCT FROM (
            coalesce(stored.total, 0), coalesce(stored.event_count, 0), stored.maximum, stored.latest,
            coalesce(stored.unique_count, 0), coalesce(stored.skipped_count, 0)
        )
    ),
    {write}
"""


def counted(*, touched: str, granularity: str, meter: models.Meter | None) -> str:
    """
    The statement that counts a meter (None: the type's own) from events, and ends with ``differing`` and ``written``.

    ``touched`` answers series_id, event_hour, tenant_id, meter and period_start, which is where a row of its events
    begins; for hours, ``splits`` cut it further.
    """
    grouped = meter is not None and bool(meter.group_by)
    stored = [_STORED.format(granularity=granularity, operator=operator) for operator in ("=", "<>")]
    return _COUNTED.format(
        touched=touched,
        granularity=granularity,
        value=_value(meter),
        text=_TEXT if _is(meter, "unique_count") else "NULL::text",
        group_key=_GROUP_KEY if grouped else "''",
        grouping="(), (group_key)" if grouped else "(group_key)",
        filters=_filters(meter),
        count="count(text)" if _is(meter, "unique_count") else "count(value)",
        unique="count(DISTINCT text)" if _is(meter, "unique_count") else "NULL::bigint",
        no_unique="0" if _is(meter, "unique_count") else "NULL",
        latest=_LATEST if _is(meter, "latest") else "NULL::bigint",
        stored=" UNION ALL ".join(stored if grouped else stored[:1]),
        write=WRITE.format(granularity=granularity),
    )


_STORED: Final = """
            SELECT
                summary.tenant_id, summary.meter, summary.group_key, summary.period_start, summary.total,
                summary.event_count, summary.maximum, summary.latest, summary.unique_count, summary.skipped_count
            FROM metering_usage_summary AS summary
            WHERE summary.tenant_id = period.tenant_id AND summary.meter = period.meter
                AND summary.group_key {operator} '' AND summary.granularity = '{granularity}'
                AND summary.period_start >= period.period_start AND summary.period_start < period.period_end
"""
# What is told apart by a unique count: a text, a number, true or false. 1 and "1" are the same.
_TEXT: Final = """CASE WHEN jsonb_typeof(event.properties -> %(property)s) IN ('string', 'number', 'boolean')
                    THEN event.properties ->> %(property)s END"""
# What is summed: the quantity as corrected, or a property that has the form of one.
_QUANTITY: Final = "coalesce(correction.quantity, event.quantity)"
_PROPERTY: Final = """CASE
                WHEN jsonb_typeof(event.properties -> %(property)s) IS DISTINCT FROM 'number' THEN NULL
                WHEN event.properties ->> %(property)s !~ '^[0-9]{1,16}$' THEN NULL
                WHEN (event.properties ->> %(property)s)::bigint > 1000000000000000 THEN NULL
                ELSE (event.properties ->> %(property)s)::bigint
            END"""
_LATEST: Final = "(array_agg(value ORDER BY happened_at DESC, key_hash DESC) FILTER (WHERE value IS NOT NULL))[1]"
# The group as jsonb writes it, which is one text for one group; null where an event lacks the name. Values are cut, so
# that the index can hold them.
_GROUP_KEY: Final = """(
                    SELECT jsonb_object_agg(name, left(event.properties ->> name, 100))::text
                    FROM unnest(%(group_by)s::text[]) AS name
                )"""


def _is(meter: models.Meter | None, aggregation: str) -> bool:
    return meter is not None and meter.aggregation == aggregation


def _value(meter: models.Meter | None) -> str:
    return _QUANTITY if meter is None or not meter.property or _is(meter, "unique_count") else _PROPERTY


def _filters(meter: models.Meter | None) -> str:
    if meter is None:
        return ""
    # A request that is not billable is in no meter that a price could name.
    only_billable = f" AND {request_rollup.IS_BILLABLE}" if meter.event_type == request_rollup.EVENT_TYPE else ""
    return only_billable + "".join(
        f" AND event.properties ->> %(filter_{place})s = ANY(%(accepted_{place})s::text[])"
        for place in range(len(meter.filters))
    )


_HOURLY: Final = """
        SELECT
            touched.series_id, touched.event_hour, series.tenant_id, {meter} AS meter,
            to_timestamp(touched.event_hour::bigint * 3600) AS period_start,
            (
                SELECT array_agg(split.split_at) FROM metering_window_split AS split
                WHERE split.tenant_id = series.tenant_id AND split.event_hour = touched.event_hour
            ) AS splits
        FROM unnest(%(series_ids)s::int[], %(hours)s::int[]) AS touched(series_id, event_hour)
        JOIN metering_series AS series ON series.id = touched.series_id
        WHERE {condition}
"""


def _hourly(meter: models.Meter | None) -> str:
    """The statement for the hours of a slice: all of a meter, or of types' own meters the special ones."""
    touched = (
        _HOURLY.format(meter="series.event_type", condition=f"{_IS_SPECIAL} AND {_HAS_IMPLICIT_METER}")
        if meter is None
        else _HOURLY.format(meter="%(code)s::text", condition="true")
    )
    return counted(touched=touched, granularity="hour", meter=meter) + _TELL


_SPECIAL: Final = _hourly(None)
