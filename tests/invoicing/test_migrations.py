"""The schema of invoicing can be taken back and made again."""

from django.core.management import call_command
from django.db import connections


def _triggers() -> set[str]:
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'invoicing_%'")
        return {name for (name,) in cursor.fetchall()}


class TestInitialMigration:
    def test_is_reversible(self, committed_db: str) -> None:
        before = _triggers()

        call_command("migrate", "invoicing", "zero", database="owner", verbosity=0)
        without = _triggers()
        call_command("migrate", database="owner", verbosity=0)

        assert len(before) > 10
        assert (without, _triggers()) == (set(), before)
