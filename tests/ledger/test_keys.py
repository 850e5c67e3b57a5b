"""
The keys and checks that stand behind another rule: attacked with that rule switched off.

A trigger or a function refuses these rows first. Here the table's own triggers are off, foreign keys are not.
"""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.ledger import rawsql

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TABLES = (
    "ledger_account",
    "ledger_account_type",
    "ledger_balance",
    "ledger_block",
    "ledger_book",
    "ledger_entry",
    "ledger_period",
    "ledger_period_balance",
    "ledger_transaction",
)


@pytest.fixture
def cursor(superuser_cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[Any]:
    """In a ledger where acme has a transaction."""
    rawsql.honest(superuser_cursor, key="first").write(superuser_cursor)
    for table in TABLES:
        superuser_cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    return superuser_cursor


def refused(cursor: psycopg.Cursor[Any], rule: str, table: str, row: rawsql.Row, *, before: int = 0) -> None:
    """The row is; ``before`` of the same are accepted."""
    columns, values = ", ".join(row), list(row.values())
    statement = f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(values))})"
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for _ in range(before):
        cursor.execute(statement, values)
    with pytest.raises(psycopg.errors.IntegrityError) as caught:
        cursor.execute(statement, values)
    assert (caught.value.diag.constraint_name or "").startswith(rule)


class TestAccount:
    def test_has_a_book(self, cursor: psycopg.Cursor[Any]) -> None:
        row = {
            "book_id": "nowhere",
            "type": "cash",
            "code": "1000",
            "normal_side": "debit",
            "scope": "book",
            "currency": "USD",
            "tenant_id": "",
            "channel": "",
            "shard_count": 1,
        }
        refused(cursor, "ledger_account_book_id", "ledger_account", row)


class TestAccountType:
    LINE: rawsql.Row = {
        "name": "petty_cash",
        "code": "1001",
        "category": "asset",
        "normal_side": "debit",
        "scope": "book",
        "floor_cents": None,
        "shard_count": 1,
    }

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            ({"code": "1000"}, "ledger_account_type_code_key"),
            ({"category": "equity"}, "ledger_category_is_known"),
            ({"normal_side": "left"}, "ledger_normal_side_is_debit_or_credit"),
            ({"scope": "planet"}, "ledger_scope_is_book_tenant_or_channel"),
            ({"floor_cents": 0, "shard_count": 2}, "ledger_floored_account_has_one_shard"),
            ({"shard_count": 65}, "ledger_floored_account_has_one_shard"),
            ({"shard_count": 0}, "ledger_floored_account_has_one_shard"),
        ],
    )
    def test_is_one_that_a_chart_can_have(self, cursor: psycopg.Cursor[Any], change: rawsql.Row, rule: str) -> None:
        refused(cursor, rule, "ledger_account_type", self.LINE | change)


class TestBalance:
    def test_has_an_account(self, cursor: psycopg.Cursor[Any]) -> None:
        row = {"account_id": 10**9, "shard": 0, "balance_cents": 0, "last_seq": 0}
        refused(cursor, "ledger_balance_account_id", "ledger_balance", row)

    def test_is_there_once(self, cursor: psycopg.Cursor[Any]) -> None:
        receivable = rawsql.account(cursor, "accounts_receivable", "acme-corp")
        row = {"account_id": receivable, "shard": 0, "balance_cents": 0, "last_seq": 0}
        refused(cursor, "ledger_balance_one_per_shard", "ledger_balance", row)


class TestBlock:
    def test_has_a_book(self, cursor: psycopg.Cursor[Any]) -> None:
        row = {
            "book_id": "nowhere",
            "number": 1,
            "system_identifier": 1,
            "transaction_count": 1,
            "first_transaction_id": 1,
            "last_transaction_id": 1,
            "last_written_xid": "1",
            "sealed_at": OCTOBER,
            "previous_hash": bytes(32),
            "digests": bytes(32),
            "hash": bytes(32),
        }
        refused(cursor, "ledger_block_book_id", "ledger_block", row)


class TestBook:
    @pytest.mark.parametrize("code", ["", "two words", "ünïcode"])
    def test_has_a_code(self, cursor: psycopg.Cursor[Any], code: str) -> None:
        refused(cursor, "ledger_book_has_a_code", "ledger_book", {"code": code, "name": "x"})


