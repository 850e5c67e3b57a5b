"""Writers, makers of months and aggregators at the same time, on real connections with real commits."""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from metering import aggregation, ingestion, models, partitions, schemas, slices, usage, usage_rows
from tests.factories import metering as factories
from tests.support.threads import run_together

pytestmark = pytest.mark.usefixtures("committed_db")

NOW = factories.NOW
WRITERS = 8
event = factories.EventInFactory.build


def send(events: Sequence[schemas.EventIn], *, size: int = 500) -> list[ingestion.IngestReport]:
    return [
        ingestion.ingest(events=events[start : start + size], now=NOW, allow_backfill=True)
        for start in range(0, len(events), size)
    ]


def together(work: Sequence[Callable[[], Any]]) -> list[Any]:
    outcomes = run_together(work)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert failures == []
    return outcomes


class TestIngest:
    def test_stores_each_event_once_under_8_writers_in_random_order(self) -> None:
        count = 4_000
        sent = [
            event(idempotency_key=f"k{n}", tenant_id=f"t{n % 7}", event_timestamp=NOW - timedelta(hours=n % 50))
            for n in range(count)
        ]
        shuffled = [random.Random(seed).sample(sent, count) for seed in range(WRITERS)]  # noqa: S311
        reports = [one for many in together([partial(send, events) for events in shuffled]) for one in many]
        assert sum(report.accepted for report in reports) == count
        assert sum(report.duplicates for report in reports) == count * (WRITERS - 1)
        assert sum(report.rejected for report in reports) == 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), count(DISTINCT key_hash) FROM metering_event")
            assert cursor.fetchone() == (count, count)
            cursor.execute(
                "SELECT count(*) FROM metering_event_key AS key JOIN metering_event AS event"
                " USING (key_hash, series_id, event_hour, batch_id)",
            )
            assert cursor.fetchone() == (count,)
        assert models.Series.objects.count() == 7
        aggregation.aggregate_usage(now=NOW)
        assert sum(models.UsageSummary.objects.filter(granularity="hour").values_list("total", flat=True)) == count

    def test_stores_one_of_8_versions_of_an_event(self) -> None:
        versions = [
            event(idempotency_key="k", quantity=n, event_timestamp=NOW - timedelta(days=n)) for n in range(WRITERS)
        ]
        reports = together([partial(send, [version]) for version in versions])
        accepted = [place for place, (report,) in enumerate(reports) if report.accepted]
        assert len(accepted) == 1
        assert sum(report.rejected for (report,) in reports) == WRITERS - 1
        stored = models.Event.objects.get()
        assert stored.quantity == accepted[0]

    def test_makes_a_new_series_and_a_new_month_once(self) -> None:
        moment = datetime(2011, 5, 1, tzinfo=UTC)
        together([partial(send, [event(event_timestamp=moment, tenant_id="new")]) for _ in range(WRITERS)])
        assert models.Series.objects.count() == 1
        assert models.Event.objects.count() == WRITERS
        assert partitions.count_default_rows() == 0

    def test_counts_a_refused_event_in_one_dead_letter(self) -> None:
        old = event(event_timestamp=datetime(1999, 1, 1, tzinfo=UTC), idempotency_key="k")
        other = event(event_timestamp=datetime(1998, 1, 1, tzinfo=UTC), idempotency_key="k")
        orders = [[old, other], [other, old]] * (WRITERS // 2)
        together([partial(send, events) for events in orders])
        assert sorted(models.DeadLetter.objects.values_list("count", flat=True)) == [WRITERS, WRITERS]

    def test_takes_an_event_whose_first_writer_rolled_back(self) -> None:
        sent = event()

        def abandon() -> None:
            with transaction.atomic():
                send([sent])
                transaction.set_rollback(True)

        outcomes = together([abandon, partial(send, [sent])] * 4)
        accepted = sum(report.accepted for reports in outcomes if reports for report in reports)
        assert accepted == models.Event.objects.count() == 1

    def test_does_not_remember_a_series_that_was_rolled_back(self) -> None:
        with transaction.atomic():
            send([event(tenant_id="ghost")])
            transaction.set_rollback(True)
        send([event(tenant_id="real")])
        send([event(tenant_id="ghost")])
        names = dict(models.Series.objects.values_list("pk", "tenant_id"))
        assert sorted(names[stored.series_id] for stored in models.Event.objects.all()) == ["ghost", "real"]


class TestKeyAndEvent:
    """They live or die together: a key without its event would refuse the event for ever."""

    def test_are_both_gone_when_the_event_cannot_be_written(self, owner_cursor: psycopg.Cursor) -> None:
        owner_cursor.execute("ALTER TABLE metering_event ADD CONSTRAINT unlucky CHECK (quantity <> 13) NOT VALID")
        sent = event(quantity=13)
        with pytest.raises(IntegrityError, match="unlucky"):
            send([sent, event()])
        assert not models.EventKey.objects.exists()
        owner_cursor.execute("ALTER TABLE metering_event DROP CONSTRAINT unlucky")
        assert send([sent])[0].accepted == 1

    def test_are_both_gone_when_the_connection_dies_between(self, superuser_cursor: psycopg.Cursor) -> None:
        send([event()])  # makes month and series, so that the next writer waits nowhere before its events
        sent = event()

        def die() -> None:
            with pytest.raises(OperationalError):
                send([sent])

        def kill() -> None:
            give_up_at = time.monotonic() + 20
            while time.monotonic() < give_up_at:
                superuser_cursor.execute("SELECT pg_stat_clear_snapshot()")
                superuser_cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND query LIKE 'COPY metering_event%' AND datname = current_database()",
                )
                if superuser_cursor.fetchall():
                    break
                time.sleep(0.01)
            superuser_cursor.execute("COMMIT")

        superuser_cursor.execute("BEGIN; LOCK TABLE metering_event IN EXCLUSIVE MODE")
        together([die, kill])
        assert models.EventKey.objects.count() == models.Event.objects.count() == 1
        assert send([sent])[0].accepted == 1


