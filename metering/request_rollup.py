"""
The statements of the request roll-up. ``requests`` says what they promise.

Hours are recomputed from the events, days from hours, months from days: one statement a level, the same tail for all.
"""

from typing import Final

EVENT_TYPE: Final = "api.request"
IS_BILLABLE: Final = "event.properties ->> 'billable' IS DISTINCT FROM 'false'"

# One pass over a window's events tells all three dimensions. LATERAL with an aggregate inside: from the list of windows
# into the index by window, one probe each, so that the cost follows what was touched. Properties are what a sender
# says: what has not the form of a status or a time (up to 10^9 ms) counts as none, so that no event poisons a window.
_FIGURES: Final = """
        count(*) AS requests,
        count(*) FILTER (WHERE request.is_billable) AS billable_requests,
        coalesce(sum(request.quantity), 0) AS units,
        coalesce(sum(request.response_time_ms), 0) AS response_time_ms,
        count(request.response_time_ms) AS timed_requests,
        count(*) FILTER (WHERE request.status_class IN ('2', '3')) AS successes,
        count(*) FILTER (WHERE request.status_class = '4') AS client_errors,
        count(*) FILTER (WHERE request.status_class = '5') AS server_errors
    FROM (
        SELECT
            coalesce(amended.quantity, event.quantity) AS quantity,
            coalesce(left(event.properties ->> 'endpoint', 255), '') AS endpoint,
            coalesce(left(event.properties ->> 'api_key_id', 255), '') AS api_key,
            %(is_billable)s AS is_billable,
            CASE WHEN event.properties ->> 'status_code' ~ '^[1-5][0-9][0-9]$'
                THEN left(event.properties ->> 'status_code', 1) END AS status_class,
            CASE WHEN event.properties ->> 'response_time_ms' ~ '^[0-9]{1,9}(\\.[0-9]{1,20})?$'
                THEN (event.properties ->> 'response_time_ms')::numeric END AS response_time_ms
        FROM metering_event AS event
        LEFT JOIN (
            SELECT DISTINCT ON (original_key_hash) original_key_hash, quantity, void
            FROM metering_correction
            WHERE original_event_hour = %(hour)s AND original_series_id = %(series)s
            ORDER BY original_key_hash, created_at DESC, batch_id DESC, position DESC
        ) AS amended ON amended.original_key_hash = event.key_hash
        WHERE event.event_hour = %(hour)s AND event.series_id = %(series)s
            AND event.event_hour BETWEEN %%(first_hour)s AND %%(last_hour)s
            AND event.corrects IS NULL AND amended.void IS NOT TRUE %(and)s
    ) AS request
"""
_HOURS: Final = (
    """
    WITH touched AS (
        SELECT tenant_id, to_timestamp(event_hour::bigint * 3600) AS starts_at, series_id, event_hour
        FROM unnest(%(tenant_ids)s::text[], %(series_ids)s::int[], %(hours)s::int[])
            AS touched(tenant_id, series_id, event_hour)
    ),
    part AS (
        SELECT touched.tenant_id, touched.starts_at, summed.*
        FROM touched
        CROSS JOIN LATERAL (
            SELECT
                CASE grouping(request.endpoint, request.api_key)
                    WHEN 3 THEN 'all' WHEN 1 THEN 'endpoint' ELSE 'api_key' END AS dimension,
                coalesce(request.endpoint, request.api_key, '') AS name, """
    + _FIGURES % {"hour": "touched.event_hour", "series": "touched.series_id", "and": "", "is_billable": IS_BILLABLE}
    + """
            GROUP BY GROUPING SETS ((), (request.endpoint), (request.api_key))
        ) AS summed
        WHERE summed.requests > 0
    ),"""
)
_ROLLED_UP: Final = """
    WITH touched AS (
        SELECT DISTINCT
            tenant_id,
            date_trunc('{granularity}', to_timestamp(event_hour::bigint * 3600), 'UTC') AS starts_at,
            (date_trunc('{granularity}', to_timestamp(event_hour::bigint * 3600) AT TIME ZONE 'UTC')
                + interval '1 {granularity}') AT TIME ZONE 'UTC' AS ends_at
        FROM unnest(%(tenant_ids)s::text[], %(hours)s::int[]) AS touched(tenant_id, event_hour)
    ),
    part AS (
        SELECT touched.tenant_id, touched.starts_at, summed.*
        FROM touched
        CROSS JOIN LATERAL (
            SELECT
                dimension, name, sum(requests) AS requests, sum(billable_requests) AS billable_requests,
                sum(units) AS units, sum(response_time_ms) AS response_time_ms, sum(timed_requests) AS timed_requests,
                sum(successes) AS successes, sum(client_errors) AS client_errors, sum(server_errors) AS server_errors
            FROM metering_request_summary
            WHERE tenant_id = touched.tenant_id AND granularity = '{below}'
                AND dimension IN ('all', 'endpoint', 'api_key')
                AND period_start >= touched.starts_at AND period_start < touched.ends_at
            GROUP BY dimension, name
        ) AS summed
    ),"""