class TestEntry:
    def test_is_numbered_from_one(self, cursor: psycopg.Cursor[Any]) -> None:
        forgery = rawsql.honest(cursor, key="second")
        header = rawsql.insert(cursor, "ledger_transaction", [forgery.header])
        row = forgery.entries[0] | {"transaction_id": header, "account_seq": 0}
        refused(cursor, "ledger_entry_is_numbered_from_one", "ledger_entry", row)


class TestPeriod:
    ROW: rawsql.Row = {
        "book_id": "main",
        "starts_at": OCTOBER,
        "ends_at": NOVEMBER,
        "revision": 1,
        "state": "closed",
        "closed_at": NOVEMBER,
        "closed_by": "key_1",
        "close_reason": "month end",
        "reopened_by": "",
        "reopen_reason": "",
    }
    REOPENED: rawsql.Row = {
        "state": "reopened",
        "reopened_at": NOVEMBER,
        "reopened_by": "key_1",
        "reopen_reason": "a late invoice",
    }

    def test_has_a_book(self, cursor: psycopg.Cursor[Any]) -> None:
        refused(cursor, "ledger_period_book_id", "ledger_period", self.ROW | {"book_id": "nowhere"})

    def test_is_closed_once(self, cursor: psycopg.Cursor[Any]) -> None:
        rawsql.insert(cursor, "ledger_period", [self.ROW])
        refused(cursor, "ledger_period_closed_once", "ledger_period", self.ROW | {"revision": 2})

    def test_has_no_revision_twice(self, cursor: psycopg.Cursor[Any]) -> None:
        refused(cursor, "ledger_period_revised_in_order", "ledger_period", self.ROW | self.REOPENED, before=1)

    def test_holds_an_account_once_in_its_snapshot(self, cursor: psycopg.Cursor[Any]) -> None:
        period = rawsql.insert(cursor, "ledger_period", [self.ROW])
        receivable = rawsql.account(cursor, "accounts_receivable", "acme-corp")
        row = {"period_id": period, "account_id": receivable, "balance_cents": 1}
        refused(cursor, "ledger_snapshot_holds_an_account_once", "ledger_period_balance", row, before=1)

    @pytest.mark.parametrize("unknown", ["period", "account"])
    def test_holds_in_its_snapshot_what_there_is(self, cursor: psycopg.Cursor[Any], unknown: str) -> None:
        row = {
            "period_id": rawsql.insert(cursor, "ledger_period", [self.ROW]),
            "account_id": rawsql.account(cursor, "accounts_receivable", "acme-corp"),
            "balance_cents": 1,
        }
        rule = f"ledger_period_balance_{unknown}_id"
        refused(cursor, rule, "ledger_period_balance", row | {f"{unknown}_id": 10**9})


class TestReplica:
    """A superuser who says to be replaying a replica."""

    def test_closes_no_period_without_its_snapshot(self, superuser_cursor: psycopg.Cursor[Any]) -> None:
        rawsql.honest(superuser_cursor, key="first").write(superuser_cursor)
        superuser_cursor.execute("SET session_replication_role = replica")
        december = datetime(2026, 12, 1, tzinfo=UTC)
        row = TestPeriod.ROW | {"ends_at": december, "closed_at": december}
        period = rawsql.insert(superuser_cursor, "ledger_period", [row])
        superuser_cursor.execute("SELECT balance_cents FROM ledger_period_balance WHERE period_id = %s", [period])
        assert superuser_cursor.fetchall() == [(100,), (100,)]

    def test_reverses_nothing_but_exactly(self, superuser_cursor: psycopg.Cursor[Any]) -> None:
        billed = rawsql.honest(superuser_cursor, key="billed")
        billed.write(superuser_cursor)
        superuser_cursor.execute("SET session_replication_role = replica")
        forgery = rawsql.honest(superuser_cursor, key="reversed")
        forgery.header["reverses_id"] = billed.header["id"]
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            forgery.write(superuser_cursor)
        assert caught.value.diag.constraint_name == "ledger_reversal_is_the_exact_opposite"
