"""Seals in tests, where writers in other tests' databases of the same cluster hold sealing up for a while."""

from django.db import connection

from ledger import sealing
from tests.support import waiting


def wait() -> None:
    """Until everything that is posted is settled."""

    def is_settled() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT NOT EXISTS (SELECT FROM ledger_transaction WHERE written_xid >= pg_snapshot_xmin(s)"
                " AND system_identifier = (pg_control_system()).system_identifier) FROM pg_current_snapshot() AS s",
            )
            return bool(cursor.fetchone()[0])

    waiting.until(is_settled, seconds=60, what="the writers of other tests to end")


def seal() -> None:
    """Seal everything that is posted, once it is settled."""
    wait()
    sealing.seal_transactions()
