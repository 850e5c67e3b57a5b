"""Sweeps go on over one tenant's failure, and end where nobody can be served."""

from collections.abc import Callable

import psycopg
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError, OperationalError, connection

from billing_site.kernel import errors
from invoicing import sweeps


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.django_db
class TestAttempt:
    def test_answers_what_the_work_does(self) -> None:
        failures: list[sweeps.Failure] = []

        assert sweeps.attempt("row", lambda: 42, failures) == 42
        assert failures == []

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.Conflict("somebody was first"), "conflict"),
            (IntegrityError("twice"), "database_error"),
            (ZeroDivisionError("a fault of ours"), "internal_error"),
        ],
    )
    def test_notes_a_failure_and_goes_on(self, error: Exception, code: str) -> None:
        failures: list[sweeps.Failure] = []

        assert sweeps.attempt("row", lambda: _raise(error), failures) is None
        assert [(failure.id, failure.code) for failure in failures] == [("row", code)]

    def test_ends_when_the_time_is_up(self) -> None:
        with pytest.raises(SoftTimeLimitExceeded):
            sweeps.attempt("row", lambda: _raise(SoftTimeLimitExceeded()), [])


class TestAttemptWhenTheConnectionIsLost:
    @pytest.fixture
    def lose_the_connection(self, committed_db: str, superuser_cursor: psycopg.Cursor) -> Callable[[], None]:
        def lose() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                superuser_cursor.execute("SELECT pg_terminate_backend(%s, 5000)", cursor.fetchone())
                cursor.execute("SELECT 1")

        return lose

    def test_goes_on_over_a_new_one(self, lose_the_connection: Callable[[], None]) -> None:
        failures: list[sweeps.Failure] = []

        assert sweeps.attempt("row", lose_the_connection, failures) is None
        assert [failure.code for failure in failures] == ["database_error"]
        assert sweeps.attempt("next row", lambda: 42, failures) == 42

    def test_ends_when_there_is_no_other(
        self, lose_the_connection: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures: list[sweeps.Failure] = []
        connection.ensure_connection()
        monkeypatch.setitem(connection.settings_dict, "PORT", "9")

        with pytest.raises(OperationalError):
            sweeps.attempt("row", lose_the_connection, failures)

        assert failures == []
