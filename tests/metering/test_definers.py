"""Functions that run as the schema's owner, attacked by the service's role."""

import psycopg
from django.db import connection


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
