"""How long idempotency keys are kept."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import LazySettings
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing_site.kernel import clock, database
from metering import archives, errors, models, restoration, retention
from tests.factories import metering as factories
from tests.metering.months import event, fill

pytestmark = pytest.mark.django_db

OLD = datetime(2024, 3, 20, 12, 30, tzinfo=UTC)  # more than 13 months before any clock that runs this
MONTH = date(2024, 3, 1)


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    """The archive."""
    settings.ARCHIVE_URL = (tmp_path / "archive").as_uri()
    return tmp_path / "archive"


def keys() -> int:
    return models.EventKey.objects.count()


def expire_at_once() -> None:
    """Ask the database itself to forget every key there is."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT metering_expire_keys(ARRAY(SELECT key_hash FROM metering_event_key))")


class TestExpireKeys:
    def test_forgets_the_keys_of_dropped_months_after_13_months(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now())
        report = retention.expire_keys(now=clock.now())
        assert (report.days, report.keys, report.days_left) == (5, 40, 0)
        assert keys() == 0
        assert retention.expire_keys(now=clock.now()).days == 0

    def test_keeps_them_until_13_months_after_the_last_arrival(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=OLD + timedelta(days=200))
        assert retention.expire_keys(now=datetime(2025, 4, 20, 12, 30, tzinfo=UTC)).keys == 0
        assert keys() == 40
        assert retention.expire_keys(now=datetime(2025, 4, 20, 12, 31, tzinfo=UTC)).keys == 40

    def test_keeps_the_keys_of_events_that_are_still_there(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now(), drops=())
        assert retention.expire_keys(now=clock.now()).keys == 0
        archives.archive_events(now=clock.now())
        restoration.restore_events(months=[MONTH])
        assert retention.expire_keys(now=clock.now()).keys == 0
        assert keys() == 40

    def test_keeps_a_day_that_a_late_arrival_was_added_to(self) -> None:
        fill(then=OLD)
        lately = clock.now() - timedelta(days=100)
        late = event(event_timestamp=OLD, idempotency_key="late")
        assert factories.ingest(late, now=lately, allow_backfill=True).accepted == 1
        models.TouchedWindow.objects.all().delete()
        assert archives.archive_events(now=clock.now()).dropped == ["2024-03"]
        report = retention.expire_keys(now=clock.now())
        assert report.days == 4
        assert models.ArchivedFile.objects.get(keys_expired_at=None).day == OLD.date()

    def test_forgets_by_no_clock_that_is_ahead_of_the_databases(self) -> None:
        recent = clock.now() - timedelta(days=200)
        fill(then=recent)
        archives.archive_events(now=clock.now())
        assert models.ArchivedMonth.objects.exclude(dropped_at=None).exists()
        assert retention.expire_keys(now=clock.now() + timedelta(days=1000)).keys == 0
        assert keys() == 40

    def test_does_so_in_slices_that_are_done_when_it_is_cut_short(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now())
        report = retention.expire_keys(now=clock.now(), max_days=2)
        assert (report.days, report.days_left) == (2, 3)
        assert keys() == 40 - report.keys
        told: list[tuple[int, int]] = []
        retention.expire_keys(now=clock.now(), on_day=lambda done, total: told.append((done, total)))
        assert told == [(1, 3), (2, 3), (3, 3)]
        assert keys() == 0

    def test_keeps_them_where_the_archive_cannot_tell_which(self, folder: Path) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now())
        for path in folder.rglob("*.parquet"):
            path.unlink()
        with pytest.raises(errors.ArchiveUnreachable):
            retention.expire_keys(now=clock.now())
        assert keys() == 40

    def test_finds_each_key_by_its_index(self) -> None:
        fill(then=OLD)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # of a table this small, any plan would do
            cursor.execute(
                "EXPLAIN SELECT key_hash FROM metering_event_key WHERE key_hash = ANY(%s::uuid[]) ORDER BY key_hash",
                [f"{{{','.join(str(key) for key in models.EventKey.objects.values_list('pk', flat=True)[:5])}}}"],
            )
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "metering_event_key_pkey" in plan


class TestDatabase:
    """The rule that guards a key, whoever deletes."""

    def refused(self) -> str | None:
        with pytest.raises(IntegrityError) as raised:
            expire_at_once()
        return database.raised_constraint(raised.value)

    def test_refuses_a_key_whose_event_is_there(self) -> None:
        fill(then=OLD)
        assert self.refused() == "metering_event_key_is_append_only"

    def test_refuses_a_key_whose_month_was_archived_only(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now(), drops=())
        assert self.refused() == "metering_event_key_is_append_only"

    def test_refuses_a_young_key_of_a_dropped_month(self) -> None:
        fill(then=clock.now() - timedelta(days=200))
        archives.archive_events(now=clock.now())
        assert self.refused() == "metering_event_key_is_append_only"

    def test_refuses_all_where_it_refuses_one(self) -> None:
        fill(then=OLD)
        archives.archive_events(now=clock.now())
        factories.ingest_many(1)
        assert self.refused() == "metering_event_key_is_append_only"
        assert keys() == 41

    def test_lets_the_service_delete_by_that_function_alone(self) -> None:
        with connection.cursor() as cursor, pytest.raises(DatabaseError, match="permission denied"):
            cursor.execute("DELETE FROM metering_event_key")

    def test_holds_also_for_replication(self, superuser_cursor: psycopg.Cursor) -> None:
        superuser_cursor.execute(
            "SELECT tgname FROM pg_trigger"
            " WHERE tgrelid = 'metering_event_key'::regclass AND tgenabled = 'A' ORDER BY tgname",
        )
        assert [name for (name,) in superuser_cursor.fetchall()] == [
            "metering_event_key_is_append_only",
            "metering_event_key_is_never_emptied",
            "metering_event_key_outlives_its_event",
        ]
