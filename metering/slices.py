"""
One run of aggregation over one shard, slice by slice: what is claimed, in which order, and what is written beside it.

Each slice is a transaction that begins with the shard's lock, in a statement of its own: what the next statements see
is newer than whatever the run before committed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.db import connection, transaction

from metering import corrections, hours, ingestion, models, quarantine, recompute, requests, rollups

LOCK_CLASS: Final = 0x6D74  # "mt": keeps our advisory locks apart from other apps'
NO_BATCH: Final = 0  # the batch of touched rows that no batch of events made
_SLICE_WINDOWS: Final = 50_000  # a slice holds no more in memory than this and one batch's
_RETRIES: Final = 100  # of quarantined windows, in one run
_BACKFILL_SLICES: Final = 10  # in one run: new events come first
_BACKFILL_WINDOWS: Final = 5_000

Progress = Callable[[int, int | None, str], None]


@dataclass(kw_only=True)
class AggregationReport:
    """
    What one run did: slices committed, windows recomputed, summaries that changed (hours, then days and months).

    ``remaining`` touched rows came meanwhile or were left; ``busy`` shards were left to the run that is at them.
    ``quarantined`` windows are set aside; a person is needed where one is not tried again by itself. ``backfilled``
    windows were counted by a new meter.
    """

    slices: int = 0
    windows: int = 0
    changed: int = 0
    rolled_up: int = 0
    backfilled: int = 0
    quarantined: int = 0
    remaining: int = 0
    busy: int = 0
    needs_person: bool = False


class ShardIsBusy(Exception):
    """Another run is at it."""


@dataclass(kw_only=True)
class _Claim:
    """Windows that were taken, and the begin of the earliest batch that touched any of them."""

    windows: list[recompute.Window]
    started_at: datetime
    oldest_xid: int | None


@dataclass(frozen=True)
class _Rules:
    """What a slice counts beside the sum of each type: meters, and the types of series that are more than summed."""

    meters: Sequence[models.Meter]
    types: Mapping[int, str]

    def with_different_values(self, windows: Iterable[recompute.Window]) -> set[recompute.Window]:
        """Windows of types whose different values are counted: other values may have come in the place of as many."""
        unique = models.Aggregation.UNIQUE_COUNT
        types = {meter.event_type for meter in self.meters if meter.aggregation == unique}
        return {window for window in windows if self.types.get(window[0]) in types}


@dataclass
class Run:
    """One run over one shard. Each method works one slice, in a transaction of its own; False when nothing was left."""

    shard: int
    now: datetime
    slice_batches: int
    last_id: int
    batches: int
    progress: Progress | None
    report: AggregationReport
    _claimed: int = 0
    _backfill_slices: int = 0

    def recompute_hours(self) -> bool:
        """Hours, from their events."""
        with transaction.atomic(durable=True):
            self._lock()
            claim = self._claim(models.TouchedStage.RECOMPUTE, self.last_id)
            if claim is None:
                return False
            if claim.oldest_xid is not None:
                claim.windows += _link_corrections(self.shard, claim.oldest_xid, known=claim.windows)
            windows = without_dropped(claim.windows)
            held = quarantine.hold_back(windows=windows, started_at=claim.started_at)
            if held:
                windows = [window for window in windows if window not in held]
            rules = self._rules(windows)
            changed, failed = quarantine.work_around(windows, partial(self._recompute, rules))
            quarantine.set_aside(shard=self.shard, failed=failed, started_at=claim.started_at, now=self.now)
            above = {*changed, *rules.with_different_values(windows)} - failed.keys()
            append_touched(self.shard, sorted(above), models.TouchedStage.ROLL_UP, claim.started_at)
        self.report.slices += 1
        self.report.windows += len(windows)
        self.report.changed += len(changed)
        self._tell()
        return True

    def roll_up(self) -> bool:
        """Days and months, from the hours that changed."""
        with transaction.atomic(durable=True):
            self._lock()
            claim = self._claim(models.TouchedStage.ROLL_UP, None)
            if claim is None:
                return False
            windows = without_dropped(claim.windows)
            changed, failed = quarantine.work_around(windows, partial(self._roll_up, self._rules(windows)))
            quarantine.set_aside(shard=self.shard, failed=failed, started_at=claim.started_at, now=self.now)
        self.report.rolled_up += sum(changed)
        return True

    def backfill(self) -> bool:
        """Windows that a new meter has not counted yet."""
        if self._backfill_slices >= _BACKFILL_SLICES:
            return False
        self._backfill_slices += 1
        with transaction.atomic(durable=True):
            self._lock()
            unfinished = models.MeterBackfill.objects.filter(shard=self.shard, finished_at=None)
            backfill = unfinished.select_related("meter").order_by("id").first()
            if backfill is None:
                return False
            windows = _list_next(backfill)
            count = partial(self._count_for, backfill.meter)
            _, failed = quarantine.work_around(without_dropped(windows), count)
            quarantine.set_aside(shard=self.shard, failed=failed, started_at=backfill.started_at, now=self.now)
            backfill.windows += len(windows)
            if windows:
                backfill.series_id, backfill.event_hour = windows[-1]
            else:
                backfill.finished_at = self.now
            backfill.save()
        self.report.backfilled += len(windows)
        return True

    def retry_quarantined(self) -> None:
        """Windows whose time has come, each by itself."""
        with transaction.atomic(durable=True):
            self._lock()
            for row in quarantine.list_due(shard=self.shard, now=self.now, limit=_RETRIES):
                window = (row.series_id, row.event_hour)
                changed, failed = quarantine.work_around([window], partial(self._do_whole, self._rules([window])))
                self.report.changed += len(changed)
                quarantine.set_aside(shard=self.shard, failed=failed, started_at=row.started_at, now=self.now)
                if not failed:
                    row.delete()

    def _recompute(self, rules: _Rules, windows: Sequence[recompute.Window]) -> list[recompute.Window]:
        slice_ = self._slice(rules, windows)
        changed = recompute.recompute(slice_=slice_, meters=rules.meters)
        if gateway := slice_.of_type(requests.EVENT_TYPE):
            requests.recompute(windows=gateway.windows, now=self.now)
        return changed

    def _roll_up(self, rules: _Rules, windows: Sequence[recompute.Window]) -> list[int]:
        return [rollups.roll_up(slice_=self._slice(rules, windows), meters=rules.meters)]

    def _do_whole(self, rules: _Rules, windows: Sequence[recompute.Window]) -> list[recompute.Window]:
        changed = self._recompute(rules, windows)
        self._roll_up(rules, windows)
        return changed

    def _count_for(self, meter: models.Meter, windows: Sequence[recompute.Window]) -> list[recompute.Window]:
        rules = _Rules([meter], {series_id: meter.event_type for series_id, _ in windows})
        changed = recompute.recompute_meter(slice_=self._slice(rules, windows), meter=meter)
        self._roll_up(rules, windows)
        return changed

    def _slice(self, rules: _Rules, windows: Sequence[recompute.Window]) -> recompute.Slice:
        return recompute.Slice(shard=self.shard, windows=windows, now=self.now, types=rules.types)

    def _rules(self, windows: Sequence[recompute.Window]) -> _Rules:
        """Read after the lock: a meter that is made later is made when this slice is done."""
        meters = list(models.Meter.objects.order_by("id"))
        event_types = [requests.EVENT_TYPE, *(meter.event_type for meter in meters)]
        return _Rules(meters, recompute.find_types(windows=windows, event_types=event_types))

    def _claim(self, stage: models.TouchedStage, last_id: int | None) -> _Claim | None:
        """Take the oldest touched rows; their windows, each once, in the order of the event store."""
        with connection.cursor() as cursor:
            values: dict[str, Any] = {"shard": self.shard, "stage": stage, "last_id": last_id}
            cursor.execute(_CLAIM, values | {"batches": self.slice_batches, "windows": _SLICE_WINDOWS})
            batches, started_at, oldest_xid, series_ids, event_hours = cursor.fetchone()
        if not batches:
            return None
        if stage == models.TouchedStage.RECOMPUTE:
            self._claimed += batches
        windows = list(zip(series_ids, event_hours, strict=True))
        return _Claim(windows=windows, started_at=started_at, oldest_xid=oldest_xid)

    def _lock(self) -> None:
        with connection.cursor() as cursor:
            # A statement of its own, and the first: whatever the next ones see is newer than the lock.
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [LOCK_CLASS, self.shard])
            if not cursor.fetchone()[0]:
                raise ShardIsBusy
            cursor.execute("SET LOCAL jit = off")  # compiling would take longer than the recompute

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self._claimed, self.batches, "batches aggregated")


_CLAIM: Final = """
    WITH claimed AS (
        DELETE FROM metering_touched_window
        WHERE id = ANY(ARRAY(
            SELECT id
            FROM (
                SELECT id, sum(cardinality(hours)) OVER (ORDER BY id) - cardinality(hours) AS claimed_before
                FROM (
                    SELECT id, hours FROM metering_touched_window
                    WHERE shard = %(shard)s AND stage = %(stage)s
                        AND (%(last_id)s::bigint IS NULL OR id <= %(last_id)s)
                    ORDER BY id LIMIT %(batches)s
                ) AS oldest
            ) AS counted
            WHERE claimed_before < %(windows)s
        ))
        RETURNING series_ids, hours, started_at, oldest_xid
    )
    SELECT
        (SELECT count(*) FROM claimed), (SELECT min(started_at) FROM claimed), (SELECT min(oldest_xid) FROM claimed),
        array_agg(series_id), array_agg(event_hour)
    FROM (
        SELECT DISTINCT touched.event_hour, touched.series_id
        FROM claimed CROSS JOIN unnest(claimed.series_ids, claimed.hours) AS touched(series_id, event_hour)
        ORDER BY touched.event_hour, touched.series_id
    ) AS touched
