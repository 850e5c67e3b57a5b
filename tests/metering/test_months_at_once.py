"""Months that are drained, sealed, dropped and restored while others read and write, with real commits."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import LazySettings
from django.db import OperationalError, ProgrammingError, connection, connections, transaction
from psycopg import errors as pg_errors

from metering import aggregation, archives, errors, hours, ingestion, models, partitions, restoration, schemas, usage
from tests.factories import metering as factories
from tests.metering.months import LATER, MARCH, THEN, event, fill, stored, summaries
from tests.support import waiting
from tests.support.threads import results, run_together

pytestmark = pytest.mark.usefixtures("committed_db")

FUTURE = datetime(2031, 3, 15, tzinfo=UTC)  # of which no month was made


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    """The archive."""
    settings.ARCHIVE_URL = (tmp_path / "archive").as_uri()
    return tmp_path / "archive"


def write_to_default(cursor: psycopg.Cursor, moment: datetime) -> None:
    cursor.execute(
        "INSERT INTO metering_event VALUES (gen_random_uuid(), %s, 1, 1, %s, %s, 1, false, 'k', 'api', NULL, '{}')",
        [moment, moment, hours.hour_of(moment)],
    )


def send(events: Sequence[schemas.EventIn], now: datetime) -> list[ingestion.IngestReport]:
    return [
        ingestion.ingest(events=events[start : start + 50], now=now, allow_backfill=True)
        for start in range(0, len(events), 50)
    ]


class Beside:
    """Work in a thread of its own, beside what the test does."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._answer: list[Any] = []
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def answer(self) -> Any:
        """What came of it, once it is done."""
        self._thread.join(60)
        (answer,) = self._answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _run(self) -> None:
        try:
            self._answer.append(self._work())
        except BaseException as error:  # noqa: BLE001  (raised by answer)
            self._answer.append(error)
        finally:
            connections.close_all()


def someone_waits(cursor: psycopg.Cursor) -> bool:
    cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    return bool(cursor.fetchone()[0])  # type: ignore[index]


class TestDrain:
    def test_moves_all_of_a_month_or_none(self, owner_cursor: psycopg.Cursor) -> None:
        write_to_default(owner_cursor, FUTURE)
        write_to_default(owner_cursor, FUTURE + timedelta(days=40))
        owner_cursor.execute("CREATE TABLE metering_event_2031_04 (taken text)")  # so that April cannot be made
        before = [row[0] for row in stored()]
        with pytest.raises(ProgrammingError, match="already exists"):
            partitions.drain_default_partition()
        assert partitions.count_default_rows() == 1
        assert [row[0] for row in stored()] == before
        with pytest.raises(pg_errors.CheckViolation):
            owner_cursor.execute("DELETE FROM metering_event_default")

    def test_loses_no_event_and_refuses_none_while_writers_go_on(self, owner_cursor: psycopg.Cursor) -> None:
        write_to_default(owner_cursor, FUTURE)  # so that the month is blocked, and writers write to the default too
        batches = [
            [event(event_timestamp=FUTURE - timedelta(minutes=n), idempotency_key=f"{w}-{n}") for n in range(600)]
            for w in range(4)
        ]
        drained: list[partitions.DrainReport] = []

        def drain() -> list[Any]:
            drained.extend(partitions.drain_default_partition() for _ in range(5))
            return []

        work: list[Callable[[], list[Any]]] = [*(partial(send, batch, FUTURE) for batch in batches), drain]
        reports = results(run_together(work))
        assert sum(report.accepted for sent in reports for report in sent) == 2_400
        assert sum(report.rejected for sent in reports for report in sent) == 0
        partitions.drain_default_partition()
        assert partitions.count_default_rows() == 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT tableoid::regclass::text, count(*) FROM metering_event GROUP BY 1")
            assert cursor.fetchall() == [("metering_event_2031_03", 2_401)]

    def test_comes_back_later_where_the_event_store_is_busy(self, owner_cursor: psycopg.Cursor) -> None:
        write_to_default(owner_cursor, FUTURE)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE ONLY metering_event IN ROW EXCLUSIVE MODE")
            report = Beside(partitions.drain_default_partition).answer()
        assert report.busy == ["2031-03"]
        assert report.needs_person
        assert partitions.drain_default_partition().moved == {"2031-03": 1}


class TestSeal:
    def test_waits_for_a_writer_that_is_in_the_month_and_archives_its_event(
        self, superuser_cursor: psycopg.Cursor
    ) -> None:
        fill()
        with transaction.atomic():
            assert factories.ingest(event(event_timestamp=THEN), now=THEN).accepted == 1
            beside = Beside(partial(archives.archive_events, now=LATER, drops=()))
            waiting.until(partial(someone_waits, superuser_cursor), seconds=20, what="the seal to wait")
        report = beside.answer()
        assert (report.archived, report.events) == (["2025-03"], 41)

    def test_comes_back_later_where_a_writer_stays(self) -> None:
        fill()
        with transaction.atomic():
            assert factories.ingest(event(event_timestamp=THEN), now=THEN).accepted == 1
            report = Beside(partial(archives.archive_events, now=LATER)).answer()
        assert report.waiting == {"2025-03": "the event store is busy"}
        assert archives.dropped_months() == frozenset()

    def test_is_noticed_by_a_writer_that_did_not_know_of_it(self) -> None:
        fill()
        assert archives.dropped_months() == frozenset()  # remembered by this process for a while
        Beside(partial(_sealed_elsewhere)).answer()
        late = event(event_timestamp=THEN, tenant_id="t0", idempotency_key="late")
        good = event(event_timestamp=LATER, tenant_id="t0", idempotency_key="good")
        report = factories.ingest(late, good, now=LATER, allow_backfill=True)
        assert (report.accepted, report.rejected) == (1, 1)
        assert [verdict.code for verdict in report.errors] == ["period_archived"]
        assert models.DeadLetter.objects.get().code == "period_archived"
        assert not models.EventKey.objects.filter(created_at=LATER, event_hour=hours.hour_of(THEN)).exists()


