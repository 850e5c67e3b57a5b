"""
Usage that stands out: days and hours of a tenant's event type, held against the 30 days before.

A day's total is held against the totals of the days before, and found when it lies three standard deviations away,
above or below. An hour is held against the same hour of those days, and found when it lies four above, is twice their
mean and more than any hour of those days: usage that comes at odd hours is no spike. A day without usage counts as
zero, from the first day that there was any; with less than 14 days there is no telling. Where all days before were the
same there is no deviation to divide by, and any difference that matters is found.

The arithmetic is exact: with ``n`` days of sum ``s`` and sum of squares ``q``, a figure ``x`` is ``z`` sample
deviations away when ``(n x - s)^2 (n - 1) = z^2 n (n q - s^2)``. Roots are taken for what is shown alone.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any, Final, NamedTuple

from django.db import connection

from metering import models

HISTORY_DAYS: Final = 30
MIN_HISTORY_DAYS: Final = 14
DAY_Z: Final = Decimal(3)
HOUR_Z: Final = Decimal(4)
SPIKE_FACTOR: Final = 2
MIN_SHARE: Final = Decimal("0.1")  # of the mean: less is no matter, however even the days before were
MIN_QUANTITY: Final = 10  # away from the mean, for the same reason
EXACT: Final = Context(prec=120)  # a total may have 38 digits, and squares of sums of it are divided


class Finding(NamedTuple):
    """A window that stands out, as the database tells it: gap is n x - s, spread n q - s^2; see above."""

    kind: str
    tenant_id: str
    event_type: str
    window_start: datetime
    observed: Decimal
    history_days: int
    total: Decimal
    gap: Decimal
    spread: Decimal

    @property
    def key(self) -> tuple[str, str, date]:
        """What there is one finding of."""
        return self.tenant_id, self.event_type, self.window_start.astimezone(UTC).date()

    @property
    def window_end(self) -> datetime:
        """A day or an hour later."""
        is_day = self.kind == models.AnomalyKind.DAY_TOTAL
        return self.window_start + (timedelta(days=1) if is_day else timedelta(hours=1))

    @property
    def expected(self) -> Decimal:
        """The mean of the days before."""
        return _rounded(self.total / self.history_days, 6)

    @property
    def deviation(self) -> Decimal:
        """Their sample standard deviation."""
        return _rounded((self.spread / (self.history_days * (self.history_days - 1))).sqrt(), 6)

    @property
    def z_score(self) -> Decimal | None:
        """How many deviations lie between; None where there is no deviation."""
        if not self.spread:
            return None
        return _rounded(self.gap / (self.history_days * self.spread / (self.history_days - 1)).sqrt(), 4)


def find(
    *, first_days: Mapping[int, date | None], days: Sequence[datetime], day_hours: Sequence[datetime]
) -> list[Finding]:
    """
    What stands out of whole ``days`` and ``day_hours`` of these series, each with its first day of usage, if any.

    One finding for each key: a day's total before its hours, and of these the one that stands out most.
    """
    series: dict[str, Any] = {"series_ids": list(first_days), "first_days": list(first_days.values())}
    with connection.cursor() as cursor:
        cursor.execute(DAYS, {**_LIMITS, **series, "windows": list(days)})
        found = [Finding(models.AnomalyKind.DAY_TOTAL, *row) for row in cursor.fetchall()]
        cursor.execute(HOURS, {**_LIMITS, **series, **_bounds(day_hours)})
        spikes = [Finding(models.AnomalyKind.HOUR_SPIKE, *row) for row in cursor.fetchall()]
    with localcontext(EXACT):
        found += sorted(spikes, key=_height, reverse=True)
    findings: dict[tuple[str, str, date], Finding] = {}
    for finding in found:
        findings.setdefault(finding.key, finding)
    return [findings[key] for key in sorted(findings)]


def _bounds(day_hours: Sequence[datetime]) -> dict[str, Any]:
    return {
        "windows": list(day_hours),
        "first": day_hours[0],
        "last": day_hours[-1],
        "hours_of_day": sorted({hour.hour for hour in day_hours}),
    }


def _height(spike: Finding) -> tuple[bool, Decimal, Decimal]:
    """How much a spike stands out; one over hours that were all the same stands out most."""
    return spike.z_score is None, spike.z_score or Decimal(0), spike.observed


def _rounded(figure: Decimal, places: int) -> Decimal:
    return figure.quantize(Decimal(1).scaleb(-places))


_LIMITS: Final[dict[str, Any]] = {
    "history_days": HISTORY_DAYS,
    "min_history_days": MIN_HISTORY_DAYS,
    "day_z": DAY_Z,
    "hour_z": HOUR_Z,
    "spike_factor": SPIKE_FACTOR,
    "min_share": MIN_SHARE,
    "min_quantity": MIN_QUANTITY,
}

# One range of the index of summaries per series and day.
DAYS: Final = """
    SELECT tenant_id, event_type, window_start, x, n::int, s, gap, spread
    FROM unnest(%(series_ids)s::int[], %(first_days)s::date[]) AS known(series_id, first_day)
    JOIN metering_series AS series ON series.id = known.series_id
    CROSS JOIN unnest(%(windows)s::timestamptz[]) AS judged(window_start)
    CROSS JOIN LATERAL (
        SELECT least(%(history_days)s, (window_start AT TIME ZONE 'UTC')::date - first_day)::numeric AS n
    ) AS history
    CROSS JOIN LATERAL (
        SELECT
            coalesce(sum(total) FILTER (WHERE period_start = window_start), 0) AS x,
            coalesce(sum(total) FILTER (WHERE period_start < window_start), 0) AS s,
            coalesce(sum(total * total) FILTER (WHERE period_start < window_start), 0) AS q
        FROM metering_usage_summary
        WHERE tenant_id = series.tenant_id AND meter = series.event_type AND group_key = '' AND granularity = 'day'
            AND period_start >= window_start - %(history_days)s * interval '24 hours' AND period_start <= window_start
    ) AS figures
    CROSS JOIN LATERAL (SELECT n * x - s AS gap, n * q - s * s AS spread) AS apart
    WHERE n >= %(min_history_days)s
        AND gap * gap * (n - 1) >= %(day_z)s * %(day_z)s * n * spread
        AND abs(gap) >= greatest(%(min_share)s * s, %(min_quantity)s * n)
