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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from billing_site.kernel import clock, ids, outbox
from metering import hours, models, partitions

HISTORY_DAYS: Final = 30
MIN_HISTORY_DAYS: Final = 14
DAY_Z: Final = Decimal(3)
HOUR_Z: Final = Decimal(4)
SPIKE_FACTOR: Final = 2
MIN_SHARE: Final = Decimal("0.1")  # of the mean: less is no matter, however even the days before were
MIN_QUANTITY: Final = 10  # away from the mean, for the same reason
_DAYS_AGAIN: Final = 2  # the last days that a run judges, so that what came late is judged too
_HOURS_AGAIN: Final = 3
_PATIENCE_MINUTES: Final = 10
_SLICE_SERIES: Final = 500
_EXACT: Final = Context(prec=120)  # a total may have 38 digits, and squares of sums of it are divided


@dataclass(frozen=True)
class AnomaliesReport:
    """
    What one run did: series judged, findings written.

    ``waiting`` series have events in these days that should be summarised and are not: a later run judges them.
    """

    series: int
    found: int
    waiting: int


def detect_anomalies(
    *,
    now: datetime,
    days: int = _DAYS_AGAIN,
    progress: Callable[[int, int], None] | None = None,
) -> AnomaliesReport:
    """
    Judge the last ``days`` whole UTC days of every series: their totals, and each of their hours.

    ``progress`` hears how many series of how many are done.

    Idempotency: one finding per tenant, type and day; the first stands, and is told once.
    Locks: findings in order. Owns its transactions, one for each slice of series.
    """
    now = _within_calendar(now)
    end = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    starts = [end - timedelta(days=back) for back in range(days, 0, -1)]
    return _detect(starts, _hours_between(starts[0], end) if starts else [], now, progress)


def detect_spikes(*, now: datetime) -> AnomaliesReport:
    """
    Judge the last whole hours of every series, so that a spike is told within the hour.

    Idempotency and locks: as ``detect_anomalies``.
    """
    now = _within_calendar(now)
    end = hours.start_of(hours.hour_of(now))
    return _detect([], _hours_between(end - timedelta(hours=_HOURS_AGAIN), end), now, None)


def acknowledge(*, anomalies: Iterable[models.UsageAnomaly], by: str, now: datetime) -> int:
    """
    Note that a person has seen these; how many were open.

    Idempotency: who acknowledged first stands. Locks: the rows, in order. Opens its own transaction, or joins the
    caller's.
    """
    with transaction.atomic():
        open_ones = models.UsageAnomaly.objects.filter(
            pk__in=[anomaly.pk for anomaly in anomalies], state=models.AnomalyState.OPEN
        )
        locked = list(open_ones.order_by("pk").select_for_update().values_list("pk", flat=True))
        return models.UsageAnomaly.objects.filter(pk__in=locked).update(
            state=models.AnomalyState.ACKNOWLEDGED, acknowledged_at=now, acknowledged_by=by[:150]
        )


class _Finding(NamedTuple):
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


def _detect(
    days: Sequence[datetime],
    day_hours: Sequence[datetime],
    now: datetime,
    progress: Callable[[int, int], None] | None,
) -> AnomaliesReport:
    if not day_hours:
        return AnomaliesReport(series=0, found=0, waiting=0)
    total = models.Series.objects.count()
    after = done = found = waiting = 0
    while True:
        with transaction.atomic(durable=True):
            first_days = _list_series(after)
            pending = _list_pending(list(first_days), day_hours)
            ready = {series_id: day for series_id, day in first_days.items() if series_id not in pending}
            found += _keep(_find(ready, days, day_hours), now)
        if not first_days:
            return AnomaliesReport(series=done, found=found, waiting=waiting)
        after = max(first_days)
        done += len(ready)
        waiting += len(pending)
        if progress is not None:
            progress(done + waiting, total)


