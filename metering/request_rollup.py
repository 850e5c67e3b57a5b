"""
The statements of the request roll-up. ``requests`` says what they promise.

Hours are recomputed from the events, days from hours, months from days: one statement a level, the same tail for all.
"""

from typing import Final

EVENT_TYPE: Final = "api.request"
IS_BILLABLE: Final = "event.properties ->> 'billable' IS DISTINCT FROM 'false'"

_FIGURES: Final = """
        count(*) AS requests,
        count(*) FILTER (WHERE request.is_billable) AS billable_requests,
        coalesce(sum(request.quantity), 0) AS units,
        coalesce(sum(request.response_time_ms), 0) AS response_time_ms,
        count(request.response_time_ms) AS timed_requests,
        count(*) FILTER (WHERE request.status_class IN ('2', '3')) AS successes,
        count(*) FILTER (WHERE request.status_class = '4') AS client_errors,
        count(*) FILTER (WHERE request.status_class = '5') AS server_errors
"""
# Properties are what a sender says: what has not the form of a status or a time (up to 10^9 ms) counts as none, so that
# no event poisons a window. The latest correction gives its original another quantity (a request that is not billable
# stays so), or takes it out: one probe for each event, in windows that have any, so that the cost stays in line when a
# whole hour is amended.
_REQUESTS: Final = """(
        SELECT
            coalesce(CASE WHEN {is_billable} THEN amended.quantity END, event.quantity) AS quantity,
            coalesce(left(event.properties ->> 'endpoint', 255), '') AS endpoint,
            coalesce(left(event.properties ->> 'api_key_id', 255), '') AS api_key,
            {is_billable} AS is_billable,
            CASE WHEN event.properties ->> 'status_code' ~ '^[1-5][0-9][0-9]$'
                THEN left(event.properties ->> 'status_code', 1) END AS status_class,
            CASE WHEN event.properties ->> 'response_time_ms' ~ '^[0-9]{{1,9}}(\\.[0-9]{{1,20}})?$'
                THEN (event.properties ->> 'response_time_ms')::numeric END AS response_time_ms
        FROM metering_event AS event
        LEFT JOIN LATERAL (
            SELECT given.quantity, given.void
            FROM metering_correction AS given
            WHERE {is_corrected} AND given.original_key_hash = event.key_hash AND given.original_event_hour IS NOT NULL
            ORDER BY given.created_at DESC, given.batch_id DESC, given.position DESC
            LIMIT 1
        ) AS amended ON true
        WHERE event.event_hour = {hour} AND event.series_id = {series}
            AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
            AND event.corrects IS NULL AND amended.void IS NOT TRUE {more}
    ) AS request
"""
# One pass over a window's events tells all three dimensions.
_GROUPED_FROM_EVENTS: Final = """
    SELECT
        CASE grouping(request.endpoint, request.api_key)
            WHEN 3 THEN 'all' WHEN 1 THEN 'endpoint' ELSE 'api_key' END AS dimension,
        coalesce(request.endpoint, request.api_key, '') AS name,
        {figures}
    FROM {requests}
    GROUP BY GROUPING SETS ((), (request.endpoint), (request.api_key))
"""
_BELOW: Final = """
    FROM metering_request_summary AS below
    {lateral}
    WHERE below.tenant_id = touched.tenant_id AND below.granularity = '{below}'
        AND below.period_start >= touched.starts_at AND below.period_start < touched.ends_at
"""
_GROUPED_FROM_BELOW: Final = """
    SELECT
        'all' AS dimension, '' AS name, sum(requests) AS requests, sum(billable_requests) AS billable_requests,
        sum(units) AS units, sum(response_time_ms) AS response_time_ms, sum(timed_requests) AS timed_requests,
        sum(successes) AS successes, sum(client_errors) AS client_errors, sum(server_errors) AS server_errors
    {of_windows}
    UNION ALL
    SELECT
        'endpoint', one.name, sum(one.requests), 0, 0, sum(one.response_time_ms), sum(one.timed_requests), 0,
        sum(one.client_errors), sum(one.server_errors)
    {of_endpoints}
    GROUP BY one.name
    UNION ALL
    SELECT DISTINCT 'api_key', one.name, 0, 0, 0, 0, 0, 0, 0, 0
    {of_api_keys}
"""
EACH_ENDPOINT: Final = """
    CROSS JOIN LATERAL unnest(
        {row}.endpoint_names, {row}.endpoint_requests, {row}.endpoint_response_time_ms, {row}.endpoint_timed_requests,
        {row}.endpoint_client_errors, {row}.endpoint_server_errors
    ) AS one(name, requests, response_time_ms, timed_requests, client_errors, server_errors)
"""
_EACH_API_KEY: Final = "CROSS JOIN LATERAL unnest(below.api_key_ids) AS one(name)"

