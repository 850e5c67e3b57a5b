"""Months of the event store."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from billing_site.kernel import database
from metering import hours, partitions
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db
NOW = datetime(2031, 3, 15, tzinfo=UTC)  # a present that no other test has made months for


def months() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'metering_event'::regclass")
        return {name.removeprefix("metering_event_") for (name,) in cursor.fetchall()}


def make(month: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_make_partition(%s)", [month])
        return str(cursor.fetchone()[0])


def list_events() -> list[tuple[object, ...]]:
    """Every event, with every column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM metering_event ORDER BY key_hash")
        return list(cursor.fetchall())


def upkeep(table: str) -> set[str]:
    """The settings that a table was made with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(reloptions) FROM pg_class WHERE oid = %s::regclass", [table])
        return {option for (option,) in cursor.fetchall()}


def write_past_our_own_code(moment: datetime = NOW) -> None:
    """Store an event of a month that nobody made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_event (key_hash, event_timestamp, quantity, batch_id, created_at, event_hour,"
            " series_id, void, idempotency_key, source, properties)"
            " VALUES (gen_random_uuid(), %s, 1, 1, %s, %s, 1, false, 'k', 'api', '{}')",
            [moment, moment, hours.hour_of(moment)],
        )


class TestMaintainPartitions:
    def test_makes_from_the_retention_behind_to_two_months_ahead(self) -> None:
        report = partitions.maintain_partitions(now=NOW)
        assert report.made == ["2030-12", "2031-01", "2031-02", "2031-03", "2031-04", "2031-05"]
        assert months() >= {"2030_12", "2031_05"}
        assert not report.needs_person

    def test_finds_nothing_to_do_again(self) -> None:
        partitions.maintain_partitions(now=NOW)
        assert partitions.maintain_partitions(now=NOW).made == []

    def test_reports_events_without_a_month_and_the_month_they_block(self) -> None:
        write_past_our_own_code()
        report = partitions.maintain_partitions(now=NOW)
        assert report.needs_person
        assert report.default_rows == 1
        assert report.blocked == ["2031-03"]
        assert "2031-04" in report.made


class TestEnsure:
    def test_takes_events_in_even_where_the_month_is_blocked(self) -> None:
        write_past_our_own_code()
        report = factories.ingest(factories.EventInFactory.build(event_timestamp=NOW), now=NOW)
        assert report.accepted == 1
        assert partitions.count_default_rows() == 2


class TestDrainDefaultPartition:
    def test_moves_each_month_to_a_partition_of_its_own(self) -> None:
        moments = [NOW, NOW + timedelta(days=1), NOW + timedelta(days=40), datetime(2031, 3, 31, 23, 59, tzinfo=UTC)]
        for moment in moments:
            write_past_our_own_code(moment)
        before = list_events()
        report = partitions.drain_default_partition()
        assert (report.moved, report.busy) == ({"2031-03": 3, "2031-04": 1}, [])
        assert (report.default_rows, report.needs_person) == (0, False)
        assert list_events() == before
        assert months() >= {"2031_03", "2031_04"}

    def test_finds_nothing_to_do_again(self) -> None:
        write_past_our_own_code()
        partitions.drain_default_partition()
        assert partitions.drain_default_partition().moved == {}
        assert partitions.maintain_partitions(now=NOW).blocked == []

    def test_leaves_every_guard_where_it_was(self) -> None:
        write_past_our_own_code()
        assert make("2031-02-01") == "created"
        partitions.drain_default_partition()
        for table in ("metering_event_default", "metering_event_2031_03"):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass ORDER BY tgname", [table]
                )
                assert cursor.fetchall() == [
                    ("metering_event_is_append_only", "A"),
                    ("metering_event_is_never_emptied", "A"),
                ]
        assert upkeep("metering_event_2031_03") == upkeep("metering_event_2031_02") == upkeep("metering_event_default")

    def test_needs_a_person_where_a_month_can_have_no_partition(self) -> None:
        write_past_our_own_code(datetime(2199, 12, 31, tzinfo=UTC))
        write_past_our_own_code(datetime(2200, 1, 1, tzinfo=UTC))
        report = partitions.drain_default_partition()
        assert report.moved == {"2199-12": 1}
        assert (report.default_rows, report.needs_person) == (1, True)


