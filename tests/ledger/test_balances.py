"""Balances now and before any moment, by account, tenant and book; without a look at all entries."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from ledger import balances, books, models, periods, posting
from tests.factories import ledger as factories
from tests.factories.kernel import client

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def close_month(start: datetime, end: datetime) -> None:
    periods.close_period(
        book="main", period_start=start, period_end=end, actor="key_1", reason="month end", now=end + TICK
    )


@pytest.mark.django_db
class TestBalanceCents:
    def test_is_zero_where_there_is_no_account(self) -> None:
        assert balances.balance_cents(book="main", account_type="cash", currency="USD") == 0

    def test_is_positive_on_the_normal_side(self) -> None:
        factories.TransactionFactory(amount_cents=300)
        factories.TransactionFactory(debit="cash", credit="accounts_receivable", amount_cents=500)
        named: dict[str, Any] = {"book": "main", "currency": "USD"}
        assert balances.balance_cents(account_type="usage_revenue", **named) == 300
        assert balances.balance_cents(account_type="cash", **named) == 500
        assert balances.balance_cents(account_type="accounts_receivable", tenant_id="acme-corp", **named) == -200

    def test_tells_channels_apart(self) -> None:
        factories.TransactionFactory(debit="processor_clearing", credit="accounts_receivable")
        clearing: dict[str, Any] = {"book": "main", "account_type": "processor_clearing", "currency": "USD"}
        assert balances.balance_cents(**clearing, channel="stripe") == 1000
        assert balances.balance_cents(**clearing, channel="manual") == 0


@pytest.mark.django_db
class TestTenantBalances:
    def test_are_those_of_the_tenant_by_currency_and_type(self) -> None:
        factories.TransactionFactory(amount_cents=300)
        factories.TransactionFactory(credit="deferred_revenue", amount_cents=50, currency="EUR")
        factories.TransactionFactory(tenant_id="globex")
        assert balances.tenant_balances(tenant_id="acme-corp") == {
            ("USD", "accounts_receivable"): 300,
            ("EUR", "accounts_receivable"): 50,
            ("EUR", "deferred_revenue"): 50,
        }

    def test_add_up_over_books(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory(amount_cents=300)
        factories.TransactionFactory(amount_cents=4, book="acme-eu")
        assert balances.tenant_balances(tenant_id="acme-corp") == {("USD", "accounts_receivable"): 304}
        assert [row.book for row in balances.list_tenant_balances(tenant_id="acme-corp")] == ["acme-eu", "main"]


@pytest.mark.django_db
class TestAsOf:
    @pytest.fixture(autouse=True)
    def _months(self) -> None:
        factories.TransactionFactory(amount_cents=100, occurred_at=NOVEMBER)
        factories.TransactionFactory(amount_cents=20, occurred_at=DECEMBER - TICK)
        factories.TransactionFactory(amount_cents=3, occurred_at=DECEMBER)
        factories.TransactionFactory(
            debit="cash", credit="accounts_receivable", amount_cents=110, occurred_at=DECEMBER + TICK
        )

    @pytest.mark.parametrize(
        ("as_of", "receivable", "revenue"),
        [
            (NOVEMBER, 0, 0),
            (NOVEMBER + TICK, 100, 100),
            (DECEMBER - TICK, 100, 100),
            (DECEMBER, 120, 120),
            (DECEMBER + TICK, 123, 123),
            (DECEMBER + 2 * TICK, 13, 123),
            (None, 13, 123),
        ],
    )
    def test_counts_what_took_effect_before(self, as_of: datetime | None, receivable: int, revenue: int) -> None:
        held = dict(
            balances.with_balance(models.Account.objects.all(), as_of=as_of).values_list("type", "balance_cents"),
        )
        assert (held["accounts_receivable"], held["usage_revenue"]) == (receivable, revenue)
        rows = {row.account_type: row.balance_cents for row in balances.trial_balance(book="main", as_of=as_of)}
        assert (rows["accounts_receivable"], rows["usage_revenue"]) == (receivable, revenue)


@pytest.mark.django_db
class TestTrialBalance:
    def test_is_empty_in_an_empty_book(self) -> None:
        assert balances.trial_balance(book="main") == []

    def test_puts_each_balance_into_the_column_of_its_sign(self) -> None:
        factories.TransactionFactory(amount_cents=900)
        factories.TransactionFactory(debit="discounts", credit="accounts_receivable", amount_cents=1000)
        factories.TransactionFactory(tenant_id="globex", amount_cents=40)
        rows = balances.trial_balance(book="main")
        assert [(row.code, row.debit_cents, row.credit_cents, row.balance_cents) for row in rows] == [
            ("1100", 0, 60, -60),
            ("4000", 0, 940, 940),
            ("4900", 1000, 0, 1000),
        ]
        assert [(total.debit_cents, total.credit_cents) for total in balances.trial_balance_totals(rows)] == [
            (1000, 1000)
        ]

    def test_keeps_currencies_and_books_apart(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory(currency="EUR")
        factories.TransactionFactory(currency="USD")
        factories.TransactionFactory(currency="USD", book="acme-eu")
        assert {row.currency for row in balances.trial_balance(book="main", currency="EUR")} == {"EUR"}
        totals = balances.trial_balance_totals(balances.trial_balance(book="main"))
        assert [(total.currency, total.debit_cents) for total in totals] == [("EUR", 1000), ("USD", 1000)]


class TestPlans:
    """Each read of the API on a ledger with some past, in the plan that PostgreSQL really chooses."""

    PATHS = {
        "/v1/ledger/accounts": 0,
        "/v1/ledger/accounts?tenant_id=tenant-7": 0,
        "/v1/ledger/accounts/{account}": 0,
        "/v1/ledger/accounts/{account}?as_of=2026-12-15T00:00:00Z": 20,
        "/v1/ledger/balances?tenant_id=tenant-7": 0,
        "/v1/ledger/trial-balance": 0,
        "/v1/ledger/trial-balance?currency=USD": 0,
        "/v1/ledger/trial-balance?as_of=2027-08-01T00:00:00Z": 700,  # what took effect since, and not all
        "/v1/ledger/entries": 21,
        "/v1/ledger/entries?account_id={account}": 21,
        "/v1/ledger/entries?account_id={account}&effective_at_gte=2027-01-01T00:00:00Z": 21,
        "/v1/ledger/entries?tenant_id=tenant-7": 21,
        "/v1/ledger/entries?transaction_id={transaction}": 2,
        "/v1/ledger/transactions": 0,
        "/v1/ledger/transactions?tenant_id=tenant-7": 0,
        "/v1/ledger/transactions?reference_id=inv_unknown": 0,
        "/v1/ledger/transactions/{transaction}": 2,
    }

    # With seven of the ten months closed: 600 entries a month.
    PATHS_WHEN_CLOSED = {
        "/v1/ledger/accounts/{account}?as_of=2027-05-30T00:00:00Z": 20,
        "/v1/ledger/trial-balance?as_of=2027-05-30T00:00:00Z": 300,  # the end of the closed period itself
        "/v1/ledger/trial-balance?as_of=2027-06-15T00:00:00Z": 1200,  # the open month alone
    }

    def test_read_no_more_entries_than_they_show(self, committed_db: str, owner_cursor: psycopg.Cursor) -> None:
        for month in range(10):
            new = [
                factories.NewTransactionFactory.build(
                    tenant_id=f"tenant-{number}",
                    occurred_at=NOVEMBER + timedelta(days=30 * month),
                )
                for number in range(300)
            ]
            with transaction.atomic():
                posting.post_many(book="main", transactions=new)
        owner_cursor.execute("VACUUM ANALYZE")
        self.check(self.PATHS)
        with transaction.atomic():
            close_month(NOVEMBER, NOVEMBER + timedelta(days=30 * 7))
        owner_cursor.execute("VACUUM ANALYZE")
        self.check(self.PATHS_WHEN_CLOSED)

    def check(self, paths: dict[str, int]) -> None:
        account = models.Account.objects.get(tenant_id="tenant-7")
        shown = account.entries.earliest("id").transaction
        for path, most in paths.items():
            scanned = self.entries_scanned(path.format(account=account.public_id, transaction=shown.public_id))
            assert scanned <= most, path

    def entries_scanned(self, path: str) -> int:
        caller = client("ledger:read")
        with CaptureQueriesContext(connection) as captured:
            response = caller.get(path)
        assert response.status_code == 200, response.content
        statements = [query["sql"] for query in captured if "ledger_" in query["sql"]]
        assert statements
        return sum(self.rows_scanned(statement) for statement in statements)

    def rows_scanned(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
            (document,) = cursor.fetchone()
        plan = document if isinstance(document, list) else json.loads(document)
        return sum(
            math.ceil((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in self.nodes(plan[0]["Plan"])
            if node.get("Relation Name") == "ledger_entry"
        )

    def nodes(self, plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for child in plan.get("Plans", ()):
            yield from self.nodes(child)