# LATERAL with an aggregate inside: from the list of windows into an index, one probe each, so that the cost follows
# what was touched. A window that has nothing left answers a row without requests, by which its old row is dropped.
_WRITE: Final = """
    WITH touched AS MATERIALIZED ({touched}),
    computed AS MATERIALIZED (
        SELECT touched.tenant_id, touched.starts_at, summed.*
        FROM touched
        CROSS JOIN LATERAL (
            SELECT
                sum(requests) FILTER (WHERE dimension = 'all') AS requests,
                sum(billable_requests) FILTER (WHERE dimension = 'all') AS billable_requests,
                sum(units) FILTER (WHERE dimension = 'all') AS units,
                round(sum(response_time_ms) FILTER (WHERE dimension = 'all'), 6) AS response_time_ms,
                sum(timed_requests) FILTER (WHERE dimension = 'all') AS timed_requests,
                sum(successes) FILTER (WHERE dimension = 'all') AS successes,
                sum(client_errors) FILTER (WHERE dimension = 'all') AS client_errors,
                sum(server_errors) FILTER (WHERE dimension = 'all') AS server_errors,
                coalesce(max(different) FILTER (WHERE dimension = 'endpoint'), 0) AS endpoints,
                coalesce(max(different) FILTER (WHERE dimension = 'api_key'), 0) AS api_keys,
                array_agg(name ORDER BY name COLLATE "C") FILTER (WHERE dimension = 'endpoint') AS endpoint_names,
                array_agg(requests::bigint ORDER BY name COLLATE "C")
                    FILTER (WHERE dimension = 'endpoint') AS endpoint_requests,
                array_agg(round(response_time_ms, 6) ORDER BY name COLLATE "C")
                    FILTER (WHERE dimension = 'endpoint') AS endpoint_response_time_ms,
                array_agg(timed_requests::bigint ORDER BY name COLLATE "C")
                    FILTER (WHERE dimension = 'endpoint') AS endpoint_timed_requests,
                array_agg(client_errors::bigint ORDER BY name COLLATE "C")
                    FILTER (WHERE dimension = 'endpoint') AS endpoint_client_errors,
                array_agg(server_errors::bigint ORDER BY name COLLATE "C")
                    FILTER (WHERE dimension = 'endpoint') AS endpoint_server_errors,
                coalesce(
                    array_agg(name ORDER BY name COLLATE "C") FILTER (WHERE dimension = 'api_key' AND name <> ''),
                    '{{}}'
                ) AS api_key_ids
            FROM (
                SELECT
                    dimension, CASE WHEN place <= %(max_names)s THEN name ELSE '' END AS name,
                    max(different) AS different, sum(requests) AS requests,
                    sum(billable_requests) AS billable_requests, sum(units) AS units,
                    sum(response_time_ms) AS response_time_ms, sum(timed_requests) AS timed_requests,
                    sum(successes) AS successes, sum(client_errors) AS client_errors,
                    sum(server_errors) AS server_errors
                FROM (
                    SELECT
                        grouped.*,
                        row_number() OVER (
                            PARTITION BY dimension ORDER BY name = '', requests DESC, name COLLATE "C"
                        ) AS place,
                        count(*) FILTER (WHERE name <> '') OVER (PARTITION BY dimension) AS different
                    FROM ({grouped}) AS grouped
                    WHERE requests IS NOT NULL
                ) AS ranked
                GROUP BY 1, 2
            ) AS kept
        ) AS summed
    ),
    emptied AS (
        DELETE FROM metering_request_summary AS stored
        USING computed
        WHERE coalesce(computed.requests, 0) = 0 AND stored.tenant_id = computed.tenant_id
            AND stored.granularity = '{granularity}' AND stored.period_start = computed.starts_at
        RETURNING 1
    ),
    written AS (
        INSERT INTO metering_request_summary AS stored (
            tenant_id, granularity, period_start, computed_at, {columns}
        )
        SELECT tenant_id, '{granularity}', starts_at, %(now)s, {columns}
        FROM computed
        WHERE requests > 0
        ON CONFLICT (tenant_id, granularity, period_start) DO UPDATE SET
            computed_at = EXCLUDED.computed_at, ({columns}) = ROW ({excluded})
        WHERE ({stored}) IS DISTINCT FROM ({excluded})
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM emptied) + (SELECT count(*) FROM written)
"""
_IS_CORRECTED: Final = """EXISTS (
            SELECT FROM metering_correction AS given
            WHERE given.original_event_hour = {hour} AND given.original_series_id = {series}
        )"""