class TestMakePartition:
    def test_lets_writers_and_readers_go_on(self, owner_cursor: psycopg.Cursor) -> None:
        factories.ingest_many(3)
        owner_cursor.execute("BEGIN")
        owner_cursor.execute("SELECT metering_make_partition('2031-02-01')")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        factories.ingest_many(3)
        aggregation.aggregate_usage(now=NOW)
        owner_cursor.execute("COMMIT")
        assert models.UsageSummary.objects.get(granularity="hour").total == 6


class TestAggregateUsage:
    def test_counts_an_event_that_commits_while_its_window_is_recomputed(self, owner_cursor: psycopg.Cursor) -> None:
        """The late commit has a touched row of its own, so the window is done again."""
        factories.ingest_many(1, quantity=10)
        window: dict[str, Any] = {"tenant_id": "acme-corp", "period_start": NOW - timedelta(hours=1), "period_end": NOW}

        def commit_late() -> None:
            with transaction.atomic():
                send([event(quantity=5)])
                # Another connection aggregates to the end while this one has not committed.
                (report,) = together([partial(aggregation.aggregate_usage, now=NOW)])
                assert (report.changed, report.remaining) == (1, 0)
                assert models.UsageSummary.objects.get(granularity="hour").total == 10

        commit_late()
        assert usage.has_pending_windows(**window)
        aggregation.aggregate_usage(now=NOW)
        assert models.UsageSummary.objects.get(granularity="hour").total == 15
        assert not usage.has_pending_windows(**window)

    def test_leaves_a_shard_to_the_run_that_holds_it(self) -> None:
        factories.ingest_many(1)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [slices.LOCK_CLASS])
            (report,) = together([partial(aggregation.aggregate_usage, now=NOW)])
        assert (report.busy, report.slices, report.remaining) == (1, 0, 1)
        assert aggregation.aggregate_usage(now=NOW).remaining == 0

    def test_adds_up_beside_writers_and_beside_itself(self) -> None:
        def write(seed: int) -> None:
            for n in range(40):
                send([event(idempotency_key=f"{seed}-{n}-{m}", quantity=m) for m in range(5)])

        def aggregate() -> None:
            for _ in range(40):
                aggregation.aggregate_usage(now=NOW, slice_batches=3)

        together([*(partial(write, seed) for seed in range(4)), aggregate, aggregate])
        aggregation.aggregate_usage(now=NOW)
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(quantity), count(*) FROM metering_event")
            expected = cursor.fetchone()
        summary = models.UsageSummary.objects.get(granularity="hour")
        assert (summary.total, summary.event_count) == expected == (4 * 40 * 10, 4 * 40 * 5)


class TestFreshAsOf:
    def test_is_never_a_lie(self) -> None:
        """Whatever was accepted before the moment that is told is counted in the rows that come with it."""
        period: dict[str, Any] = {"period_from": NOW - timedelta(hours=1), "period_to": NOW}
        accepted: list[tuple[datetime, int]] = []

        def database_time() -> datetime:
            with connection.cursor() as cursor:
                cursor.execute("SELECT clock_timestamp()")
                moment: datetime = cursor.fetchone()[0]
                return moment

        def write() -> None:
            for n in range(1, 120):
                send([event(idempotency_key=f"k{n}")])
                accepted.append((database_time(), n))

        def aggregate() -> None:
            for _ in range(60):
                aggregation.aggregate_usage(now=NOW, slice_batches=2)

        def read() -> list[usage_rows.UsagePage]:
            return [
                usage_rows.list_usage(
                    tenant_id="acme-corp",
                    meter="api_call",
                    granularity=models.Granularity.HOUR,
                    limit=10,
                    **period,
                )
                for _ in range(200)
            ]

        _, _, pages = together([write, aggregate, read])
        checked = 0
        for page in pages:
            counted = sum(row.event_count for row in page.rows)
            promised = max((number for moment, number in accepted if moment < page.fresh_as_of), default=0)
            assert counted >= promised
            checked += promised > 0
        assert checked
