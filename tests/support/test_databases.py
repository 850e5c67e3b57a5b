"""The promises that tests rely on: who they are in the database, and what is undone after them."""

import os

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections

from billing_site.embedded import postgres
from tests.support import threads


def who() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


@pytest.mark.django_db
class TestRolledBack:
    @pytest.mark.parametrize("turn", [1, 2])
    def test_undoes_what_a_test_wrote(self, turn: int) -> None:
        assert not Group.objects.exists()
        Group.objects.create(name="finance")

    def test_connects_as_the_service(self) -> None:
        assert who() == postgres.SERVICE_ROLE

    def test_lets_raw_sql_be_run_as_owner(self, owner_cursor: psycopg.Cursor) -> None:
        owner_cursor.execute("CREATE TABLE scratch (id int)")
        assert who() == postgres.SERVICE_ROLE


class TestCommittedDb:
    @pytest.mark.parametrize("turn", [1, 2])
    def test_commits_into_a_database_of_its_own(self, committed_db: str, turn: int) -> None:
        assert not Group.objects.exists()
        Group.objects.create(name="finance")
        with psycopg.connect(os.environ["DATABASE_URL"]) as other:
            assert other.execute("SELECT count(*) FROM auth_group").fetchone() == (1,)
            assert other.info.dbname == committed_db

    def test_opens_both_aliases(self, committed_db: str) -> None:
        assert who() == postgres.SERVICE_ROLE
        with connections["owner"].cursor() as cursor:
            cursor.execute("SELECT current_user, current_database()")
            assert cursor.fetchone() == (postgres.OWNER_ROLE, committed_db)

    def test_shares_its_database_with_raw_cursors(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> None:
        superuser_cursor.execute("INSERT INTO auth_group (name) VALUES ('finance')")
        assert Group.objects.get().name == "finance"

    def test_lets_threads_race_on_connections_of_their_own(self, committed_db: str) -> None:
        def backend() -> int:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid(), pg_sleep(0.05)")
                return int(cursor.fetchone()[0])

        assert len(set(threads.run_together([backend] * 8))) == 8

    def test_hands_back_what_a_thread_raised(self, committed_db: str) -> None:
        def fail() -> None:
            raise LookupError("on purpose")

        (outcome,) = threads.run_together([fail])
        assert isinstance(outcome, LookupError)