class TestDrop:
    def test_comes_back_later_where_a_reader_stays(self) -> None:
        fill()
        archives.archive_events(now=LATER, drops=())
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM metering_event")
            report = Beside(partial(archives.archive_events, now=LATER)).answer()
        assert report.waiting == {"2025-03": "the event store is busy"}
        assert len(stored()) == 40
        assert archives.archive_events(now=LATER).dropped == ["2025-03"]

    def test_is_done_once_by_four_at_a_time(self, folder: Path) -> None:
        fill()
        reports = results(run_together([partial(archives.archive_events, now=LATER) for _ in range(4)]))
        assert [report.failed for report in reports] == [{}] * 4
        while models.ArchivedMonth.objects.get().dropped_at is None:
            archives.archive_events(now=LATER)
        assert models.ArchivedMonth.objects.get().event_count == 40
        assert len(list(folder.rglob("*.parquet"))) == 5
        assert restoration.restore_events(months=[MARCH]).events == 40

    def test_leaves_the_summaries_alone_whatever_touches_them(self) -> None:
        fill()
        before = summaries()
        archives.archive_events(now=LATER)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours)"
                " SELECT 0, 0, now(), array_agg(id), array_agg(%s) FROM metering_series",
                [hours.hour_of(THEN)],
            )
        aggregation.aggregate_usage(now=LATER)
        assert summaries() == before


class TestCorrect:
    def test_corrects_and_counts_nothing_of_a_month_that_another_process_dropped(self, folder: Path) -> None:
        factories.ingest(event(event_timestamp=THEN, idempotency_key="k", quantity=10), now=THEN)
        aggregation.aggregate_usage(now=THEN)
        assert archives.dropped_months() == frozenset()  # remembered
        command = [sys.executable, "manage.py", "archive_events", "--as-of", LATER.isoformat()]
        subprocess.run(command, env={**os.environ, "ARCHIVE_URL": folder.as_uri()}, check=True, capture_output=True)
        assert archives.dropped_months() == frozenset()
        with pytest.raises(errors.UsageArchived):  # a part of an hour is counted from events
            usage.totals(
                tenant_id="acme-corp",
                meters=["api_call"],
                period_start=THEN,
                period_end=THEN + timedelta(minutes=10),
            )
        correction = event(event_timestamp=LATER, idempotency_key="c", corrects="k", quantity=4)
        report = factories.ingest(correction, now=LATER)
        assert [verdict.code for verdict in report.errors] == ["period_archived"]

    def test_lets_no_month_be_dropped_before_the_window_is_corrected(self) -> None:
        factories.ingest(event(event_timestamp=THEN, idempotency_key="k", quantity=10), now=THEN)
        aggregation.aggregate_usage(now=THEN)
        archives.archive_events(now=LATER, drops=[])
        restoration.restore_events(months=[MARCH])  # opened again, so that it takes a correction
        with transaction.atomic():
            correction = event(event_timestamp=LATER, idempotency_key="c", corrects="k", quantity=4)
            assert factories.ingest(correction, now=LATER).accepted == 1
            report = Beside(partial(archives.archive_events, now=LATER, months=[MARCH])).answer()
            assert report.waiting == {"2025-03": "the event store is busy"}
        report = archives.archive_events(now=LATER, months=[MARCH])
        assert report.waiting == {"2025-03": "windows of it are not summarised yet"}
        aggregation.aggregate_usage(now=LATER)
        assert archives.archive_events(now=LATER, months=[MARCH]).dropped == ["2025-03"]
        assert {row[4] for row in summaries()} == {4}


class TestRestore:
    def test_leaves_nothing_behind_when_it_dies_on_the_way(self, superuser_cursor: psycopg.Cursor) -> None:
        fill()
        before = stored()
        archives.archive_events(now=LATER)

        def die(day: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (pid,) = cursor.fetchone()
            superuser_cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

        def restore() -> None:
            restoration.restore_events(months=[MARCH], on_file=die)

        with pytest.raises(OperationalError):
            Beside(restore).answer()
        assert stored() == []
        superuser_cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'metering\\_restored%'")
        assert superuser_cursor.fetchone() == (0,)
        assert restoration.restore_events(months=[MARCH]).events == 40
        assert stored() == before

    def test_is_done_once_by_two_at_a_time(self) -> None:
        fill()
        archives.archive_events(now=LATER)
        outcomes = run_together([partial(restoration.restore_events, months=[MARCH]) for _ in range(2)])
        done = [outcome for outcome in outcomes if isinstance(outcome, restoration.RestoreReport)]
        assert max(report.events for report in done) == 40
        assert len(stored()) == 40

    def test_has_usage_summarised_anew_where_asked(self) -> None:
        fill()
        archives.archive_events(now=LATER)
        restoration.restore_events(months=[MARCH])
        windows = restoration.touch_events(months=[MARCH])
        before = summaries()
        report = aggregation.aggregate_usage(now=LATER)
        assert report.windows >= windows > 5
        assert summaries() == before


def _sealed_elsewhere() -> None:
    """Seal the month as another process would: this one's memory does not hear of it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_seal_month(%s)", [MARCH])