class TestUpkeep:
    def test_is_livelier_than_usual_for_what_grows(self) -> None:
        lively = {
            "autovacuum_vacuum_scale_factor=0.01",
            "autovacuum_analyze_scale_factor=0.005",
            "autovacuum_vacuum_insert_scale_factor=0.01",
            "autovacuum_vacuum_cost_delay=2",
        }
        partitions.maintain_partitions(now=NOW)
        for table in (*(f"metering_event_{month}" for month in months()), "metering_event_key"):
            assert upkeep(table) == lively, table


class TestMigrate:
    def test_made_the_months_to_come(self) -> None:
        month = hours.month_of(hours.hour_of(timezone.now()))
        made = partitions.list_months()
        assert {month, hours.month_after(month), hours.month_after(month, 2)} <= set(made)


class TestMakePartition:
    def test_covers_the_month_to_the_hour(self) -> None:
        assert make("2031-02-17") == "created"
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'metering_event_2031_02'::regclass",
            )
            (bounds,) = cursor.fetchone()
        first = hours.hour_of(datetime(2031, 2, 1, tzinfo=UTC))
        end = hours.hour_of(datetime(2031, 3, 1, tzinfo=UTC))
        assert bounds == f"FOR VALUES FROM ({first}) TO ({end})"

    def test_is_not_moved_by_the_sessions_time_zone(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        assert make("2031-02-01") == "created"
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('metering_event_2031_02') IS NOT NULL")
            assert cursor.fetchone() == (True,)
            cursor.execute(
                "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'metering_event_2031_02'::regclass",
            )
            assert str(hours.hour_of(datetime(2031, 2, 1, tzinfo=UTC))) in cursor.fetchone()[0]

    def test_makes_a_month_once(self) -> None:
        assert make("2031-02-01") == "created"
        assert make("2031-02-28") == "exists"

    @pytest.mark.parametrize("month", ["1999-12-31", "2200-01-01", None])
    def test_refuses_months_that_no_event_can_have(self, month: str) -> None:
        with pytest.raises(IntegrityError) as raised:
            make(month)
        assert database.raised_constraint(raised.value) == "metering_partition_month_is_in_bounds"

    def test_gives_each_partition_its_settings_its_index_and_its_triggers(self) -> None:
        make("2031-02-01")
        with connection.cursor() as cursor:
            cursor.execute("SELECT reloptions FROM pg_class WHERE relname = 'metering_event_2031_02'")
            assert set(cursor.fetchone()[0]) == {
                "autovacuum_vacuum_scale_factor=0.01",
                "autovacuum_analyze_scale_factor=0.005",
                "autovacuum_vacuum_insert_scale_factor=0.01",
                "autovacuum_vacuum_cost_delay=2",
            }
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'metering_event_2031_02'")
            ((index,),) = cursor.fetchall()
            assert "(event_hour, series_id) INCLUDE (quantity)" in index
            cursor.execute(
                "SELECT tgname, tgenabled FROM pg_trigger"
                " WHERE tgrelid = 'metering_event_2031_02'::regclass ORDER BY tgname",
            )
            assert cursor.fetchall() == [
                ("metering_event_is_append_only", "A"),
                ("metering_event_is_never_emptied", "A"),
            ]

    def test_leaves_no_other_way_for_the_service_to_make_a_table(self) -> None:
        with connection.cursor() as cursor, pytest.raises(Exception, match="permission denied"):
            cursor.execute("CREATE TABLE metering_event_2031_07 PARTITION OF metering_event FOR VALUES FROM (1) TO (2)")
