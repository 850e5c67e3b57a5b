"""
What a meter makes of events: its one figure, and the same counted from the events themselves over any stretch of time.

Summaries answer nearly everything. Events are read where no summary ends: a period that begins inside an hour that is
not split there, and different values over more than one summary, because counts of different values cannot be added.
Counted as ``recompute`` counts: the latest correction stands for its original, a voided event counts nowhere, a
property that is no integer of 0 to 10^15 is skipped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from django.db import connection

from billing_site.kernel import money
from metering import archives, errors, hours, models, request_rollup

AVERAGE_PLACES: Final = 12
_WIDE: Final = Context(prec=60)


@dataclass(frozen=True)
class Figures:
    """What events add up to; ``skipped_count`` of them did not hold what the meter counts."""

    total: int
    event_count: int
    maximum: int | None = None
    latest: int | None = None
    unique_count: int | None = None
    skipped_count: int = 0


@dataclass(frozen=True)
class Stretch:
    """``starts_at <= t < ends_at``, between two microseconds."""

    starts_at: datetime
    ends_at: datetime


def figure_of(aggregation: str, figures: Figures) -> int | Decimal | None:
    """
    The figure that a meter stands for; None where there is none: the greatest or latest of nothing, an average of none.

    An average is rounded half up to 12 decimals.
    """
    match aggregation:
        case models.Aggregation.COUNT:
            return figures.event_count
        case models.Aggregation.MAX:
            return figures.maximum
        case models.Aggregation.LATEST:
            return figures.latest
        case models.Aggregation.UNIQUE_COUNT:
            return figures.unique_count or 0
        case models.Aggregation.AVERAGE:
            return _average(figures)
        case _:
            return figures.total


def _average(figures: Figures) -> Decimal | None:
    if not figures.event_count:
        return None
    exact = Fraction(figures.total, figures.event_count) * 10**AVERAGE_PLACES
    return Decimal(money.round_half_away(exact)).scaleb(-AVERAGE_PLACES, _WIDE)


def add(first: Figures, later: Figures) -> Figures:
    """Two stretches of time together, the later one second. Different values are not added: count them again."""
    return Figures(
        total=first.total + later.total,
        event_count=first.event_count + later.event_count,
        maximum=max((value for value in (first.maximum, later.maximum) if value is not None), default=None),
        latest=first.latest if later.latest is None else later.latest,
        skipped_count=first.skipped_count + later.skipped_count,
    )


def count_events(
    *, tenant_id: str, event_type: str, meter: models.Meter | None, stretches: Sequence[Stretch]
) -> Mapping[tuple[Stretch, str], Figures]:
    """
    What a meter (None: the type's own) counts in each stretch, by the group's key; that of all together is empty.

    One statement, which reads the events of the hours that the stretches touch and no others.

    Raises:
        UsageArchived: events of a stretch are archived, and no longer here to be counted.
    """
    if not stretches:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT_EVENTS,
            {
                "tenant_id": tenant_id,
                "event_type": event_type,
                "starts": [stretch.starts_at for stretch in stretches],
                "ends": [stretch.ends_at for stretch in stretches],
                "first_hours": [hours.hour_of(stretch.starts_at) for stretch in stretches],
                "end_hours": [hours.first_hour_from(stretch.ends_at) for stretch in stretches],
                # Known when the statement is planned, so that only these months are locked and looked at.
                "first_hour": min(hours.hour_of(stretch.starts_at) for stretch in stretches),
                "last_hour": max(hours.first_hour_from(stretch.ends_at) for stretch in stretches),
                "property": meter.property if meter else "",
                "is_unique": meter is not None and meter.aggregation == models.Aggregation.UNIQUE_COUNT,
                "filters": json.dumps(meter.filters if meter else {}),
                "group_by": meter.group_by if meter else [],
                "is_request": event_type == request_rollup.EVENT_TYPE,
                "only_billable": meter is not None and meter.event_type == request_rollup.EVENT_TYPE,
            },
        )
        counted = cursor.fetchall()
    _require_events(stretches)  # after the count, so that a month that was dropped before it is known by now
    return {(stretches[place - 1], group_key): Figures(int(total), *rest) for place, group_key, total, *rest in counted}


def _require_events(stretches: Sequence[Stretch]) -> None:
    dropped = archives.read_dropped_months()
    if not dropped:
        return
    for stretch in stretches:
        month, last = hours.month_of(hours.hour_of(stretch.starts_at)), hours.first_hour_from(stretch.ends_at) - 1
        while month <= hours.month_of(last):
            if month in dropped:
                raise errors.UsageArchived(
                    f"events of {month:%Y-%m} are archived; they are counted again once the month is restored"
                )
            month = hours.month_after(month)


# From each hour of a stretch into the index by window, one probe each. A stretch ends between two microseconds, so the
# events' own times decide.
_COUNT_EVENTS: Final = """
    WITH stretch AS (
        SELECT *
        FROM unnest(
            %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(first_hours)s::int[], %(end_hours)s::int[]
        ) WITH ORDINALITY AS stretch(starts_at, ends_at, first_hour, end_hour, place)
    ),
    correction AS MATERIALIZED (
        SELECT DISTINCT ON (given.original_key_hash) given.original_key_hash, given.quantity, given.void
        FROM metering_series AS series
        CROSS JOIN stretch
        JOIN metering_correction AS given
            ON given.original_series_id = series.id
            AND given.original_event_hour >= stretch.first_hour AND given.original_event_hour < stretch.end_hour
        WHERE series.tenant_id = %(tenant_id)s AND series.event_type = %(event_type)s
        ORDER BY given.original_key_hash, given.created_at DESC, given.batch_id DESC, given.position DESC
    ),
    counted AS (
        SELECT
            stretch.place, event.key_hash, event.event_timestamp, event.group_key,
            CASE WHEN event.number IS NULL AND %(property)s <> '' AND NOT %(is_unique)s THEN NULL
                ELSE coalesce(
                    event.number, CASE WHEN event.is_amendable THEN correction.quantity END, event.quantity
                ) END AS value,
            event.text
        FROM stretch
        CROSS JOIN generate_series(stretch.first_hour, stretch.end_hour - 1) AS hour(number)
        CROSS JOIN LATERAL (
            SELECT
                event.key_hash, event.event_timestamp, event.quantity,
                -- A request that is not billable stays so, whatever amends it.
                NOT %(is_request)s OR event.properties ->> 'billable' IS DISTINCT FROM 'false' AS is_amendable,
                CASE
                    WHEN %(property)s = '' OR %(is_unique)s THEN NULL
                    WHEN jsonb_typeof(event.properties -> %(property)s) IS DISTINCT FROM 'number' THEN NULL
                    WHEN event.properties ->> %(property)s !~ '^[0-9]{1,16}$' THEN NULL
                    WHEN (event.properties ->> %(property)s)::bigint > 1000000000000000 THEN NULL
                    ELSE (event.properties ->> %(property)s)::bigint
                END AS number,
                CASE WHEN %(is_unique)s
                    AND jsonb_typeof(event.properties -> %(property)s) IN ('string', 'number', 'boolean')
                    THEN event.properties ->> %(property)s END AS text,
                CASE WHEN cardinality(%(group_by)s::text[]) = 0 THEN '' ELSE (
                    SELECT jsonb_object_agg(name, left(event.properties ->> name, 100))::text
                    FROM unnest(%(group_by)s::text[]) AS name
                ) END AS group_key
            FROM metering_event AS event
            WHERE event.series_id = (
                    SELECT id FROM metering_series
                    WHERE tenant_id = %(tenant_id)s AND event_type = %(event_type)s
                )
                AND event.event_hour = hour.number AND event.event_hour BETWEEN %(first_hour)s AND %(last_hour)s
                AND event.event_timestamp >= stretch.starts_at AND event.event_timestamp < stretch.ends_at
                AND event.corrects IS NULL
                AND (NOT %(only_billable)s OR event.properties ->> 'billable' IS DISTINCT FROM 'false')
                AND NOT EXISTS (
                    SELECT FROM jsonb_each(%(filters)s::jsonb) AS wanted(name, accepted)
                    WHERE NOT coalesce(wanted.accepted ? (event.properties ->> wanted.name), false)
                )
        ) AS event
        LEFT JOIN correction ON correction.original_key_hash = event.key_hash
        WHERE correction.void IS NOT TRUE
    )
    SELECT
        place, coalesce(group_key, ''), coalesce(sum(value), 0),
        CASE WHEN %(is_unique)s THEN count(text) ELSE count(value) END,
        max(value),
        (array_agg(value ORDER BY event_timestamp DESC, key_hash DESC) FILTER (WHERE value IS NOT NULL))[1],
        count(DISTINCT text),
        count(*) - CASE WHEN %(is_unique)s THEN count(text) ELSE count(value) END
    FROM counted
    GROUP BY GROUPING SETS ((place), (place, group_key))
    HAVING grouping(group_key) = 1 OR cardinality(%(group_by)s::text[]) > 0
"""
