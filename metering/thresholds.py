"""
Usage thresholds: a tenant's meter reaches a quantity in an hour, a day or a month (UTC), and someone is told, or the
door refuses more of it until the period ends.

What was reached is read from the usage summaries, so a threshold fires after aggregation: a quota stops a tenant within
a minute or two, not at the very event. Each fires once a period; usage that is voided after that does not unfire it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final, NamedTuple

from django.db import IntegrityError, connection, transaction

from billing_site.kernel import clock, database, ids, outbox
from metering import errors, hours, models, partitions

# Periods that ended are looked at again this often, for usage that came or was summarised after their end.
_PERIODS_BACK: Final = {models.Granularity.HOUR: 24, models.Granularity.DAY: 3, models.Granularity.MONTH: 1}
_SLICE: Final = 500


@dataclass(frozen=True)
class ThresholdsReport:
    """What one run did: thresholds that are active, firings written."""

    active: int
    fired: int


def create_threshold(
    *,
    tenant_id: str,
    meter: str,
    quantity: int,
    period: models.Granularity,
    action: models.ThresholdAction,
    now: datetime,
) -> models.UsageThreshold:
    """
    Watch a tenant's meter from now on; a running period counts from its own beginning.

    Opens its own transaction, or joins the caller's.

    Raises:
        errors.UnknownMeter: the name is neither a meter's code nor can it be an event type.
        errors.MeterNotRefusable: the door cannot tell by its type whether an event counts for the meter.
        errors.ThresholdExists: an active one says the same.
    """
    event_type = _event_type_of(meter, action)
    same = {"tenant_id": tenant_id, "meter": meter, "quantity": quantity, "period": period, "action": action}
    try:
        with transaction.atomic():
            return models.UsageThreshold.objects.create(event_type=event_type, created_at=now, **same)
    except IntegrityError as error:
        if database.raised_constraint(error) != "metering_usage_threshold_is_active_once":
            raise
        there = models.UsageThreshold.objects.filter(deactivated_at=None, **same).first()
        raise errors.ThresholdExists(
            f"{tenant_id!r} has an active threshold to {action} at {quantity:,} of {meter!r} a {period}",
            extra={"threshold_id": there.pk} if there else {},
        ) from error


def deactivate_threshold(*, threshold: models.UsageThreshold, now: datetime) -> models.UsageThreshold:
    """
    Watch no more; what it refused is taken again as soon as the doors have heard of it.

    Idempotency: one that was deactivated before stays as it is.
    Locks: the row. Opens its own transaction, or joins the caller's.
    """
    with transaction.atomic():
        locked = models.UsageThreshold.objects.select_for_update().get(pk=threshold.pk)
        if locked.deactivated_at is None:
            locked.deactivated_at = now
            locked.save(update_fields=["deactivated_at"])
        return locked


def fire_thresholds(*, now: datetime) -> ThresholdsReport:
    """
    Write a firing, and an outbox message, for each active threshold that was reached in a period.

    The periods are the running one and those that ended lately, and none that ended before the threshold was made.

    Idempotency: a threshold fires once a period, whoever looks and how often.
    Locks: firings in order of threshold and period. Owns its transactions, one a slice.
    """
    now = min(max(now, partitions.EARLIEST), partitions.LATEST)  # no event lies beyond, and calendars end
    fired = 0
    while True:
        with transaction.atomic(durable=True):
            reached = _list_reached(now)
            fired += _fire(reached, now)
        if len(reached) < _SLICE:
            break
    active = models.UsageThreshold.objects.filter(deactivated_at=None).count()
    return ThresholdsReport(active=active, fired=fired)


def refused_pairs(*, now: datetime) -> Mapping[tuple[str, str], str]:
    """
    The pairs of tenant and event type whose quota is used up at ``now``, each with why, for the door.

    An event is refused by when it arrives, whatever its timestamp; as a dead letter it can be replayed later.
    """
    with connection.cursor() as cursor:
        cursor.execute(_REFUSED, {"now": now})
        return {
            (tenant_id, event_type): (
                f"quota: {quantity:,} of {meter!r} a {period} was reached; more is refused until "
                f"{clock.format_instant(period_end)} ({threshold_id})"
            )
            for tenant_id, event_type, meter, period, quantity, period_end, threshold_id in cursor.fetchall()
        }


class _Reached(NamedTuple):
    """A threshold, and a period in which its meter stands at it or above."""

    threshold_id: str
    tenant_id: str
    meter: str
    quantity: int
    period: str
    action: str
    period_start: datetime
    period_end: datetime
    reached_quantity: int


def _event_type_of(meter: str, action: models.ThresholdAction) -> str:
    """What the meter counts; each event type has a meter of its own name, also before the first event of it."""
    made = models.Meter.objects.filter(code=meter).first()
    if made is None:
        if not re.fullmatch(models.EVENT_TYPE_PATTERN, meter):
            raise errors.UnknownMeter(f"meter: there is no meter {meter!r}, and no event type can be called that")
        return meter
    if made.filters and action == models.ThresholdAction.REFUSE:
        raise errors.MeterNotRefusable(
            f"meter: {meter!r} counts some events of {made.event_type!r} and not others; events are refused by their "
            "type alone, so it can only alert",
        )
    return made.event_type


def _list_reached(now: datetime) -> list[_Reached]:
    periods = list(_periods(now))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL jit = off")  # compiling would take longer than the probes
        cursor.execute(
            REACHED,
            {
                "periods": [period for period, _, _ in periods],
                "starts": [start for _, start, _ in periods],
                "ends": [end for _, _, end in periods],
                "limit": _SLICE,
            },
        )
        return [_Reached._make((*row[:-1], int(row[-1]))) for row in cursor.fetchall()]


def _fire(reached: list[_Reached], now: datetime) -> int:
    """Write what nobody else wrote meanwhile, and tell of it; the number written."""
    if not reached:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "now": now,
                "ids": [ids.new_id("utf") for _ in reached],
                "threshold_ids": [one.threshold_id for one in reached],
                "tenant_ids": [one.tenant_id for one in reached],
                "starts": [one.period_start for one in reached],
                "ends": [one.period_end for one in reached],
                "quantities": [one.reached_quantity for one in reached],
            },
        )
        written = {(threshold_id, start): firing_id for firing_id, threshold_id, start in cursor.fetchall()}
    for one in reached:
        firing_id = written.get((one.threshold_id, one.period_start))
        if firing_id is not None:
            _tell(firing_id, one, now)
    return len(written)


def _tell(firing_id: str, reached: _Reached, now: datetime) -> None:
    outbox.leave(
        topic="usage.threshold_reached",
        tenant_id=reached.tenant_id,
        reference_id=firing_id,
        payload={
            "threshold_id": reached.threshold_id,
            "meter": reached.meter,
            "quantity": reached.quantity,
            "reached_quantity": reached.reached_quantity,
            "period": reached.period,
            "period_start": clock.format_instant(reached.period_start),
            "period_end": clock.format_instant(reached.period_end),
            "action": reached.action,
        },
        now=now,
    )


def _periods(now: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """The running hour, day and month, and those before that are looked at again."""
    hour = hours.start_of(hours.hour_of(now))
    for back in range(_PERIODS_BACK[models.Granularity.HOUR] + 1):
        start = hour - timedelta(hours=back)
        yield models.Granularity.HOUR, start, start + timedelta(hours=1)
    day = _midnight(now)
    for back in range(_PERIODS_BACK[models.Granularity.DAY] + 1):
        start = day - timedelta(days=back)
        yield models.Granularity.DAY, start, start + timedelta(days=1)
    month = day.date().replace(day=1)
    for back in range(_PERIODS_BACK[models.Granularity.MONTH] + 1):
        first = hours.month_after(month, -back)
        start, end = (datetime.combine(one, time(), UTC) for one in (first, hours.month_after(first)))
        yield models.Granularity.MONTH, start, end


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


# One probe into the summaries per threshold and period that has not fired: the cost follows what is watched, not what
# is stored.
REACHED: Final = """
    SELECT
        threshold.id, threshold.tenant_id, threshold.meter, threshold.quantity, threshold.period, threshold.action,
        span.starts_at, span.ends_at, trunc(used.quantity)
    FROM unnest(%(periods)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS span(period, starts_at, ends_at)
    JOIN metering_usage_threshold AS threshold
        ON threshold.period = span.period AND threshold.deactivated_at IS NULL AND threshold.created_at < span.ends_at
    LEFT JOIN metering_meter AS meter ON meter.code = threshold.meter
    CROSS JOIN LATERAL (
        -- One row, but for an hour that is split; a unique count of parts is then at least that of the largest.
        SELECT CASE coalesce(meter.aggregation, 'sum')
            WHEN 'sum' THEN sum(summary.total)
            WHEN 'count' THEN sum(summary.event_count)
            WHEN 'max' THEN max(summary.maximum)
            WHEN 'average' THEN sum(summary.total) / nullif(sum(summary.event_count), 0)
            WHEN 'unique_count' THEN max(summary.unique_count)
            WHEN 'latest' THEN (
                array_agg(summary.latest ORDER BY summary.period_start DESC) FILTER (WHERE summary.latest IS NOT NULL)
            )[1]
        END AS quantity
        FROM metering_usage_summary AS summary
        WHERE summary.tenant_id = threshold.tenant_id AND summary.meter = threshold.meter AND summary.group_key = ''
            AND summary.granularity = threshold.period
            AND summary.period_start >= span.starts_at AND summary.period_start < span.ends_at
    ) AS used
    WHERE used.quantity >= threshold.quantity
        AND NOT EXISTS (
            SELECT FROM metering_threshold_firing AS firing
            WHERE firing.threshold_id = threshold.id AND firing.period_start = span.starts_at
        )
    ORDER BY threshold.id, span.starts_at
    LIMIT %(limit)s
"""

_INSERT: Final = """
    INSERT INTO metering_threshold_firing (
        id, threshold_id, tenant_id, period_start, period_end, reached_quantity, fired_at
    )
    SELECT id, threshold_id, tenant_id, period_start, period_end, reached_quantity, %(now)s
    FROM unnest(
        %(ids)s::text[], %(threshold_ids)s::text[], %(tenant_ids)s::text[], %(starts)s::timestamptz[],
        %(ends)s::timestamptz[], %(quantities)s::numeric[]
    ) AS reached(id, threshold_id, tenant_id, period_start, period_end, reached_quantity)
    ON CONFLICT (threshold_id, period_start) DO NOTHING
    RETURNING id, threshold_id, period_start
"""

# From the index of firings whose period has not ended; the one that ends last is told of.
_REFUSED: Final = """
    SELECT
        threshold.tenant_id, threshold.event_type, threshold.meter, threshold.period, threshold.quantity,
        firing.period_end, threshold.id
    FROM metering_threshold_firing AS firing
    JOIN metering_usage_threshold AS threshold ON threshold.id = firing.threshold_id
    WHERE firing.period_end > %(now)s AND firing.period_start <= %(now)s
        AND threshold.action = 'refuse' AND threshold.deactivated_at IS NULL
    ORDER BY firing.period_end, threshold.id
"""