_TOUCHED_HOURS: Final = """
        SELECT
            tenant_id, to_timestamp(event_hour::bigint * 3600) AS starts_at, series_id, event_hour,
            {is_corrected} AS is_corrected
        FROM unnest(%(tenant_ids)s::text[], %(series_ids)s::int[], %(hours)s::int[])
            AS touched(tenant_id, series_id, event_hour)
"""
_TOUCHED_PERIODS: Final = """
        SELECT DISTINCT
            tenant_id,
            date_trunc('{granularity}', to_timestamp(event_hour::bigint * 3600), 'UTC') AS starts_at,
            (date_trunc('{granularity}', to_timestamp(event_hour::bigint * 3600) AT TIME ZONE 'UTC')
                + interval '1 {granularity}') AT TIME ZONE 'UTC' AS ends_at
        FROM unnest(%(tenant_ids)s::text[], %(hours)s::int[]) AS touched(tenant_id, event_hour)
"""
_COLUMNS: Final = (
    "requests",
    "billable_requests",
    "units",
    "response_time_ms",
    "timed_requests",
    "successes",
    "client_errors",
    "server_errors",
    "endpoints",
    "api_keys",
    "endpoint_names",
    "endpoint_requests",
    "endpoint_response_time_ms",
    "endpoint_timed_requests",
    "endpoint_client_errors",
    "endpoint_server_errors",
    "api_key_ids",
)


def _statement(granularity: str, touched: str, grouped: str) -> str:
    return _WRITE.format(
        granularity=granularity,
        touched=touched,
        grouped=grouped,
        columns=", ".join(_COLUMNS),
        excluded=", ".join(f"EXCLUDED.{column}" for column in _COLUMNS),
        stored=", ".join(f"stored.{column}" for column in _COLUMNS),
    )


def _of_events(hour: str, series: str, *, is_corrected: str, more: str = "") -> str:
    return _REQUESTS.format(is_billable=IS_BILLABLE, hour=hour, series=series, is_corrected=is_corrected, more=more)


def _from_below(granularity: str, below: str) -> str:
    return _statement(
        granularity,
        _TOUCHED_PERIODS.format(granularity=granularity),
        _GROUPED_FROM_BELOW.format(
            of_windows=_BELOW.format(below=below, lateral=""),
            of_endpoints=_BELOW.format(below=below, lateral=EACH_ENDPOINT.format(row="below")),
            of_api_keys=_BELOW.format(below=below, lateral=_EACH_API_KEY),
        ),
    )


