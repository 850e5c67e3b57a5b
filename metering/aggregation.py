"""
From touched windows to usage summaries: recomputed from the events, never incremented, so that any run may be repeated.

One aggregator at a time per shard of series. Without that, two that claim different touched rows of one window can
write their results out of order, with nothing left to mend it:

    A claims row 1 of the window, sums 10
                                            an event of 5 commits, with row 2
                                            B claims row 2, sums 15, writes 15
    A writes 10

An event that commits while a window is recomputed has a touched row of its own, so the window is done again.

A slice recomputes hours, and leaves a touched row of the stage ``roll_up`` for those that changed; another slice brings
their days and months up to date. So many slices of one day, after days of silence, cost one roll-up.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction

from metering import hours, ingestion, models, repeats, slices

CHANGES_KEPT_FOR: Final = timedelta(days=7)
_SLICE_BATCHES: Final = 1_000
_PRUNED: Final = 10_000  # changed windows in one run; a day of runs takes away more than a busy day makes


def aggregate_usage(
    *, now: datetime, slice_batches: int = _SLICE_BATCHES, progress: slices.Progress | None = None
) -> slices.AggregationReport:
    """
    Recompute the summaries of all windows that are touched when it begins, slice by slice.

    Idempotency: a summary is what its events add up to, whoever computes it and how often.
    Locks: one advisory lock per shard for a slice; a shard that another run holds is left to it. Owns its transactions,
    one a slice, so that a run cut short has lost nothing.
    """
    report = slices.AggregationReport()
    last_id, batches = _find_touched()
    for shard in range(ingestion.SHARDS):
        run = slices.Run(shard, now, slice_batches, last_id, batches, progress, report)
        try:
            run.retry_quarantined()
            while run.recompute_hours() or run.roll_up() or run.backfill():
                pass
        except slices.ShardIsBusy:
            report.busy += 1
    _prune_changed_windows(now)
    repeats.tidy(now=now)
    report.remaining = _find_touched()[1]
    report.quarantined = models.QuarantinedWindow.objects.count()
    report.needs_person = models.QuarantinedWindow.objects.filter(state=models.QuarantineState.STUCK).exists()
    return report


def split_hour(*, tenant_id: str, at: datetime, now: datetime) -> bool:
    """
    Cut a tenant's hour in two at a moment inside it, because a billing period begins or ends there; whether it was new.

    From the next run on the hour has a summary on each side. A moment at which an hour begins needs no split, and an
    hour whose events were archived and dropped gets none: its summary can no longer be cut.
    Idempotency: a hour is split once at a moment. Opens its own transaction, or joins the caller's.
    Locks: the event store in ACCESS SHARE, so that the month is not dropped before the hour is summarised in parts.
    """
    hour = hours.hour_of(at)
    if hours.start_of(hour) == at:
        return False
    with transaction.atomic(), connection.cursor() as cursor:
        if not slices.without_dropped([(0, hour)]):
            return False
        cursor.execute(
            """
            INSERT INTO metering_window_split (tenant_id, event_hour, split_at, created_at) VALUES (%s, %s, %s, %s)
            ON CONFLICT (tenant_id, event_hour, split_at) DO NOTHING
            """,
            [tenant_id, hour, at, now],
        )
        if not cursor.rowcount:
            return False
        slices.touch(windows=[(series_id, hour) for series_id in _series_of(tenant_id)])
    return True


def lock_shards() -> None:
    """
    Keep every aggregator out until the transaction ends; waits for the slices that are running.

    For what must not happen beside a recompute: a new meter, a month that is dropped. Requires an open transaction.
    """
    with connection.cursor() as cursor:
        for shard in range(ingestion.SHARDS):
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [slices.LOCK_CLASS, shard])


def _find_touched() -> tuple[int, int]:
    """The last touched row, and how many there are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0), count(*) FROM metering_touched_window")
        last_id, count = cursor.fetchone()
        return int(last_id), int(count)


def _series_of(tenant_id: str) -> list[int]:
    return list(models.Series.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True))


def _prune_changed_windows(now: datetime) -> None:
    """Forget changes that everybody has had a week to read, a bounded number of them in each run."""
    oldest = models.ChangedWindow.objects.order_by("id").values_list("changed_at", flat=True).first()
    if oldest is None or oldest >= now - CHANGES_KEPT_FOR:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM metering_changed_window
            WHERE id = ANY(ARRAY(
                SELECT id
                FROM (SELECT id, changed_at FROM metering_changed_window ORDER BY id LIMIT %s) AS oldest
                WHERE changed_at < %s
            ))
            """,
            [_PRUNED, now - CHANGES_KEPT_FOR],
        )
