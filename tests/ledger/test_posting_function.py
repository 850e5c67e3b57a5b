"""The database's own door: whoever calls it past Python gets no further."""

from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel import database
from ledger import balances, models

pytestmark = pytest.mark.django_db

Change = dict[str, Any]


def deferred_revenue() -> int:
    return balances.balance_cents(
        book="main",
        account_type="deferred_revenue",
        currency="USD",
        tenant_id="acme-corp",
    )


THREE_ENTRIES: Change = {
    "entry_lines": [1, 2, 1],
    "entry_accounts": [1, 2, 1],
    "entry_types": ["debit", "credit", "debit"],
    "entry_amounts": [100, 100, 100],
}


class TestPostTransactions:
    GOOD: Change = {
        "transaction_currencies": ["USD"],
        "account_types": ["accounts_receivable", "deferred_revenue"],
        "account_currencies": ["USD", "USD"],
        "account_tenant_ids": ["acme-corp", "acme-corp"],
        "entry_count": [2],
        "amount_cents": [100],
        "reverses_ids": [None],
        "entry_transactions": [1, 1],
        "entry_lines": [1, 2],
        "entry_accounts": [1, 2],
        "entry_types": ["debit", "credit"],
        "entry_amounts": [100, 100],
    }

    def call(self, change: Change) -> list[Any]:
        given = {**self.GOOD, **change}
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT * FROM ledger_post_transactions(
                    'main', '{fact}', ARRAY[sha256('x')], '{kind}', '{acme-corp}',
                    %(transaction_currencies)s::text[], '{2026-11-01T00:00:00Z}', '{""}', '{""}', '{""}', '{"{}"}',
                    %(entry_count)s::int[], %(amount_cents)s::bigint[],
                    %(reverses_ids)s::bigint[],
                    %(account_types)s::text[], %(account_currencies)s::text[], %(account_tenant_ids)s::text[],
                    array_fill(''::text, ARRAY[cardinality(%(account_types)s::text[])]),
                    %(entry_transactions)s::int[], %(entry_lines)s::int[], %(entry_accounts)s::int[],
                    %(entry_types)s::text[], %(entry_amounts)s::bigint[])
                """,
                given,
            )
            rows: list[Any] = cursor.fetchall()
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
        return rows

    def test_posts(self) -> None:
        assert len(self.call({})) == 1
        assert deferred_revenue() == 100

    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"entry_amounts": [100, 99]}, "ledger_transaction_balances"),
            ({"entry_types": ["debit", "debit"]}, "ledger_transaction_balances"),
            ({"amount_cents": [99]}, "ledger_transaction_balances"),
            ({"entry_amounts": [-100, -100], "amount_cents": [100]}, "ledger_entry_amount_is_in_range"),
            ({"entry_count": [3]}, "ledger_transaction_is_whole"),
            ({"entry_lines": [1, 3]}, "ledger_transaction_is_whole"),
            ({"entry_types": ["debit", "both"]}, "ledger_entry_is_debit_or_credit"),
            (
                {
                    "entry_count": [1],
                    "entry_transactions": [1],
                    "entry_lines": [1],
                    "entry_accounts": [1],
                    "entry_types": ["debit"],
                    "entry_amounts": [100],
                },
                "ledger_transaction_has_two_entries",
            ),
            (
                {
                    "entry_transactions": [],
                    "entry_lines": [],
                    "entry_accounts": [],
                    "entry_types": [],
                    "entry_amounts": [],
                },
                "ledger_transaction_has_its_entries",
            ),
            ({"entry_transactions": [1, 2]}, "ledger_transaction_balances"),
            ({"entry_lines": [1, 2, 3]}, "ledger_entry_points_into_its_batch"),
            ({"entry_amounts": [100, 100, 100]}, "ledger_entry_points_into_its_batch"),
            ({"amount_cents": [100, 100]}, "ledger_entry_points_into_its_batch"),
            ({"account_currencies": ["USD", "USD", "USD"]}, "ledger_entry_points_into_its_batch"),
            ({**THREE_ENTRIES, "entry_transactions": [1, 1, 2]}, "ledger_entry_points_into_its_batch"),
            ({**THREE_ENTRIES, "entry_transactions": [1, 1, None]}, "ledger_entry_points_into_its_batch"),
            ({"account_tenant_ids": ["acme-corp", "globex"]}, "ledger_entry_stays_with_its_tenant"),
            ({"account_currencies": ["USD", "EUR"]}, "ledger_entry_matches_its_account"),
            ({"transaction_currencies": ["EUR"]}, "ledger_entry_matches_its_account"),
            ({"account_types": ["petty_cash", "deferred_revenue"]}, "ledger_account_follows_the_chart"),
            ({"account_tenant_ids": ["", "acme-corp"]}, "ledger_account_stands_in_its_scope"),
            ({"account_types": ["accounts_receivable", "cash"]}, "ledger_account_stands_in_its_scope"),
            (
                {"account_types": ["accounts_receivable", "prepaid_credit"], "entry_types": ["credit", "debit"]},
                "ledger_balance_not_below_floor",
            ),
        ],
    )
    def test_refuses(self, change: Change, constraint: str) -> None:
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            self.call(change)
        assert database.raised_constraint(caught.value) == constraint
        assert not models.Transaction.objects.exists()
        assert not models.Entry.objects.exists()

    @pytest.mark.parametrize(
        "change",
        [
            {"entry_accounts": [1, 3]},
            {"entry_amounts": [100, None]},
            {"entry_lines": [1]},
            {"entry_count": [None]},
            {"transaction_currencies": [None]},
        ],
    )
    def test_refuses_what_is_missing(self, change: Change) -> None:
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            self.call(change)
        assert isinstance(caught.value.__cause__, psycopg.errors.NotNullViolation)

    def test_takes_an_account_that_is_named_twice(self) -> None:
        self.call(
            {
                "account_types": ["accounts_receivable", "deferred_revenue", "deferred_revenue"],
                "account_currencies": ["USD"] * 3,
                "account_tenant_ids": ["acme-corp"] * 3,
                "entry_count": [3],
                "entry_transactions": [1, 1, 1],
                "entry_lines": [1, 2, 3],
                "entry_accounts": [1, 2, 3],
                "entry_types": ["debit", "credit", "credit"],
                "entry_amounts": [100, 40, 60],
            },
        )
        assert deferred_revenue() == 100
