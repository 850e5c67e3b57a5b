"""
What each stage of a tenant's usage stored, read side by side.

Stored events and their summaries are read in one statement, so that what differs was different at one moment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.db import connection

from billing_site.kernel import usage_stages
from metering import archives, findings, hours, models
from metering.findings import HourRow

STAGES: Final = ("accepted", "duplicates", "conflicts", "dead_letters", "late", "summarised", "billed")
_SLICE_WINDOWS: Final = 20_000
_SLICE_HOURS: Final = 24 * 31


@dataclass(frozen=True)
class Scope:
    """Whose usage is looked at, of which types, and what bills it."""

    tenant_id: str
    event_type: str | None
    series: Sequence[tuple[int, str]]
    metered: frozenset[str]
    billed: Sequence[usage_stages.BilledMeter]
    type_of_meter: dict[str, str]
    dropped_months: frozenset[date]


def find_scope(tenant_id: str, meter: str | None, period_from: datetime, period_to: datetime) -> Scope:
    """What there is to look at: all series of the tenant, or those that one meter counts."""
    made = dict(models.Meter.objects.values_list("code", "event_type"))
    event_type = made.get(meter, meter) if meter else None
    series = models.Series.objects.filter(tenant_id=tenant_id)
    if event_type is not None:
        series = series.filter(event_type=event_type)
    pairs = list(series.order_by("event_type").values_list("pk", "event_type"))
    billed = usage_stages.list_billed_meters(tenant_id=tenant_id, period_from=period_from, period_to=period_to)
    return Scope(
        tenant_id=tenant_id,
        event_type=event_type,
        series=pairs,
        # A type under whose name a meter was made has no summaries of its own.
        metered=frozenset(name for _, name in pairs if name not in made),
        billed=[one for one in billed if meter is None or made.get(one.meter, one.meter) == event_type],
        type_of_meter={one.meter: made.get(one.meter, one.meter) for one in billed},
        dropped_months=archives.dropped_months(),
    )


def slices(first: int, end: int, series_count: int) -> Iterator[tuple[int, int]]:
    """The hours of the period and a day around it, cut at the period's edges and where a slice is full."""
    size = max(min(_SLICE_HOURS, _SLICE_WINDOWS // max(series_count, 1)), 1)
    start, stop = first - findings.MARGIN_HOURS, end + findings.MARGIN_HOURS
    while start < stop:
        until = min([start + size, stop, *(edge for edge in (first, end) if edge > start)])
        yield start, until
        start = until


def read_slice(scope: Scope, first: int, end: int) -> list[HourRow]:
    """Each type and hour that has anything, in order of time."""
    rows: dict[tuple[int, str], HourRow] = {}
    _read_usage(scope, rows, first, end)
    _read_repeats(scope, rows, first, end)
    _read_dead_letters(scope, rows, first, end)
    _read_billed(scope, rows, first, end)
    return [rows[place] for place in sorted(rows)]


def _row(rows: dict[tuple[int, str], HourRow], hour: int, event_type: str) -> HourRow:
    return rows.setdefault((hour, event_type), HourRow(event_type=event_type, hour=hour))


def _read_usage(scope: Scope, rows: dict[tuple[int, str], HourRow], first: int, end: int) -> None:
    for event_type, hour, accepted, quantity, counted, summarised, total, computed_at, since, is_quarantined in _query(
        _USAGE,
        tenant_id=scope.tenant_id,
        series_ids=[series_id for series_id, _ in scope.series],
        event_types=[event_type for _, event_type in scope.series],
        first_hour=first,
        last_hour=end - 1,
    ):
        row = _row(rows, hour, event_type)
        row.accepted, row.accepted_quantity = accepted, int(quantity)
        row.counted, row.counted_quantity = (int(figure) for figure in counted or (accepted, quantity))
        row.summarised, row.summarised_quantity = int(summarised or 0), int(total or 0)
        row.computed_at, row.waits_since, row.is_quarantined = computed_at, since, is_quarantined
        if event_type not in scope.metered or (not accepted and hours.month_of(hour) in scope.dropped_months):
            row.counted, row.counted_quantity = row.summarised, row.summarised_quantity


def _read_repeats(scope: Scope, rows: dict[tuple[int, str], HourRow], first: int, end: int) -> None:
    for event_type, hour, duplicates, conflicts in _query(_REPEATS, **_of_hours(scope, first, end)):
        row = _row(rows, hour, event_type)
        row.duplicates, row.conflicts = duplicates, conflicts


def _read_dead_letters(scope: Scope, rows: dict[tuple[int, str], HourRow], first: int, end: int) -> None:
    for event_type, hour, times, still_open in _query(_DEAD_LETTERS, **_of_hours(scope, first, end)):
        row = _row(rows, hour, event_type)
        row.dead_letters, row.open_dead_letters = int(times), still_open


def _read_billed(scope: Scope, rows: dict[tuple[int, str], HourRow], first: int, end: int) -> None:
    """
    How many events of each hour an invoice counted, and how many came after it was finalized.

    An hour inside the period whose summary was last changed before is as it was billed; only others are looked into.
    """
    closed = {
        (scope.type_of_meter[one.meter], one.period_start, one.period_end, one.billed_at)
        for one in scope.billed
        if one.billed_at is not None
        and one.period_start < hours.start_of(end)
        and one.period_end > hours.start_of(first)
    }
    unsure: list[tuple[int, str, datetime, datetime, datetime]] = []
    for event_type, starts_at, ends_at, billed_at in sorted(closed):
        for row in [row for row in rows.values() if row.event_type == event_type]:
            begins, stops = hours.start_of(row.hour), hours.start_of(row.hour + 1)
            if stops <= starts_at or begins >= ends_at or not row.accepted:
                continue
            is_settled = row.computed_at is not None and row.computed_at <= billed_at and row.waits_since is None
            if is_settled and starts_at <= begins and stops <= ends_at:
                row.billed += row.summarised
            else:
                unsure.append((row.hour, event_type, starts_at, ends_at, billed_at))
    if not unsure:
        return
    series_ids = {event_type: series_id for series_id, event_type in scope.series}
    for hour, event_type, billed, late in _query(
        _LATE,
        event_hours=[one[0] for one in unsure],
        event_types=[one[1] for one in unsure],
        series_ids=[series_ids[one[1]] for one in unsure],
        starts=[one[2] for one in unsure],
        ends=[one[3] for one in unsure],
        billed_ats=[one[4] for one in unsure],
        first_hour=first,
        last_hour=end - 1,
    ):
        row = rows[hour, event_type]
        row.billed += billed
        row.late += late


def list_open_codes(scope: Scope, first: int, end: int) -> list[tuple[str, int, int]]:
    """The reasons of open dead letters in these hours: how many letters, and how often they were sent."""
    return [(code, letters, int(times)) for code, letters, times in _query(_OPEN_CODES, **_of_hours(scope, first, end))]


def list_idle_corrections(scope: Scope, first: int, end: int) -> list[tuple[str, int, int]]:
    """Corrections of these hours that correct nothing, by type: whose event is not known yet, and that are faulty."""
    return list(
        _query(
            _IDLE_CORRECTIONS,
            series_ids=[series_id for series_id, _ in scope.series],
            event_types=[event_type for _, event_type in scope.series],
            first_hour=first,
            end_hour=end,
        )
    )


def _of_hours(scope: Scope, first: int, end: int) -> dict[str, Any]:
    return {"tenant_id": scope.tenant_id, "event_type": scope.event_type, "first_hour": first, "end_hour": end}


def _query(statement: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


# From the list of windows into the covering index, one probe each. Where a window has corrections, its events are read
# themselves: a correction never counts, and the latest of an event's gives it another quantity or takes it out.
_USAGE: Final = """
    WITH slot AS MATERIALIZED (
        SELECT series.id AS series_id, series.event_type, hour AS event_hour
        FROM unnest(%(series_ids)s::int[], %(event_types)s::text[]) AS series(id, event_type)
        CROSS JOIN generate_series(%(first_hour)s::int, %(last_hour)s::int) AS hour
    ),
    waiting AS MATERIALIZED (
        SELECT touched.series_id, touched.event_hour, min(batch.started_at) AS since
        FROM metering_touched_window AS batch
        CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, event_hour)
        WHERE batch.stage = 'recompute' AND touched.series_id = ANY(%(series_ids)s::int[])
            AND touched.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
        GROUP BY touched.series_id, touched.event_hour
    )
    SELECT
        slot.event_type, slot.event_hour, stored.events, stored.quantity,
        CASE WHEN EXISTS (
            SELECT FROM metering_correction AS own
            WHERE own.event_hour = slot.event_hour AND own.series_id = slot.series_id
        ) OR EXISTS (
            SELECT FROM metering_correction AS amended
            WHERE amended.original_event_hour = slot.event_hour AND amended.original_series_id = slot.series_id
        ) THEN (
            SELECT ARRAY[count(*), coalesce(sum(coalesce(latest.quantity, event.quantity)), 0)]
            FROM metering_event AS event
            LEFT JOIN LATERAL (
                SELECT given.quantity, given.void
                FROM metering_correction AS given
                WHERE given.original_key_hash = event.key_hash AND given.original_event_hour = slot.event_hour
                ORDER BY given.created_at DESC, given.batch_id DESC, given.position DESC
                LIMIT 1
            ) AS latest ON true
            WHERE event.event_hour = slot.event_hour AND event.series_id = slot.series_id
                AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
                AND event.corrects IS NULL AND latest.void IS NOT TRUE
        ) END,
        summary.events, summary.total, summary.computed_at,
        waiting.since, quarantined.series_id IS NOT NULL
    FROM slot
    CROSS JOIN LATERAL (
        SELECT count(*) AS events, coalesce(sum(event.quantity), 0) AS quantity
        FROM metering_event AS event
        WHERE event.event_hour = slot.event_hour AND event.series_id = slot.series_id
            AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
    ) AS stored
    CROSS JOIN LATERAL (
        SELECT sum(hourly.event_count) AS events, sum(hourly.total) AS total, max(hourly.computed_at) AS computed_at
        FROM metering_usage_summary AS hourly
        WHERE hourly.tenant_id = %(tenant_id)s AND hourly.meter = slot.event_type AND hourly.group_key = ''
            AND hourly.granularity = 'hour'
            AND hourly.period_start >= to_timestamp(slot.event_hour::bigint * 3600)
            AND hourly.period_start < to_timestamp((slot.event_hour::bigint + 1) * 3600)
    ) AS summary
    LEFT JOIN waiting USING (series_id, event_hour)
    LEFT JOIN metering_quarantined_window AS quarantined USING (series_id, event_hour)
    WHERE stored.events > 0 OR summary.events > 0
"""

_REPEATS: Final = """
    SELECT event_type, event_hour, sum(duplicates)::bigint, sum(conflicts)::bigint
    FROM metering_repeated_event
    WHERE tenant_id = %(tenant_id)s AND event_hour >= %(first_hour)s AND event_hour < %(end_hour)s
        AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s)
    GROUP BY event_type, event_hour
"""

# A conflict is a dead letter too, and is counted as a conflict alone.
_DEAD_LETTERS: Final = """
    SELECT
        event_type, event_hour, coalesce(sum(count) FILTER (WHERE code <> 'idempotency_conflict'), 0),
        count(*) FILTER (WHERE state = 'open')
    FROM metering_dead_letter
    WHERE tenant_id = %(tenant_id)s AND event_hour >= %(first_hour)s AND event_hour < %(end_hour)s
        AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s)
    GROUP BY event_type, event_hour
"""

_OPEN_CODES: Final = """
    SELECT code, count(*), sum(count)
    FROM metering_dead_letter
    WHERE tenant_id = %(tenant_id)s AND event_hour >= %(first_hour)s AND event_hour < %(end_hour)s
        AND (%(event_type)s::text IS NULL OR event_type = %(event_type)s) AND state = 'open'
    GROUP BY code ORDER BY count(*) DESC, code
"""

_IDLE_CORRECTIONS: Final = """
    SELECT series.event_type, count(*) FILTER (WHERE given.fault = ''), count(*) FILTER (WHERE given.fault <> '')
    FROM unnest(%(series_ids)s::int[], %(event_types)s::text[]) AS series(id, event_type)
    JOIN metering_correction AS given ON given.series_id = series.id
    WHERE given.event_hour >= %(first_hour)s AND given.event_hour < %(end_hour)s AND given.original_event_hour IS NULL
    GROUP BY series.event_type ORDER BY series.event_type
"""

_LATE: Final = """
    SELECT
        unsure.event_hour, unsure.event_type,
        count(*) FILTER (WHERE event.created_at <= unsure.billed_at AND event.corrects IS NULL),
        count(*) FILTER (WHERE event.created_at > unsure.billed_at)
    FROM unnest(
        %(event_hours)s::int[], %(event_types)s::text[], %(series_ids)s::int[],
        %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(billed_ats)s::timestamptz[]
    ) AS unsure(event_hour, event_type, series_id, starts_at, ends_at, billed_at)
    JOIN metering_event AS event
        ON event.event_hour = unsure.event_hour AND event.series_id = unsure.series_id
        AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
        AND event.event_timestamp >= unsure.starts_at AND event.event_timestamp < unsure.ends_at
    GROUP BY unsure.event_hour, unsure.event_type
"""
