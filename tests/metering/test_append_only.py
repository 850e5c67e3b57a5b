"""What was metered stays as it came: the database's own rules, attacked with raw SQL by those who could."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import DatabaseError, connection
from psycopg import errors as pg_errors

from metering import models
from tests.factories import metering as factories

TABLES = {
    "metering_series": "event_type = 'x'",
    "metering_event_key": "payload_hash = 0",
    "metering_event": "quantity = 0",
    "metering_event_2026_11": "quantity = 0",
}


@pytest.fixture
def attacker(committed_db: str, superuser_cursor: psycopg.Cursor) -> Iterator[psycopg.Cursor]:
    """A superuser in a database with events, all of which must be there afterwards."""
    factories.ingest_many(5, quantity=3)
    yield superuser_cursor
    superuser_cursor.execute("RESET session_replication_role")
    superuser_cursor.execute("SELECT count(*), sum(quantity) FROM metering_event")
    assert superuser_cursor.fetchone() == (5, 15)
    superuser_cursor.execute("SELECT (SELECT count(*) FROM metering_event_key), (SELECT count(*) FROM metering_series)")
    assert superuser_cursor.fetchone() == (5, 1)


def refused(cursor: psycopg.Cursor, statement: str) -> str | None:
    """The constraint under which the statement was refused."""
    with pytest.raises(pg_errors.CheckViolation) as raised:
        cursor.execute(statement)
    return raised.value.diag.constraint_name


@pytest.mark.parametrize("role", ["origin", "replica"])
class TestTriggers:
    def test_refuse_updates(self, attacker: psycopg.Cursor, role: str) -> None:
        attacker.execute(f"SET session_replication_role = {role}")
        for table, change in TABLES.items():
            assert (refused(attacker, f"UPDATE {table} SET {change}") or "").endswith("_is_append_only")

    def test_refuse_deletes(self, attacker: psycopg.Cursor, role: str) -> None:
        attacker.execute(f"SET session_replication_role = {role}")
        for table in TABLES:
            assert (refused(attacker, f"DELETE FROM {table}") or "").endswith("_is_append_only")

    def test_refuse_emptying(self, attacker: psycopg.Cursor, role: str) -> None:
        attacker.execute(f"SET session_replication_role = {role}")
        for table in TABLES:
            assert (refused(attacker, f"TRUNCATE {table}") or "").endswith("_is_append_only")
            assert (refused(attacker, f"TRUNCATE {table} CASCADE") or "").endswith("_is_append_only")

    def test_refuse_moving_an_event_to_another_month(self, attacker: psycopg.Cursor, role: str) -> None:
        attacker.execute(f"SET session_replication_role = {role}")
        change = "event_hour = event_hour + 1000, event_timestamp = event_timestamp + interval '1000 hours'"
        assert refused(attacker, f"UPDATE metering_event SET {change}") == "metering_event_is_append_only"

    def test_refuse_changing_what_a_batch_touched(self, attacker: psycopg.Cursor, role: str) -> None:
        attacker.execute(f"SET session_replication_role = {role}")
        statement = "UPDATE metering_touched_window SET started_at = now()"
        assert refused(attacker, statement) == "metering_touched_window_is_never_changed"


class TestConstraints:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ("event_hour - 1", "metering_event_hour_is_that_of_its_timestamp"),
            ("event_hour + 1", "metering_event_hour_is_that_of_its_timestamp"),
        ],
    )
    def test_hold_an_event_to_its_hour(self, attacker: psycopg.Cursor, change: str, constraint: str) -> None:
        assert refused(attacker, insert(event_hour=change)) == constraint

    @pytest.mark.parametrize("quantity", ["-1", "1000000000000001"])
    def test_hold_quantities_to_their_bounds(self, attacker: psycopg.Cursor, quantity: str) -> None:
        assert refused(attacker, insert(quantity=quantity)) == "metering_event_quantity_is_in_bounds"

    def test_let_an_event_be_void_only_where_it_corrects(self, attacker: psycopg.Cursor) -> None:
        assert refused(attacker, insert(void="true")) == "metering_event_void_corrects_an_event"

    def test_store_a_key_once(self, attacker: psycopg.Cursor) -> None:
        with pytest.raises(pg_errors.UniqueViolation):
            attacker.execute("INSERT INTO metering_event_key SELECT * FROM metering_event_key")

    def test_pair_each_touched_series_with_an_hour(self, attacker: psycopg.Cursor) -> None:
        for arrays in ("'{1,2}', '{1}'", "'{}', '{}'"):
            statement = (
                "INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours)"
                f" VALUES (1, 0, now(), {arrays})"
            )
            assert refused(attacker, statement) == "metering_touched_window_pairs_series_and_hours"


@pytest.mark.django_db
class TestServiceRole:
    @pytest.mark.parametrize(
        "statement",
        [
            *(f"UPDATE {table} SET {change}" for table, change in TABLES.items()),
            *(f"DELETE FROM {table}" for table in TABLES),
            *(f"TRUNCATE {table}" for table in TABLES),
            "DELETE FROM metering_dead_letter",
            "DELETE FROM metering_usage_summary",
            "UPDATE metering_touched_window SET started_at = now()",
            "SELECT * FROM metering_event_2026_11",
            "INSERT INTO metering_event_default SELECT * FROM metering_event",
            "SELECT nextval('metering_batch_id_seq')",
            "SELECT setval('metering_batch_id_seq', 1)",
            "SELECT metering_guard_partition('metering_event_default')",
            "ALTER TABLE metering_event DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
        ],
    )
    def test_may_not(self, statement: str) -> None:
        factories.ingest_many(1)
        with connection.cursor() as cursor, pytest.raises(DatabaseError, match=r"permission denied|must be owner"):
            cursor.execute(statement)

    def test_reads_and_appends_through_the_parent(self) -> None:
        factories.ingest_many(2)
        assert models.Event.objects.count() == 2


def insert(**changes: str) -> str:
    """A copy of a stored event with some columns changed."""
    columns = [
        "key_hash",
        "event_timestamp",
        "quantity",
        "batch_id",
        "created_at",
        "event_hour",
        "series_id",
        "void",
        "idempotency_key",
        "source",
        "properties",
    ]
    values = ", ".join(changes.get(column, column) for column in columns)
    return f"INSERT INTO metering_event ({', '.join(columns)}) SELECT {values} FROM metering_event LIMIT 1"