def _list_series(after: int) -> dict[int, date | None]:
    """The next series, and since when there is usage of each."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL jit = off")  # compiling would take longer than the probes
        cursor.execute(_SERIES, {"after": after, "limit": _SLICE_SERIES})
        return dict(cursor.fetchall())


def _list_pending(series_ids: list[int], day_hours: Sequence[datetime]) -> set[int]:
    """
    The series whose windows wait to be summarised: half a day counted would look like a drop.

    What came in the last minutes is no reason to wait: of some series, a little of yesterday is always on its way.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _PENDING,
            {
                "series_ids": series_ids,
                "first": hours.hour_of(day_hours[0]),
                "last": hours.hour_of(day_hours[-1]),
                "patience_minutes": _PATIENCE_MINUTES,
            },
        )
        return {series_id for (series_id,) in cursor.fetchall()}


def _find(
    first_days: dict[int, date | None], days: Sequence[datetime], day_hours: Sequence[datetime]
) -> list[_Finding]:
    """One finding for each key: a day's total before its hours, and of these the one that stands out most."""
    series: dict[str, Any] = {"series_ids": list(first_days), "first_days": list(first_days.values())}
    with connection.cursor() as cursor:
        cursor.execute(DAYS, {**_LIMITS, **series, "windows": list(days)})
        found = [_Finding(models.AnomalyKind.DAY_TOTAL, *row) for row in cursor.fetchall()]
        cursor.execute(HOURS, {**_LIMITS, **series, "windows": list(day_hours)})
        spikes = [_Finding(models.AnomalyKind.HOUR_SPIKE, *row) for row in cursor.fetchall()]
    with localcontext(_EXACT):
        found += sorted(spikes, key=_height, reverse=True)
    findings: dict[tuple[str, str, date], _Finding] = {}
    for finding in found:
        findings.setdefault(finding.key, finding)
    return [findings[key] for key in sorted(findings)]


def _height(spike: _Finding) -> tuple[bool, Decimal, Decimal]:
    """How much a spike stands out; one over hours that were all the same stands out most."""
    return spike.z_score is None, spike.z_score or Decimal(0), spike.observed


def _keep(findings: list[_Finding], now: datetime) -> int:
    """Write the findings that are new, and tell of them; how many."""
    if not findings:
        return 0
    by_id = {ids.new_id("ano"): finding for finding in findings}
    with localcontext(_EXACT), connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            {
                "now": now,
                "ids": list(by_id),
                "tenant_ids": [finding.tenant_id for finding in findings],
                "event_types": [finding.event_type for finding in findings],
                "days": [finding.key[2] for finding in findings],
                "kinds": [str(finding.kind) for finding in findings],
                "starts": [finding.window_start for finding in findings],
                "ends": [finding.window_end for finding in findings],
                "observed": [finding.observed for finding in findings],
                "expected": [finding.expected for finding in findings],
                "deviations": [finding.deviation for finding in findings],
                "z_scores": [finding.z_score for finding in findings],
                "history_days": [finding.history_days for finding in findings],
            },
        )
        written = [anomaly_id for (anomaly_id,) in cursor.fetchall()]
        for anomaly_id in written:
            _tell(anomaly_id, by_id[anomaly_id], now)
    return len(written)


def _tell(anomaly_id: str, finding: _Finding, now: datetime) -> None:
    outbox.leave(
        topic="usage.anomaly_detected",
        tenant_id=finding.tenant_id,
        reference_id=anomaly_id,
        payload={
            "anomaly_id": anomaly_id,
            "event_type": finding.event_type,
            "day": finding.key[2].isoformat(),
            "kind": str(finding.kind),
            "window_start": clock.format_instant(finding.window_start),
            "window_end": clock.format_instant(finding.window_end),
            "observed_quantity": int(finding.observed),
            "expected_quantity": f"{finding.expected:f}",
            "z_score": None if finding.z_score is None else f"{finding.z_score:f}",
        },
        now=now,
    )


def _rounded(figure: Decimal, places: int) -> Decimal:
    return figure.quantize(Decimal(1).scaleb(-places))


def _hours_between(start: datetime, end: datetime) -> list[datetime]:
    return [hours.start_of(hour) for hour in range(hours.hour_of(start), hours.hour_of(end))]


def _within_calendar(now: datetime) -> datetime:
    """No event lies beyond, and calendars end."""
    return min(max(now, partitions.EARLIEST), partitions.LATEST)


