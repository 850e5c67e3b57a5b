"""The schema of metering can be taken back, a step or whole, and made again."""

import pytest
from django.core.management import call_command
from django.db import connections

from tests.factories import metering as factories


def rules() -> set[str]:
    """The triggers and functions of metering, with what they say."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT concat_ws(' ', tgrelid::regclass, pg_get_triggerdef(oid), tgenabled) FROM pg_trigger"
            " WHERE NOT tgisinternal AND tgname LIKE 'metering\\_%%' AND tgparentid = 0"
            " UNION SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'metering\\_%%'",
            [],
        )
        return {name for (name,) in cursor.fetchall()}


class TestMigrations:
    @pytest.mark.parametrize("step", ["0004", "0003", "0001", "zero"])
    def test_are_reversible(self, committed_db: str, step: str) -> None:
        before = rules()
        call_command("migrate", "metering", step, database="owner", verbosity=0)
        without = rules()
        call_command("migrate", database="owner", verbosity=0)
        assert rules() == before
        assert bool(without) == (step != "zero")
        factories.ingest_many(3)