RECOMPUTE: Final = (
    _statement(
        "hour",
        _TOUCHED_HOURS.format(is_corrected=_IS_CORRECTED.format(hour="touched.event_hour", series="touched.series_id")),
        _GROUPED_FROM_EVENTS.format(
            figures=_FIGURES,
            requests=_of_events("touched.event_hour", "touched.series_id", is_corrected="touched.is_corrected"),
        ),
    ),
    _from_below("day", "hour"),
    _from_below("month", "day"),
)

_SPANS: Final = """
    unnest(%(granularities)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS span(granularity, starts_at, ends_at)
    JOIN metering_request_summary AS summary
        ON summary.tenant_id = %(tenant_id)s AND summary.granularity = span.granularity
        AND summary.period_start >= span.starts_at AND summary.period_start < span.ends_at
"""
# What of a period lies in an hour that it covers only in part is summed from the events, in the same statement.
_SUM_TOTALS: Final = """
    SELECT
        sum(requests), sum(billable_requests), sum(units), sum(response_time_ms), sum(timed_requests), sum(successes),
        sum(client_errors), sum(server_errors)
    FROM (
        SELECT
            requests, billable_requests, units, response_time_ms, timed_requests, successes, client_errors,
            server_errors
        FROM {spans}
        UNION ALL
        SELECT edge.*
        FROM metering_series AS series
        CROSS JOIN unnest(%(edge_hours)s::int[]) AS partly(event_hour)
        CROSS JOIN LATERAL (SELECT {is_corrected} AS is_corrected OFFSET 0) AS state
        CROSS JOIN LATERAL (SELECT {figures} FROM {requests}) AS edge
        WHERE series.tenant_id = %(tenant_id)s AND series.event_type = %(event_type)s
    ) AS part
"""
_LIST_ENDPOINTS: Final = """
    WITH fresh AS (SELECT {fresh} AS as_of)
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT
            one.name, sum(one.requests) AS requests, sum(one.response_time_ms) AS response_time_ms,
            sum(one.timed_requests) AS timed_requests, sum(one.client_errors) AS client_errors,
            sum(one.server_errors) AS server_errors
        FROM {spans} {each_endpoint}
        GROUP BY one.name
        HAVING %(after_requests)s::bigint IS NULL
            OR sum(one.requests) < %(after_requests)s::bigint
            OR (sum(one.requests) = %(after_requests)s::bigint AND one.name > %(after_name)s::text)
        ORDER BY sum(one.requests) DESC, one.name
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.requests DESC, page.name
"""
_LIST_HOURS: Final = """
    WITH fresh AS (SELECT {fresh} AS as_of)
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT period_start, requests, client_errors, server_errors
        FROM metering_request_summary
        WHERE tenant_id = %(tenant_id)s AND granularity = 'hour'
            AND period_start >= %(from)s AND period_start < %(to)s
            AND (%(after)s::timestamptz IS NULL OR period_start > %(after)s::timestamptz)
        ORDER BY period_start
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.period_start
"""
SUM_TOTALS: Final = _SUM_TOTALS.format(
    spans=_SPANS,
    figures=_FIGURES,
    is_corrected=_IS_CORRECTED.format(hour="partly.event_hour", series="series.id"),
    requests=_of_events(
        "partly.event_hour",
        "series.id",
        is_corrected="state.is_corrected",
        more="AND event.event_timestamp >= %(period_start)s AND event.event_timestamp < %(period_end)s",
    ),
)


def list_endpoints(fresh: str) -> str:
    """The statement of a page of endpoints; ``fresh`` is the expression that tells how fresh the page is."""
    return _LIST_ENDPOINTS.format(fresh=fresh, spans=_SPANS, each_endpoint=EACH_ENDPOINT.format(row="summary"))


def list_hours(fresh: str) -> str:
    """The statement of a page of hours."""
    return _LIST_HOURS.format(fresh=fresh)