_LIMITS: Final[dict[str, Any]] = {
    "history_days": HISTORY_DAYS,
    "min_history_days": MIN_HISTORY_DAYS,
    "day_z": DAY_Z,
    "hour_z": HOUR_Z,
    "spike_factor": SPIKE_FACTOR,
    "min_share": MIN_SHARE,
    "min_quantity": MIN_QUANTITY,
}

_PENDING: Final = """
    SELECT touched.series_id
    FROM metering_touched_window AS batch CROSS JOIN unnest(batch.series_ids, batch.hours) AS touched(series_id, hour)
    WHERE touched.series_id = ANY(%(series_ids)s) AND touched.hour BETWEEN %(first)s AND %(last)s
        AND batch.started_at < statement_timestamp() - %(patience_minutes)s * interval '1 minute'
    UNION
    SELECT series_id FROM metering_quarantined_window
    WHERE series_id = ANY(%(series_ids)s) AND event_hour BETWEEN %(first)s AND %(last)s
"""

# The series after one, each with the first day that has usage.
_SERIES: Final = """
    SELECT series.id, (known.first_at AT TIME ZONE 'UTC')::date
    FROM metering_series AS series
    CROSS JOIN LATERAL (
        SELECT min(summary.period_start) AS first_at
        FROM metering_usage_summary AS summary
        WHERE summary.tenant_id = series.tenant_id AND summary.meter = series.event_type AND summary.group_key = ''
            AND summary.granularity = 'day'
    ) AS known
    WHERE series.id > %(after)s
    ORDER BY series.id
    LIMIT %(limit)s
"""

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

# Only hours with usage are judged, each by thirty probes; those that pass are held against every hour of the days.
HOURS: Final = """
    WITH candidate AS MATERIALIZED (
        SELECT tenant_id, event_type, window_start, x, n, s, gap, spread
        FROM unnest(%(series_ids)s::int[], %(first_days)s::date[]) AS known(series_id, first_day)
        JOIN metering_series AS series ON series.id = known.series_id
        CROSS JOIN LATERAL (
            SELECT period_start AS window_start, total AS x
            FROM metering_usage_summary
            WHERE tenant_id = series.tenant_id AND meter = series.event_type AND group_key = '' AND granularity = 'hour'
                AND period_start = ANY(%(windows)s::timestamptz[]) AND total >= %(min_quantity)s
        ) AS judged
        CROSS JOIN LATERAL (
            SELECT least(%(history_days)s, (window_start AT TIME ZONE 'UTC')::date - first_day)::numeric AS n
        ) AS history
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(total), 0) AS s, coalesce(sum(total * total), 0) AS q
            FROM generate_series(1, n::int) AS back
            JOIN metering_usage_summary ON period_start = window_start - back * interval '24 hours'
            WHERE tenant_id = series.tenant_id AND meter = series.event_type AND group_key = '' AND granularity = 'hour'
        ) AS figures
        CROSS JOIN LATERAL (SELECT n * x - s AS gap, n * q - s * s AS spread) AS apart
        WHERE n >= %(min_history_days)s
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

_INSERT: Final = """
    INSERT INTO metering_usage_anomaly (
        id, tenant_id, event_type, day, kind, window_start, window_end, observed_quantity, expected_quantity, deviation,
        z_score, history_days, detected_at, state, acknowledged_by
    )
    SELECT
        id, tenant_id, event_type, day, kind, window_start, window_end, observed, expected, deviation, z_score,
        history_days, %(now)s, 'open', ''
    FROM unnest(
        %(ids)s::text[], %(tenant_ids)s::text[], %(event_types)s::text[], %(days)s::date[], %(kinds)s::text[],
        %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(observed)s::numeric[], %(expected)s::numeric[],
        %(deviations)s::numeric[], %(z_scores)s::numeric[], %(history_days)s::int[]
    ) AS finding(
        id, tenant_id, event_type, day, kind, window_start, window_end, observed, expected, deviation, z_score,
        history_days
    )
    ON CONFLICT (tenant_id, event_type, day) DO NOTHING
    RETURNING id
"""
