"""Functions that run as the schema's owner, attacked by the service's role."""

import psycopg
from django.db import connection


class TestLifeOfAMonth:
    def test_runs_no_code_of_its_callers(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        superuser_cursor.execute(f'GRANT TEMPORARY ON DATABASE "{committed_db}" TO PUBLIC')
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE who_ran (role text)")
            cursor.execute("GRANT INSERT ON who_ran TO PUBLIC")
            for name in ("name", "date", "regclass", "int4", "int8"):
                cursor.execute(
                    f"CREATE FUNCTION pg_temp.runs_mine(pg_catalog.{name}) RETURNS boolean LANGUAGE plpgsql AS"
                    " 'BEGIN INSERT INTO pg_temp.who_ran VALUES (current_user); RETURN true; END'",
                )
                cursor.execute(f"CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK (pg_temp.runs_mine(VALUE))")
            cursor.execute("CREATE FUNCTION pg_temp.hashtext(text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
            cursor.execute("SELECT metering_make_partition('2024-05-01')")
            assert cursor.fetchone() == ("created",)
            cursor.execute("SELECT metering_drain_month('2024-06-01')")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT metering_seal_month('2024-05-01')")
            cursor.execute("SELECT metering_verify_month('2024-05-01', '', '')")
            cursor.execute("SELECT metering_drop_month('2024-05-01')")
            assert cursor.fetchone() == ("dropped",)
            cursor.execute("BEGIN")
            cursor.execute("SELECT metering_begin_restore('2024-05-01')")
            cursor.execute("SELECT metering_finish_restore('2024-05-01')")
            cursor.execute("COMMIT")
            cursor.execute("SELECT metering_seal_month('2024-05-01'), metering_unseal_month('2024-05-01')")
            cursor.execute("SELECT metering_expire_keys('{}')")
            cursor.execute("SELECT role FROM who_ran")
            assert cursor.fetchall() == []


class TestMakePartition:
    def test_runs_no_code_of_its_callers(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        # As a database is where nobody took this from PUBLIC.
        superuser_cursor.execute(f'GRANT TEMPORARY ON DATABASE "{committed_db}" TO PUBLIC')
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE who_ran (role text)")
            cursor.execute("GRANT INSERT ON who_ran TO PUBLIC")
            cursor.execute(
                "CREATE FUNCTION pg_temp.runs_mine(pg_catalog.name) RETURNS boolean LANGUAGE plpgsql AS"
                " 'BEGIN INSERT INTO pg_temp.who_ran VALUES (current_user); RETURN true; END'",
            )
            cursor.execute("CREATE DOMAIN pg_temp.name AS pg_catalog.name CHECK (pg_temp.runs_mine(VALUE))")
            cursor.execute("SELECT metering_make_partition('2030-05-01')")
            assert cursor.fetchone() == ("created",)
            cursor.execute("SELECT role FROM who_ran")
            assert cursor.fetchall() == []
