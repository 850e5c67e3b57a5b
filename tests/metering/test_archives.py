"""Months that leave the database for the archive, and come back."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from django.conf import LazySettings
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing_site.kernel import database
from metering import aggregation, archives, errors, models, partitions, restoration, usage
from metering.lake import export, layout
from tests.factories import metering as factories
from tests.metering.months import LATER, MARCH, THEN, event, fill, stored, summaries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    """The archive."""
    settings.ARCHIVE_URL = (tmp_path / "archive").as_uri()
    return tmp_path / "archive"


def call(function: str, *arguments: date | str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}({', '.join(['%s'] * len(arguments))})", arguments)
        return cursor.fetchone()[0]


def refused(function: str, *arguments: date | str) -> str | None:
    """The rule under which the database refuses a step."""
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        call(function, *arguments)
    return database.raised_constraint(raised.value)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class TestArchiveEvents:
    def test_archives_and_drops_what_is_past_the_retention(self, folder: Path) -> None:
        total = fill()
        report = archives.archive_events(now=LATER)
        assert (report.archived, report.dropped, report.waiting, report.failed) == (["2025-03"], ["2025-03"], {}, {})
        assert report.events == 40
        assert stored() == []
        month = models.ArchivedMonth.objects.get()
        assert month.month == MARCH
        assert month.event_count == 40
        assert month.quantity == total
        assert month.verified_at is not None
        assert month.dropped_at is not None
        assert month.dropped_at >= month.verified_at
        assert models.ArchivedFile.objects.count() == 5

    def test_leaves_what_was_counted(self) -> None:
        fill()
        before = summaries()
        archives.archive_events(now=LATER)
        assert summaries() == before
        assert len(before) > 0

    def test_names_each_file_by_its_content_and_lists_them_in_a_manifest(self, folder: Path) -> None:
        fill()
        archives.archive_events(now=LATER)
        found = files(folder)
        assert len(found) == 6
        for path in found:
            assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
        month = models.ArchivedMonth.objects.get()
        manifest = json.loads((folder / month.manifest_path).read_bytes())
        assert manifest["event_count"] == 40
        assert manifest["quantity"] == str(month.quantity)
        assert manifest["digest"] == str(month.digest)
        assert {folder / file["path"] for file in manifest["files"]} == set(found) - {folder / month.manifest_path}

    def test_writes_files_that_are_read_without_the_database(self, folder: Path) -> None:
        fill()
        archives.archive_events(now=LATER)
        tables = [pq.read_table(path, partitioning=None) for path in files(folder) if path.suffix == ".parquet"]
        assert sum(table.num_rows for table in tables) == 40
        assert {name for table in tables for name in table["tenant_id"].to_pylist()} == {"t0", "t1", "t2"}
        assert {at.year for table in tables for at in table["event_timestamp"].to_pylist()} == {2025}

    def test_finds_nothing_to_do_again(self, folder: Path) -> None:
        fill()
        archives.archive_events(now=LATER)
        before = files(folder)
        report = archives.archive_events(now=LATER)
        assert (report.archived, report.dropped, report.events) == ([], [], 0)
        assert files(folder) == before

    @pytest.mark.parametrize("days", [0, 60, 89])
    def test_leaves_what_is_within_the_retention(self, days: int) -> None:
        fill()
        report = archives.archive_events(now=THEN.replace(day=1, month=4) + timedelta(days=days) - timedelta(hours=13))
        assert report.archived == []
        assert len(stored()) == 40

    def test_waits_while_a_backfill_goes_on(self) -> None:
        fill()
        factories.ingest(event(event_timestamp=THEN), now=LATER - timedelta(days=6), allow_backfill=True)
        report = archives.archive_events(now=LATER)
        assert report.archived == []
        assert "7 days" in report.waiting["2025-03"]
        assert archives.dropped_months() == frozenset()

    def test_leaves_a_month_without_events_open(self) -> None:
        call("metering_make_partition", MARCH)
        report = archives.archive_events(now=LATER)
        assert (report.archived, report.waiting) == ([], {})
        assert archives.dropped_months() == frozenset()

    def test_archives_and_keeps_where_asked_and_drops_later(self) -> None:
        fill()
        kept = archives.archive_events(now=LATER, drops=())
        assert (kept.archived, kept.dropped) == (["2025-03"], [])
        assert len(stored()) == 40
        report = archives.archive_events(now=LATER)
        assert (report.archived, report.dropped, report.events) == ([], ["2025-03"], 0)

    def test_drops_nothing_while_a_window_waits_to_be_summarised(self) -> None:
        fill()
        factories.ingest(event(event_timestamp=THEN), now=THEN)
        report = archives.archive_events(now=LATER)
        assert (report.archived, report.dropped) == (["2025-03"], [])
        assert "summarised" in report.waiting["2025-03"]
        assert len(stored()) == 41

    def test_goes_on_with_the_day_that_a_run_was_cut_short_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fill()
        days: list[date] = []

        def cut(day: date) -> None:
            days.append(day)
            if day.day == 18:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            archives.archive_events(now=LATER, on_day=cut)
        assert models.ArchivedFile.objects.count() == 3
        report = archives.archive_events(now=LATER)
        assert report.events < 40
        assert report.dropped == ["2025-03"]
        assert models.ArchivedMonth.objects.get().event_count == 40

    def test_needs_an_archive(self, settings: LazySettings) -> None:
        settings.ARCHIVE_URL = ""
        with pytest.raises(errors.ArchiveNotConfigured):
            archives.archive_events(now=LATER)

    def test_keeps_the_month_where_the_archive_cannot_be_reached(self, settings: LazySettings, tmp_path: Path) -> None:
        fill()
        (tmp_path / "file").write_text("no folder")
        settings.ARCHIVE_URL = (tmp_path / "file" / "archive").as_uri()
        report = archives.archive_events(now=LATER)
        assert report.needs_person
        assert "archive_unreachable" in report.failed["2025-03"]
        assert len(stored()) == 40

    def test_keeps_the_month_where_a_file_of_it_was_lost(self, folder: Path) -> None:
        fill()
        archives.archive_events(now=LATER, drops=())
        next(path for path in files(folder) if path.suffix == ".parquet").unlink()
        report = archives.archive_events(now=LATER)
        assert report.needs_person
        assert report.dropped == []
        assert len(stored()) == 40


class TestSealedMonth:
    @pytest.fixture(autouse=True)
    def _sealed(self) -> None:
        fill()
        archives.archive_events(now=LATER, drops=())

    def test_is_told_as_read_only(self) -> None:
        assert archives.dropped_months() == {MARCH}

    def test_takes_no_event_from_anyone(self, superuser_cursor: psycopg.Cursor) -> None:
        with pytest.raises(IntegrityError) as raised, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO metering_event SELECT gen_random_uuid(), event_timestamp, quantity, batch_id, created_at,"
                " event_hour, series_id, void, idempotency_key, source, corrects, properties FROM metering_event"
                " LIMIT 1",
            )
        assert database.raised_constraint(raised.value) == archives.SEALED

    def test_is_not_sealed_twice(self) -> None:
        assert call("metering_seal_month", MARCH) == "sealed"
        assert models.ArchivedFile.objects.count() == 5

    def test_is_opened_again_without_the_archive(self, settings: LazySettings) -> None:
        settings.ARCHIVE_URL = ""
        report = restoration.restore_events(months=[MARCH])
        assert (report.restored, report.events) == (["2025-03"], 0)
        assert archives.dropped_months() == frozenset()
        assert factories.ingest(event(event_timestamp=THEN), now=THEN).accepted == 1


class TestDroppedMonth:
    @pytest.fixture(autouse=True)
    def _dropped(self) -> None:
        fill()
        self.events = stored()
        archives.archive_events(now=LATER)

    def test_takes_no_event_and_lets_none_fall_into_the_default_partition(self) -> None:
        with pytest.raises(IntegrityError) as raised, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO metering_event"
                " VALUES (gen_random_uuid(), %s, 1, 1, %s, %s, 1, false, 'k', 'api', NULL, '{}')",
                [THEN, THEN, int(THEN.timestamp()) // 3600],
            )
        assert database.raised_constraint(raised.value) == archives.SEALED
        assert partitions.count_default_rows() == 0

    def test_is_told_as_read_only(self) -> None:
        assert archives.dropped_months() == {MARCH}

    def test_is_dropped_once(self) -> None:
        assert call("metering_drop_month", MARCH) == "dropped"
        assert refused("metering_unseal_month", MARCH) == "metering_month_is_unsealed_before_it_is_dropped"
        assert refused("metering_verify_month", MARCH, "", "") == "metering_month_is_verified_while_it_is_sealed"

    def test_has_its_place_kept_with_all_guards(self) -> None:
        assert MARCH in partitions.list_months()
        assert guards("metering_event_2025_03") == GUARDS

    def test_has_no_hour_split_that_was_summarised_whole(self) -> None:
        moment = datetime(2025, 3, 16, 12, 30, tzinfo=UTC)
        assert not aggregation.split_hour(tenant_id="t0", at=moment, now=LATER)
        aggregation.aggregate_usage(now=LATER)
        with pytest.raises(errors.UsageArchived):
            usage.totals(
                tenant_id="t0",
                meters=["api_call"],
                period_start=moment,
                period_end=moment + timedelta(days=1, minutes=30),
            )

    def test_comes_back_event_by_event(self) -> None:
        counted = summaries()
        report = restoration.restore_events(months=[MARCH])
        assert (report.restored, report.events) == (["2025-03"], 40)
        assert stored() == self.events
        assert summaries() == counted
        assert archives.dropped_months() == frozenset()

    def test_comes_back_as_any_other_month(self) -> None:
        call("metering_make_partition", date(2025, 4, 1))
        restoration.restore_events(months=[MARCH])
        assert guards("metering_event_2025_03") == GUARDS
        assert upkeep("metering_event_2025_03") == upkeep("metering_event_2025_04")
        assert checks("metering_event_2025_03") == checks("metering_event_2025_04")
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege('metering_event_2025_03', 'INSERT, SELECT, DELETE')")
            assert cursor.fetchone() == (False,)

    def test_takes_events_again_once_it_is_back(self) -> None:
        restoration.restore_events(months=[MARCH])
        assert factories.ingest(event(event_timestamp=THEN), now=THEN).accepted == 1
        assert restoration.restore_events(months=[MARCH]).restored == []

    def test_stays_for_a_while_once_it_is_back_and_is_then_archived_anew(self) -> None:
        restoration.restore_events(months=[MARCH])
        restored_at = models.ArchivedMonth.objects.get().restored_at
        assert restored_at is not None
        assert MARCH not in archives.list_due(now=restored_at + timedelta(days=29))
        assert MARCH in archives.list_due(now=restored_at + timedelta(days=31))
        factories.ingest(event(event_timestamp=THEN, quantity=7), now=THEN)
        aggregation.aggregate_usage(now=THEN)
        report = archives.archive_events(now=restored_at + timedelta(days=31))
        assert (report.dropped, report.events) == (["2025-03"], 41)
        assert restoration.restore_events(months=[MARCH]).events == 41

    def test_stays_gone_where_a_file_was_changed(self, folder: Path) -> None:
        path = next(path for path in files(folder) if path.suffix == ".parquet")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(errors.ArchiveDamaged):
            restoration.restore_events(months=[MARCH])
        assert stored() == []
        assert archives.dropped_months() == {MARCH}

    def test_stays_gone_where_a_file_is_missing(self, folder: Path) -> None:
        next(path for path in files(folder) if path.suffix == ".parquet").unlink()
        with pytest.raises(errors.ArchiveUnreachable):
            restoration.restore_events(months=[MARCH])
        assert stored() == []

    def test_does_not_come_back_in_part(self) -> None:
        models.ArchivedFile.objects.filter(day=THEN.date()).update(month=date(2024, 1, 1))  # as if it was never there
        with pytest.raises(IntegrityError) as raised, transaction.atomic():
            restoration.restore_events(months=[MARCH])
        assert database.raised_constraint(raised.value) == "metering_month_is_restored_whole"
        assert stored() == []


class TestRestoreEvents:
    def test_knows_only_months_that_were_archived(self) -> None:
        with pytest.raises(errors.MonthNotArchived):
            restoration.restore_events(months=[MARCH])


class TestDatabase:
    """What it refuses, whoever asks."""

    def test_does_not_seal_a_month_that_is_not_over(self) -> None:
        month = date.today().replace(day=1)  # noqa: DTZ011
        assert refused("metering_seal_month", month) == "metering_month_is_over_before_it_is_sealed"

    def test_does_not_drop_a_month_that_is_not_sealed(self) -> None:
        fill()
        assert refused("metering_drop_month", MARCH) == "metering_month_is_dropped_after_its_archive_is_verified"

    def test_does_not_drop_a_month_that_is_not_verified(self) -> None:
        fill()
        call("metering_seal_month", MARCH)
        assert refused("metering_drop_month", MARCH) == "metering_month_is_dropped_after_its_archive_is_verified"
        assert len(stored()) == 40

    @pytest.mark.parametrize("change", ["event_count = event_count - 1", "quantity = quantity + 1", "digest = 0"])
    def test_does_not_verify_an_archive_that_differs(self, change: str) -> None:
        fill()
        archives.archive_events(now=LATER, drops=())
        restoration.restore_events(months=[MARCH])
        call("metering_seal_month", MARCH)
        archives._write_days(MARCH, LATER, lambda _: None)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE metering_archived_file SET {change} WHERE day = %s", [THEN.date()])
        assert refused("metering_verify_month", MARCH, "", "") == "metering_archive_holds_what_its_month_holds"

    def test_computes_the_same_digest_as_the_archive(self, owner_cursor: psycopg.Cursor) -> None:
        fill()
        archives.archive_events(now=LATER, drops=())
        month = models.ArchivedMonth.objects.get()
        figures = layout.Figures()
        for file in models.ArchivedFile.objects.all():
            read = export.read_figures(path=file.path, sha256=file.sha256)
            figures.event_count += read.event_count
            figures.quantity += read.quantity
            figures.digest += read.digest
        assert month.event_count == figures.event_count == 40
        assert month.quantity == figures.quantity
        assert month.digest == figures.digest != 0

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO metering_archived_month (month, sealed_at) VALUES ('2025-01-01', now())",
            "UPDATE metering_archived_month SET verified_at = now()",
            "DELETE FROM metering_archived_month",
            "DELETE FROM metering_archived_file",
            "SELECT metering_create_month_table('x')",
            "SELECT metering_attach_month('metering_event', 1, 2)",
            "SELECT metering_event_figures('metering_event_default')",
            "DELETE FROM metering_event_key",
        ],
    )
    def test_lets_the_service_take_no_short_cut(self, statement: str) -> None:
        with connection.cursor() as cursor, pytest.raises(DatabaseError, match="permission denied"):
            cursor.execute(statement)


GUARDS = [("metering_event_is_append_only", "A"), ("metering_event_is_never_emptied", "A")]


def guards(table: str) -> list[tuple[str, str]]:
    """The triggers of a partition."""
    return _of(table, "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass ORDER BY tgname")


def upkeep(table: str) -> list[tuple[str]]:
    """The settings of a partition."""
    return _of(table, "SELECT unnest(reloptions) AS option FROM pg_class WHERE oid = %s::regclass ORDER BY option")


def checks(table: str) -> list[tuple[str]]:
    """The constraints of a partition, with those of the parent."""
    return _of(table, "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c' ORDER BY 1")


def _of(table: str, query: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, [table])
        return list(cursor.fetchall())
