"""
Writes rows of the ledger past the posting function, as its owner could.

``honest`` prepares a transaction that keeps every rule; an attack changes one thing of it before it is written.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

BOOKED = datetime(2026, 11, 1, tzinfo=UTC)

Row = dict[str, Any]


@dataclass
class Forgery:
    """One transaction to be written by hand."""

    header: Row
    entries: list[Row]
    balances: list[Row] = field(default_factory=list)

    def settle(self) -> None:
        """Let the balance rows agree with the last entry of each account."""
        last = {(entry["account_id"], entry["shard"]): entry for entry in self.entries}
        self.balances = [
            {
                "account_id": account_id,
                "shard": shard,
                "balance_cents": entry["balance_after_cents"],
                "last_seq": entry["account_seq"],
            }
            for (account_id, shard), entry in last.items()
        ]

    def write(self, cursor: psycopg.Cursor[Any]) -> None:
        """Header, balances, entries (in one statement); what is checked at commit is checked at once."""
        with cursor.connection.transaction():
            self.header["id"] = insert(cursor, "ledger_transaction", [self.header])
            self.write_entries(cursor)
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    def write_entries(self, cursor: psycopg.Cursor[Any]) -> None:
        """What follows the header."""
        for balance in self.balances:
            cursor.execute(
                "UPDATE ledger_balance SET balance_cents = %(balance_cents)s, last_seq = %(last_seq)s"
                " WHERE account_id = %(account_id)s AND shard = %(shard)s",
                balance,
            )
        if self.entries:
            insert(cursor, "ledger_entry", [{"transaction_id": self.header["id"], **entry} for entry in self.entries])


def insert(cursor: psycopg.Cursor[Any], table: str, rows: list[Row]) -> int:
    """Insert rows in one statement; the id of the last."""
    columns = list(rows[0])
    one = sql.SQL("({})").format(sql.SQL(", ").join(sql.Placeholder() for _ in columns))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES {} RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(one for _ in rows),
    )
    cursor.execute(statement, [row[column] for row in rows for column in columns])
    return int(cursor.fetchall()[-1][0])


def account(cursor: psycopg.Cursor[Any], account_type: str, tenant_id: str, currency: str = "USD") -> int:
    """Open an account, or find it; its id."""
    cursor.execute(
        "SELECT ledger_open_accounts('main', %s, %s, %s, %s)",
        [[account_type], [currency], [tenant_id], [""]],
    )
    cursor.execute(
        "SELECT id FROM ledger_account"
        " WHERE book_id = 'main' AND type = %s AND currency = %s AND tenant_id = %s AND channel = ''",
        [account_type, currency, tenant_id],
    )
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def honest(cursor: psycopg.Cursor[Any], *, key: str, amount_cents: int = 100) -> Forgery:
    """Acme is billed in advance: debit its receivable, credit its deferred revenue."""
    sides = [("accounts_receivable", "debit"), ("deferred_revenue", "credit")]
    entries = [
        entry(cursor, account(cursor, account_type, "acme-corp"), entry_type, amount_cents, line_no)
        for line_no, (account_type, entry_type) in enumerate(sides, start=1)
    ]
    forgery = Forgery(
        header={
            "book_id": "main",
            "idempotency_key": key,
            "fingerprint": b"\0" * 32,
            "kind": "forged",
            "tenant_id": "acme-corp",
            "currency": "USD",
            "occurred_at": BOOKED,
            "effective_at": BOOKED,
            "reference_type": "",
            "reference_id": "",
            "description": "",
            "metadata": "{}",
            "entry_count": 2,
            "amount_cents": amount_cents,
        },
        entries=entries,
    )
    forgery.settle()
    return forgery


def opposite(cursor: psycopg.Cursor[Any], *, key: str, of: int, amount_cents: int = 100) -> Forgery:
    """The reversal of what ``honest`` made and is transaction ``of`` now."""
    forgery = honest(cursor, key=key, amount_cents=amount_cents)
    forgery.header["reverses_id"] = of
    for line in forgery.entries:
        line["entry_type"] = "credit" if line["entry_type"] == "debit" else "debit"
        line["balance_after_cents"] -= 2 * amount_cents
    forgery.settle()
    return forgery


def entry(cursor: psycopg.Cursor[Any], account_id: int, entry_type: str, amount_cents: int, line_no: int) -> Row:
    """An entry that continues its account, raising it."""
    cursor.execute("SELECT balance_cents, last_seq FROM ledger_balance WHERE account_id = %s", [account_id])
    row = cursor.fetchone()
    assert row is not None
    return {
        "line_no": line_no,
        "book_id": "main",
        "currency": "USD",
        "tenant_id": "acme-corp",
        "account_id": account_id,
        "account_tenant_id": "acme-corp",
        "shard": 0,
        "entry_type": entry_type,
        "amount_cents": amount_cents,
        "account_seq": row[1] + 1,
        "balance_after_cents": row[0] + amount_cents,
        "effective_at": BOOKED,
    }