"""

# One range of the index per series, read once for all hours judged; what passes is held against every hour of the days.
HOURS: Final = """
    WITH candidate AS MATERIALIZED (
        SELECT tenant_id, event_type, window_start, x, n, s, gap, spread
        FROM unnest(%(series_ids)s::int[], %(first_days)s::date[]) AS known(series_id, first_day)
        JOIN metering_series AS series ON series.id = known.series_id
        CROSS JOIN LATERAL (
            SELECT
                period_start AS window_start, total AS x,
                coalesce(sum(total) OVER days_before, 0) AS s, coalesce(sum(total * total) OVER days_before, 0) AS q
            FROM metering_usage_summary
            WHERE tenant_id = series.tenant_id AND meter = series.event_type AND group_key = '' AND granularity = 'hour'
                AND period_start >= %(first)s - %(history_days)s * interval '24 hours' AND period_start <= %(last)s
                AND extract(hour FROM period_start AT TIME ZONE 'UTC') = ANY(%(hours_of_day)s::int[])
            WINDOW days_before AS (
                PARTITION BY extract(hour FROM period_start AT TIME ZONE 'UTC') ORDER BY period_start
                RANGE BETWEEN %(history_days)s * interval '24 hours' PRECEDING AND interval '24 hours' PRECEDING
            )
        ) AS judged
        CROSS JOIN LATERAL (
            SELECT least(%(history_days)s, (window_start AT TIME ZONE 'UTC')::date - first_day)::numeric AS n
        ) AS history
        CROSS JOIN LATERAL (SELECT n * x - s AS gap, n * q - s * s AS spread) AS apart
        WHERE window_start = ANY(%(windows)s::timestamptz[]) AND n >= %(min_history_days)s
            AND n * x >= %(spike_factor)s * s
            AND gap >= %(min_quantity)s * n
            AND gap * gap * (n - 1) >= %(hour_z)s * %(hour_z)s * n * spread
    )
    SELECT tenant_id, event_type, window_start, x, n::int, s, gap, spread
    FROM candidate
    WHERE NOT EXISTS (
        SELECT FROM metering_usage_summary AS earlier
        WHERE earlier.tenant_id = candidate.tenant_id AND earlier.meter = candidate.event_type
            AND earlier.group_key = '' AND earlier.granularity = 'hour'
            AND earlier.period_start >= candidate.window_start - %(history_days)s * interval '24 hours'
            AND earlier.period_start < candidate.window_start
            AND earlier.total >= candidate.x
    )
"""