"""


def without_dropped(windows: list[recompute.Window]) -> list[recompute.Window]:
    """
    The windows but those whose events were archived and dropped: these must not be recomputed from nothing.

    Locks: the event store in ACCESS SHARE, so that no month is dropped from here to the end of the transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE ONLY metering_event IN ACCESS SHARE MODE")
    dropped = models.ArchivedMonth.objects.filter(dropped_at__isnull=False, restored_at=None)
    months = set(dropped.values_list("month", flat=True))
    return [window for window in windows if hours.month_of(window[1]) not in months] if months else windows


def _link_corrections(shard: int, oldest_xid: int, *, known: Sequence[recompute.Window]) -> Sequence[recompute.Window]:
    """Windows, beside those known, whose events were corrected before they came; other shards are told of theirs."""
    linked = {(window.series_id, window.hour) for window in corrections.link_pending(since=oldest_xid)}
    if not linked:
        return []
    mine = {window for window in linked if window[0] % ingestion.SHARDS == shard}
    touch(windows=linked - mine)
    return sorted(mine - set(known))


def _list_next(backfill: models.MeterBackfill) -> list[recompute.Window]:
    """The next windows of the meter's type, from the summaries that say where events lie."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT series.id, (extract(epoch FROM hour.period_start)::bigint / 3600)::int AS event_hour
            FROM metering_series AS series
            JOIN metering_usage_summary AS hour
                ON hour.tenant_id = series.tenant_id AND hour.meter = %(event_type)s AND hour.group_key = ''
                AND hour.granularity = 'hour'
                AND (series.id > %(series_id)s OR hour.period_start >= %(next_hour)s)
            WHERE series.event_type = %(event_type)s AND series.id >= %(series_id)s
                AND series.id %% %(shards)s = %(shard)s
            ORDER BY 1, 2
            LIMIT %(limit)s
            """,
            {
                "event_type": backfill.meter.event_type,
                "series_id": backfill.series_id,
                "next_hour": hours.start_of(backfill.event_hour + 1),
                "shards": ingestion.SHARDS,
                "shard": backfill.shard,
                "limit": _BACKFILL_WINDOWS,
            },
        )
        return list(cursor.fetchall())


def append_touched(
    shard: int, windows: Sequence[recompute.Window], stage: models.TouchedStage, started_at: datetime | None
) -> None:
    """``started_at`` is that of the windows' earliest batch; None where they were touched by no batch, but now."""
    if not windows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours, stage)
            VALUES (%s, %s, coalesce(%s, statement_timestamp()), %s::int[], %s::int[], %s)
            """,
            [
                NO_BATCH,
                shard,
                started_at,
                recompute.as_array(series_id for series_id, _ in windows),
                recompute.as_array(hour for _, hour in windows),
                stage,
            ],
        )


def touch(*, windows: Iterable[recompute.Window]) -> None:
    """Have windows recomputed by the next run. Requires an open transaction."""
    by_shard: dict[int, list[recompute.Window]] = {}
    for window in sorted(set(windows)):
        by_shard.setdefault(window[0] % ingestion.SHARDS, []).append(window)
    for shard, touched in by_shard.items():
        append_touched(shard, touched, models.TouchedStage.RECOMPUTE, None)
