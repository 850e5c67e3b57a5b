"""
The statements that recompute hourly summaries. ``recompute`` says what they promise, and when which is used.

All end alike: the rows that differ are written, told to whoever watches them, and answered.
"""

from typing import Final

from metering import models, request_rollup

# A type that came up under the name of a meter has no meter of its own: the one that was made stands.
HAS_IMPLICIT_METER: Final = """
    NOT EXISTS (SELECT FROM metering_meter AS meter WHERE meter.code = series.event_type)
"""
IS_SPECIAL: Final = """
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
TELL: Final = """,
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
            coalesce(summed.total, 0) AS total, coalesce(summed.event_count, 0) AS event_count, summed.maximum,
            NULL::bigint AS latest, NULL::bigint AS unique_count, 0 AS skipped_count,
            coalesce(stored.total, 0) AS old_total, coalesce(stored.event_count, 0) AS old_count
        FROM touched {summed_and_stored}
        WHERE (coalesce(summed.total, 0), coalesce(summed.event_count, 0), summed.maximum)
            IS DISTINCT FROM (coalesce(stored.total, 0), coalesce(stored.event_count, 0), stored.maximum)
    ),
    {write}
"""
# From the list of windows into the covering index, one probe each: the cost follows what changed, not how much is
# stored. LIMIT keeps the look at the stored row a probe as well, whatever the statistics say. A window without events
# gets no row, because hours of zero would be many.
_BY_WINDOW: Final = """
        CROSS JOIN LATERAL (
            SELECT sum(event.quantity) AS total, count(*) AS event_count, max(event.quantity) AS maximum
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
"""
# Where most windows of an hour are touched, reading all of it costs half of probing for each. CASE names the index by
# hour, which serves nothing else.
_BY_HOUR: Final = """
        LEFT JOIN (
            SELECT
                event.event_hour, event.series_id,
                sum(event.quantity) AS total, count(*) AS event_count, max(event.quantity) AS maximum
            FROM metering_event AS event
            WHERE event.event_hour = ANY(%(whole_hours)s::int[])
                AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
            GROUP BY event.event_hour, event.series_id
        ) AS summed USING (event_hour, series_id)
        LEFT JOIN (
            SELECT
                summary.tenant_id, summary.meter, summary.period_start,
                summary.total, summary.event_count, summary.maximum
            FROM metering_usage_summary AS summary
            WHERE CASE WHEN summary.granularity = 'hour' AND summary.group_key = '' THEN summary.period_start END
                = ANY(ARRAY(SELECT to_timestamp(hour::bigint * 3600) FROM unnest(%(whole_hours)s::int[]) AS hour))
        ) AS stored
            ON stored.tenant_id = touched.tenant_id AND stored.meter = touched.event_type
            AND stored.period_start = touched.starts_at
"""
RECOMPUTE, RECOMPUTE_WHOLE_HOURS = (
    _RECOMPUTE.format(
        is_special=IS_SPECIAL,
        has_implicit_meter=HAS_IMPLICIT_METER,
        summed_and_stored=summed_and_stored,
        write=WRITE.format(granularity="hour") + TELL,
    )
    for summed_and_stored in (_BY_WINDOW, _BY_HOUR)
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
# What is summed: the quantity as corrected, or a property that has the form of one. A request that is not billable
# stays so, whatever amends it.
_QUANTITY: Final = f"""coalesce(
                CASE WHEN touched.meter <> '{request_rollup.EVENT_TYPE}' OR {request_rollup.IS_BILLABLE}
                    THEN correction.quantity END,
                event.quantity
            )"""
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


def hourly(meter: models.Meter | None) -> str:
    """The statement for the hours of a slice: all of a meter, or of types' own meters the special ones."""
    touched = (
        _HOURLY.format(meter="series.event_type", condition=f"{IS_SPECIAL} AND {HAS_IMPLICIT_METER}")
        if meter is None
        else _HOURLY.format(meter="%(code)s::text", condition="true")
    )
    return counted(touched=touched, granularity="hour", meter=meter) + TELL


SPECIAL: Final = hourly(None)
