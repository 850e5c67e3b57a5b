"""Nothing posted changes or goes, whoever asks."""

import psycopg
import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from tests.factories import ledger as factories

TABLES = (
    "ledger_book",
    "ledger_account_type",
    "ledger_account",
    "ledger_transaction",
    "ledger_entry",
    "ledger_period",
    "ledger_period_balance",
)
CHANGES = {
    "ledger_book": "UPDATE ledger_book SET name = 'x'",
    "ledger_account_type": "UPDATE ledger_account_type SET floor_cents = NULL",
    "ledger_account": "UPDATE ledger_account SET currency = 'EUR'",
    "ledger_transaction": "UPDATE ledger_transaction SET description = 'x'",
    "ledger_entry": "UPDATE ledger_entry SET amount_cents = 1",
}
ATTACKS = [
    *CHANGES.values(),
    *(f"DELETE FROM {table}" for table in TABLES),
    *(f"TRUNCATE {table} CASCADE" for table in TABLES),
    "DELETE FROM ledger_balance",
    "TRUNCATE ledger_balance",
    "UPDATE ledger_balance SET floor_cents = -1000",
    "UPDATE ledger_balance SET account_id = account_id + 1",
    "INSERT INTO ledger_book (code, name) VALUES ('main', 'x') ON CONFLICT (code) DO UPDATE SET name = 'x'",
    "UPDATE ledger_entry SET amount_cents = 1 WHERE false",
    "UPDATE ledger_period_balance SET balance_cents = 0",
]


def refused(cursor: psycopg.Cursor, attack: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught, cursor.connection.transaction():
        cursor.execute(attack)
    assert caught.value.diag.constraint_name == "ledger_history_is_append_only"


@pytest.mark.parametrize("attack", ATTACKS)
class TestHistory:
    def test_refuses_its_owner(self, owner_cursor: psycopg.Cursor, attack: str) -> None:
        refused(owner_cursor, attack)

    def test_refuses_a_superuser_who_says_to_be_a_replica(self, superuser_cursor: psycopg.Cursor, attack: str) -> None:
        superuser_cursor.execute("SET session_replication_role = replica")
        refused(superuser_cursor, attack)


@pytest.mark.django_db
class TestService:
    @pytest.fixture(autouse=True)
    def _posted(self) -> None:
        factories.TransactionFactory()

    @pytest.mark.parametrize(
        "attack",
        [
            *ATTACKS,
            "UPDATE ledger_balance SET balance_cents = balance_cents + 1",
            "INSERT INTO ledger_book (code, name) VALUES ('other', 'Other')",
            "INSERT INTO ledger_entry SELECT * FROM ledger_entry",
            "ALTER TABLE ledger_entry DISABLE TRIGGER ALL",
            "DROP TRIGGER ledger_entries_balance ON ledger_entry",
            "SET session_replication_role = replica",
            "SELECT setval('ledger_entry_id_seq', 1)",
            "SELECT * FROM ledger_entry FOR UPDATE",
            "SET ROLE billing_owner",
        ],
    )
    def test_may_not_even_try(self, attack: str) -> None:
        with pytest.raises(ProgrammingError) as caught, connection.cursor() as cursor:
            cursor.execute(attack)
        assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege)