# What remains is the same on each level: keep the busiest names, drop rows that have nothing left, write what differs.
_WRITE: Final = """
    ranked AS (
        SELECT
            *,
            row_number() OVER (
                PARTITION BY tenant_id, starts_at, dimension ORDER BY name = '', requests DESC, name
            ) AS place,
            count(*) FILTER (WHERE dimension = 'endpoint' AND name <> '') OVER one_window AS endpoints,
            count(*) FILTER (WHERE dimension = 'api_key' AND name <> '') OVER one_window AS api_keys
        FROM part
        WINDOW one_window AS (PARTITION BY tenant_id, starts_at)
    ),
    computed AS MATERIALIZED (
        SELECT
            tenant_id, starts_at, dimension, CASE WHEN place <= %(max_names)s THEN name ELSE '' END AS name,
            sum(requests) AS requests, sum(billable_requests) AS billable_requests, sum(units) AS units,
            round(sum(response_time_ms), 6) AS response_time_ms, sum(timed_requests) AS timed_requests,
            sum(successes) AS successes, sum(client_errors) AS client_errors, sum(server_errors) AS server_errors,
            CASE dimension WHEN 'all' THEN max(endpoints) ELSE 0 END AS endpoints,
            CASE dimension WHEN 'all' THEN max(api_keys) ELSE 0 END AS api_keys
        FROM ranked
        GROUP BY 1, 2, 3, 4
    ),
    emptied AS (
        DELETE FROM metering_request_summary AS stored
        USING touched
        WHERE stored.tenant_id = touched.tenant_id AND stored.granularity = '{granularity}'
            AND stored.dimension IN ('all', 'endpoint', 'api_key') AND stored.period_start = touched.starts_at
            AND NOT EXISTS (
                SELECT FROM computed
                WHERE computed.tenant_id = stored.tenant_id AND computed.starts_at = stored.period_start
                    AND computed.dimension = stored.dimension AND computed.name = stored.name
            )
        RETURNING 1
    ),
    written AS (
        INSERT INTO metering_request_summary AS stored (
            tenant_id, granularity, dimension, period_start, name, requests, billable_requests, units,
            response_time_ms, timed_requests, successes, client_errors, server_errors, endpoints, api_keys, computed_at
        )
        SELECT
            tenant_id, '{granularity}', dimension, starts_at, name, requests, billable_requests, units,
            response_time_ms, timed_requests, successes, client_errors, server_errors, endpoints, api_keys, %(now)s
        FROM computed
        ON CONFLICT (tenant_id, granularity, dimension, period_start, name) DO UPDATE SET
            requests = EXCLUDED.requests,
            billable_requests = EXCLUDED.billable_requests,
            units = EXCLUDED.units,
            response_time_ms = EXCLUDED.response_time_ms,
            timed_requests = EXCLUDED.timed_requests,
            successes = EXCLUDED.successes,
            client_errors = EXCLUDED.client_errors,
            server_errors = EXCLUDED.server_errors,
            endpoints = EXCLUDED.endpoints,
            api_keys = EXCLUDED.api_keys,
            computed_at = EXCLUDED.computed_at
        WHERE (
            stored.requests, stored.billable_requests, stored.units, stored.response_time_ms, stored.timed_requests,
            stored.successes, stored.client_errors, stored.server_errors, stored.endpoints, stored.api_keys
        ) IS DISTINCT FROM (
            EXCLUDED.requests, EXCLUDED.billable_requests, EXCLUDED.units, EXCLUDED.response_time_ms,
            EXCLUDED.timed_requests, EXCLUDED.successes, EXCLUDED.client_errors, EXCLUDED.server_errors,
            EXCLUDED.endpoints, EXCLUDED.api_keys
        )
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM emptied) + (SELECT count(*) FROM written)
"""
RECOMPUTE: Final = (
    _HOURS + _WRITE.format(granularity="hour"),
    _ROLLED_UP.format(granularity="day", below="hour") + _WRITE.format(granularity="day"),
    _ROLLED_UP.format(granularity="month", below="day") + _WRITE.format(granularity="month"),
)

