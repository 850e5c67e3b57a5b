"""The schema of the ledger can be taken back, a step or whole, and made again."""

import pytest
from django.core.management import call_command
from django.db import connections

from tests.factories import ledger as factories


def rules() -> set[str]:
    """The triggers and functions of the ledger."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'ledger\\_%%'"
            " UNION SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'ledger\\_%%'",
            [],
        )
        return {name for (name,) in cursor.fetchall()}


class TestMigrations:
    @pytest.mark.parametrize("step", ["0002", "zero"])
    def test_are_reversible(self, committed_db: str, step: str) -> None:
        before = rules()
        call_command("migrate", "ledger", step, database="owner", verbosity=0)
        without = rules()
        call_command("migrate", database="owner", verbosity=0)
        assert without < before
        assert rules() == before
        assert bool(without) == (step != "zero")
        factories.TransactionFactory()

    def test_let_post_before_there_are_periods(self, committed_db: str) -> None:
        call_command("migrate", "ledger", "0002", database="owner", verbosity=0)
        posted = factories.TransactionFactory()
        assert posted.effective_at == posted.occurred_at
