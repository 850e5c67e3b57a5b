"""The tables of thresholds and anomalies can be taken back and made again, with their rules."""

from django.core.management import call_command
from django.db import connections

TABLES = {"metering_usage_threshold", "metering_threshold_firing", "metering_usage_anomaly"}
RULES = {
    "metering_usage_threshold_is_never_edited",
    "metering_threshold_firing_is_append_only",
    "metering_usage_anomaly_is_never_edited",
}


def there() -> set[str]:
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT tgname::text FROM pg_trigger WHERE tgname = ANY(%s) UNION SELECT relname FROM pg_class"
            " WHERE relname = ANY(%s)",
            [list(RULES), list(TABLES)],
        )
        return {name for (name,) in cursor.fetchall()}


class TestMigrations:
    def test_are_reversible(self, committed_db: str) -> None:
        assert there() == TABLES | RULES
        call_command("migrate", "metering", "0006", database="owner", verbosity=0)
        assert there() == set()
        call_command("migrate", database="owner", verbosity=0)
        assert there() == TABLES | RULES
