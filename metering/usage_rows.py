"""
Usage by hour, day and month (of UTC): pages of rows, read from the coarsest summaries that lie whole in what is asked.

The first and the last day or month may reach no further than what is asked; these are put together from finer rows.
Where different values are counted, such a row is counted from its events, as is an hour that is split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing_site.kernel.errors import FieldError
from metering import errors, figures, hours, models, partitions, spans, usage
from metering.figures import Figures, Stretch


@dataclass(frozen=True, kw_only=True)
class UsageRow:
    """
    What a meter adds up to in one hour, day or month.

    For a meter that was made, ``value`` is its figure and ``aggregation`` says how it came out. ``group`` tells the
    values of the properties that the row is grouped by.
    """

    tenant_id: str
    meter: str
    event_type: str
    period_start: datetime
    period_end: datetime
    total_quantity: int
    event_count: int
    aggregation: str = ""
    value: int | Decimal | None = None
    skipped_count: int = 0
    group_key: str = ""


@dataclass(frozen=True)
class UsagePage:
    """Rows in time order, whether there are more, and since when later events may not be counted yet."""

    rows: Sequence[UsageRow]
    has_more: bool
    fresh_as_of: datetime


def list_usage(
    *,
    tenant_id: str,
    meter: str | None,
    period_from: datetime,
    period_to: datetime,
    granularity: models.Granularity,
    limit: int,
    group_by: Sequence[str] = (),
    after: tuple[datetime, str, str] | None = None,
) -> UsagePage:
    """
    One row per meter and hour, day or month with events, in time order; without ``meter``, event types' own meters.

    ``period_from`` and ``period_to`` are widened to whole hours; the first and the last row reach no further than
    these, so that rows always add up to what lies between. ``after`` is the period start, the meter and the group's key
    of the last row of the page before.

    Raises:
        GroupNotOffered: the meter does not tell its figures apart by that.
        UsageArchived: a row has to be counted from events of a month that is archived.
    """
    made = usage.find_meters([meter]).get(meter) if meter is not None else None
    if group_by:
        _require_groups(made, group_by)
    # Where no event can lie there is nothing to find, and hours of the year 10000 do not exist.
    period_from = hours.start_of(hours.hour_of(max(period_from, partitions.EARLIEST)))
    period_to = hours.start_of(hours.first_hour_from(min(period_to, partitions.LATEST)))
    begins = period_from if after is None else max(period_from, hours.start_of(hours.hour_of(after[0])))
    cut = spans.cut(begins, period_to, coarsest=granularity) if begins < period_to else ()
    with connection.cursor() as cursor:
        cursor.execute(
            _ROWS.format(
                fresh=usage.FRESH_AS_OF,
                groups="<>" if group_by else "=",
                group_key=_GROUP_KEY if group_by else "''",
            ),
            {
                "tenant_id": tenant_id,
                "meter": meter,
                "codes": [meter] if meter else [],
                "granularity": granularity,
                "is_rolled_up": granularity != models.Granularity.HOUR,
                "span_granularities": [span.granularity for span in cut],
                "span_starts": [span.starts_at for span in cut],
                "span_ends": [span.ends_at for span in cut],
                "from": begins,
                "to": period_to,
                "group_by": list(group_by),
                "after_start": after[0] if after else None,
                "after_meter": after[1] if after else None,
                "after_group": after[2] if after else None,
                "limit": limit + 1,
            },
        )
        read = cursor.fetchall()
    found = [_Found(*row[1:]) for row in read if row[1] is not None]
    shown = found[:limit]
    again = _count_again(tenant_id, made, shown) if made else {}
    rows = [_row(tenant_id, made, one, again.get(one)) for one in shown]
    return UsagePage(rows=rows, has_more=len(found) > limit, fresh_as_of=read[0][0])


@dataclass(frozen=True)
class _Found:
    """A row as read; ``parts`` summaries were put together for it."""

    meter: str
    group_key: str
    starts_at: datetime
    ends_at: datetime
    total: Decimal
    event_count: Decimal
    maximum: int | None
    latest: int | None
    unique_count: int | None
    skipped_count: Decimal
    parts: int


def _require_groups(meter: models.Meter | None, group_by: Sequence[str]) -> None:
    offered = meter.group_by if meter else []
    unknown = [name for name in group_by if name not in offered]
    if unknown:
        raise _group_refusal(f"the meter is grouped by {', '.join(offered) or 'nothing'}, not by {', '.join(unknown)}")
    in_parts = (models.Aggregation.UNIQUE_COUNT, models.Aggregation.LATEST)
    if meter is not None and meter.aggregation in in_parts and set(group_by) != set(offered):
        raise _group_refusal(f"a {meter.aggregation} is told by all of {', '.join(offered)} together")


def _group_refusal(detail: str) -> errors.GroupNotOffered:
    return errors.GroupNotOffered(detail, errors=[FieldError("?group_by", errors.GroupNotOffered.code, detail)])


def _count_again(tenant_id: str, meter: models.Meter, found: Sequence[_Found]) -> Mapping[_Found, int]:
    """The different values of those rows for which several summaries had to be put together."""
    if meter.aggregation != models.Aggregation.UNIQUE_COUNT:
        return {}
    several = {one: Stretch(one.starts_at, one.ends_at) for one in found if one.parts > 1}
    counted = figures.count_events(
        tenant_id=tenant_id,
        event_type=meter.event_type,
        meter=meter,
        stretches=sorted(set(several.values()), key=lambda stretch: stretch.starts_at),
    )
    nothing = Figures(0, 0)
    return {one: counted.get((stretch, one.group_key), nothing).unique_count or 0 for one, stretch in several.items()}


def _row(tenant_id: str, meter: models.Meter | None, found: _Found, unique_count: int | None) -> UsageRow:
    read = Figures(
        total=int(found.total),
        event_count=int(found.event_count),
        maximum=found.maximum,
        latest=found.latest,
        unique_count=found.unique_count if unique_count is None else unique_count,
        skipped_count=int(found.skipped_count),
    )
    own: dict[str, Any] = {}
    if meter is not None:
        own = {
            "aggregation": meter.aggregation,
            "value": figures.figure_of(meter.aggregation, read),
            "skipped_count": read.skipped_count,
        }
    return UsageRow(
        tenant_id=tenant_id,
        meter=found.meter,
        event_type=meter.event_type if meter else found.meter,
        period_start=found.starts_at,
        period_end=found.ends_at,
        total_quantity=read.total,
        event_count=read.event_count,
        group_key=found.group_key,
        **own,
    )


# The key that a group has when it is told by fewer properties; written as jsonb writes it, so that equals are equal.
_GROUP_KEY: Final = """(
                SELECT jsonb_object_agg(name, summary.group_key::jsonb -> name)::text
                FROM unnest(%(group_by)s::text[]) AS name
            )"""

# From each meter and span into the key of the summaries. A row of zeros is left of a window whose events were voided.
_ROWS: Final = """
    WITH fresh AS (SELECT {fresh} AS as_of),
    wanted AS (
        SELECT %(meter)s::text AS meter WHERE %(meter)s::text IS NOT NULL
        UNION ALL
        SELECT event_type
        FROM metering_series AS series
        WHERE %(meter)s::text IS NULL AND series.tenant_id = %(tenant_id)s
            AND NOT EXISTS (SELECT FROM metering_meter AS made WHERE made.code = series.event_type)
    )
    SELECT fresh.as_of, page.*
    FROM fresh LEFT JOIN LATERAL (
        SELECT
            part.meter, part.group_key, part.starts_at,
            least(
                (
                    date_trunc(%(granularity)s, part.starts_at AT TIME ZONE 'UTC') + ('1 ' || %(granularity)s)::interval
                ) AT TIME ZONE 'UTC',
                %(to)s
            ) AS ends_at,
            sum(part.total) AS total, sum(part.event_count) AS event_count, max(part.maximum) AS maximum,
            (array_agg(part.latest ORDER BY part.period_start DESC) FILTER (WHERE part.latest IS NOT NULL))[1]
                AS latest,
            max(part.unique_count) AS unique_count, sum(part.skipped_count) AS skipped_count,
            count(*) FILTER (WHERE part.event_count > 0) AS parts
        FROM (
            SELECT
                wanted.meter, {group_key} AS group_key,
                greatest(date_trunc(%(granularity)s, summary.period_start, 'UTC'), %(from)s) AS starts_at,
                summary.period_start, summary.total, summary.event_count, summary.maximum, summary.latest,
                summary.unique_count, summary.skipped_count
            FROM wanted
            CROSS JOIN unnest(
                %(span_granularities)s::text[], %(span_starts)s::timestamptz[], %(span_ends)s::timestamptz[]
            ) AS span(granularity, starts_at, ends_at)
            CROSS JOIN LATERAL (
                SELECT *
                FROM metering_usage_summary AS summary
                WHERE summary.tenant_id = %(tenant_id)s AND summary.meter = wanted.meter
                    AND summary.group_key {groups} '' AND summary.granularity = span.granularity
                    AND summary.period_start >= span.starts_at AND summary.period_start < span.ends_at
                OFFSET 0
            ) AS summary
        ) AS part
        WHERE %(after_start)s::timestamptz IS NULL
            OR (part.starts_at, part.meter, part.group_key)
                > (%(after_start)s::timestamptz, %(after_meter)s::text, %(after_group)s::text)
        GROUP BY part.meter, part.group_key, part.starts_at
        HAVING sum(part.event_count + part.skipped_count) > 0
        ORDER BY part.starts_at, part.meter, part.group_key
        LIMIT %(limit)s
    ) AS page ON true
    ORDER BY page.starts_at, page.meter, page.group_key
"""
