"""
Usage that stands out: found every night and every hour, told once, and seen by a person. ``outliers`` says what does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import localcontext
from typing import Final

from django.db import connection, transaction

from billing_site.kernel import clock, ids, outbox
from metering import hours, models, outliers, partitions

_DAYS_AGAIN: Final = 2  # the last days that a run judges, so that what came late is judged too
_HOURS_AGAIN: Final = 3
_PATIENCE_MINUTES: Final = 10
_SLICE_SERIES: Final = 500


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
            found += _keep(outliers.find(first_days=ready, days=days, day_hours=day_hours), now)
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


def _keep(findings: list[outliers.Finding], now: datetime) -> int:
    """Write the findings that are new, and tell of them; how many."""
    if not findings:
        return 0
    by_id = {ids.new_id("ano"): finding for finding in findings}
    with localcontext(outliers.EXACT), connection.cursor() as cursor:
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


def _tell(anomaly_id: str, finding: outliers.Finding, now: datetime) -> None:
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


def _hours_between(start: datetime, end: datetime) -> list[datetime]:
    return [hours.start_of(hour) for hour in range(hours.hour_of(start), hours.hour_of(end))]


def _within_calendar(now: datetime) -> datetime:
    """No event lies beyond, and calendars end."""
    return min(max(now, partitions.EARLIEST), partitions.LATEST)


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