# The beginning of the oldest batch that the roll-up does not count yet, else this statement, which reads the rows too.
_FRESH: Final = """
    WITH fresh AS (
        SELECT coalesce(min(started_at), statement_timestamp()) AS as_of
        FROM (
            SELECT started_at FROM metering_touched_window
            UNION ALL
            SELECT started_at FROM metering_quarantined_window
        ) AS uncounted
    )
"""

# What of a period lies in an hour that it covers only in part is summed from the events, in the same statement.
SUM_TOTALS: Final = (
    """
    SELECT
        sum(requests), sum(billable_requests), sum(units), sum(response_time_ms), sum(timed_requests), sum(successes),
        sum(client_errors), sum(server_errors)
    FROM (
        SELECT
            requests, billable_requests, units, response_time_ms, timed_requests, successes, client_errors,
            server_errors
        FROM unnest(%(granularities)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            AS span(granularity, starts_at, ends_at)
        JOIN metering_request_summary AS summary
            ON summary.tenant_id = %(tenant_id)s AND summary.granularity = span.granularity
            AND summary.dimension = 'all'
            AND summary.period_start >= span.starts_at AND summary.period_start < span.ends_at
        UNION ALL
        SELECT edge.*
        FROM metering_series AS series
        CROSS JOIN unnest(%(edge_hours)s::int[]) AS partly(event_hour)
        CROSS JOIN LATERAL (
            SELECT """
    + _FIGURES
    % {
        "hour": "partly.event_hour",
        "series": "series.id",
        "is_billable": IS_BILLABLE,
        "and": "AND event.event_timestamp >= %(period_start)s AND event.event_timestamp < %(period_end)s",
    }
    + """
        ) AS edge
        WHERE series.tenant_id = %(tenant_id)s AND series.event_type = %(event_type)s
    ) AS part
"""
)
_LIST_ENDPOINTS: Final = """
    {fresh}
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT
            summary.name, sum(summary.requests) AS requests, sum(summary.response_time_ms) AS response_time_ms,
            sum(summary.timed_requests) AS timed_requests, sum(summary.client_errors) AS client_errors,
            sum(summary.server_errors) AS server_errors
        FROM unnest(%(granularities)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
            AS span(granularity, starts_at, ends_at)
        JOIN metering_request_summary AS summary
            ON summary.tenant_id = %(tenant_id)s AND summary.granularity = span.granularity
            AND summary.dimension = 'endpoint'
            AND summary.period_start >= span.starts_at AND summary.period_start < span.ends_at
        GROUP BY summary.name
        HAVING %(after_requests)s::bigint IS NULL
            OR sum(summary.requests) < %(after_requests)s::bigint
            OR (sum(summary.requests) = %(after_requests)s::bigint AND summary.name > %(after_name)s::text)
        ORDER BY sum(summary.requests) DESC, summary.name
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.requests DESC, page.name
"""
_LIST_HOURS: Final = """
    {fresh}
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT period_start, requests, client_errors, server_errors
        FROM metering_request_summary
        WHERE tenant_id = %(tenant_id)s AND granularity = 'hour' AND dimension = 'all'
            AND period_start >= %(from)s AND period_start < %(to)s
            AND (%(after)s::timestamptz IS NULL OR period_start > %(after)s::timestamptz)
        ORDER BY period_start
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.period_start
"""
LIST_ENDPOINTS: Final = _LIST_ENDPOINTS.format(fresh=_FRESH)
LIST_HOURS: Final = _LIST_HOURS.format(fresh=_FRESH)
