"""The ledger over HTTP: shapes, filters, pages, and what a key that is bound to a tenant does not see."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing_site.kernel import ids
from ledger import books, chart, models
from tests.factories import ledger as factories
from tests.factories.kernel import client

pytestmark = pytest.mark.django_db

LISTS = ("accounts", "entries", "transactions")
PATHS = (
    *LISTS,
    "balances?tenant_id=acme-corp",
    "trial-balance",
    "periods",
    "export.csv?from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z",
    "accounts/acc_0000000000001",
    "transactions/txn_0000000000001",
)


def get(path: str, *scopes: str, tenant_id: str = "") -> Any:
    return client(*(scopes or ("ledger:read",)), tenant_id=tenant_id).get(f"/v1/ledger/{path}")


def ok(path: str, tenant_id: str = "") -> dict[str, Any]:
    response = get(path, tenant_id=tenant_id)
    assert response.status_code == 200, response.content
    body: dict[str, Any] = response.json()
    return body


def refused(path: str, status: int, code: str, tenant_id: str = "") -> dict[str, Any]:
    response = get(path, tenant_id=tenant_id)
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    return body


class TestEveryAddress:
    @pytest.mark.parametrize("path", PATHS)
    def test_needs_the_scope(self, path: str) -> None:
        response = get(path, "billing:read", "usage:read", "ledger:write")
        assert response.status_code == 403
        assert "ledger:read" in response.json()["detail"]

    @pytest.mark.parametrize("path", PATHS)
    def test_needs_a_key(self, path: str) -> None:
        caller = client()
        caller.credentials()
        assert caller.get(f"/v1/ledger/{path}").status_code == 401

    @pytest.mark.parametrize("path", PATHS)
    def test_refuses_an_unknown_parameter(self, path: str) -> None:
        separator = "&" if "?" in path else "?"
        body = refused(f"{path}{separator}colour=red", 400, "invalid_request")
        assert body["errors"][0]["pointer"] == "?colour"

    @pytest.mark.parametrize(
        ("path", "method"),
        [
            (path, method)
            for path in PATHS
            for method in ("post", "put", "patch", "delete")
            if (path, method) != ("transactions", "post")  # the one write: a manual transaction
        ],
    )
    def test_is_read_only(self, path: str, method: str) -> None:
        response = getattr(client(), method)(f"/v1/ledger/{path}", {}, format="json")
        assert response.status_code == 405
        assert response["Content-Type"] == "application/problem+json"


class TestAccounts:
    def test_are_shown_with_their_balances(self) -> None:
        factories.TransactionFactory(amount_cents=880)
        revenue, receivable = sorted(ok("accounts")["data"], key=lambda shown: shown["code"], reverse=True)
        row = models.Account.objects.get(type="accounts_receivable")
        assert receivable == {
            "id": ids.encode_serial("acc", row.pk),
            "book": "main",
            "type": "accounts_receivable",
            "code": "1100",
            "normal_side": "debit",
            "currency": "USD",
            "tenant_id": "acme-corp",
            "channel": None,
            "balance_cents": 880,
            "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        }
        assert (revenue["tenant_id"], revenue["balance_cents"]) == (None, 880)

    @pytest.mark.parametrize(
        ("query", "codes"),
        [
            ("tenant_id=globex", {"1100"}),
            ("type=usage_revenue", {"4000"}),
            ("channel=stripe", {"1010"}),
            ("currency=EUR", {"1100", "4000"}),
            ("currency=JPY", set()),
            ("book=acme-eu", {"1000", "1010"}),
            ("book=main&tenant_id=acme-corp&type=accounts_receivable&currency=USD", {"1100"}),
        ],
    )
    def test_are_filtered(self, query: str, codes: set[str]) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        factories.TransactionFactory()
        factories.TransactionFactory(tenant_id="globex", currency="EUR")
        factories.TransactionFactory(book="acme-eu", debit="cash", credit="processor_clearing")
        assert {row["code"] for row in ok(f"accounts?{query}")["data"]} == codes

    @pytest.mark.parametrize("query", ["type=petty_cash", "limit=0", "limit=101", "cursor=nonsense"])
    def test_refuse_a_parameter_that_makes_no_sense(self, query: str) -> None:
        response = get(f"accounts?{query}")
        assert response.status_code in {400, 404}
        assert response["Content-Type"] == "application/problem+json"

    def test_are_paged(self) -> None:
        for name, line in chart.ACCOUNT_TYPES.items():
            if line.scope == "book" and name != "cash":
                factories.TransactionFactory(debit="cash", credit=name)
        seen: list[str] = []
        page = ok("accounts?limit=4")
        seen += [row["id"] for row in page["data"]]
        while page["has_more"]:
            page = ok(f"accounts?limit=4&cursor={page['next_cursor']}")
            seen += [row["id"] for row in page["data"]]
        assert seen == sorted(seen, reverse=True)
        assert len(seen) == len(set(seen)) == models.Account.objects.count()


class TestAccount:
    def test_is_shown_with_its_balance_now_and_before_a_moment(self) -> None:
        factories.TransactionFactory(amount_cents=100, occurred_at=datetime(2026, 11, 1, tzinfo=UTC))
        factories.TransactionFactory(amount_cents=5, occurred_at=datetime(2026, 12, 1, tzinfo=UTC))
        account = models.Account.objects.get(type="accounts_receivable")
        assert ok(f"accounts/{account.public_id}")["balance_cents"] == 105
        assert ok(f"accounts/{account.public_id}?as_of=2026-12-01T00:00:00Z")["balance_cents"] == 100
        assert ok(f"accounts/{account.public_id}?as_of=2026-12-01T00:00:00-01:00")["balance_cents"] == 105

    @pytest.mark.parametrize("as_of", ["2026-12-01", "2026-12-01T00:00:00", "yesterday", ""])
    def test_refuses_a_moment_that_is_none(self, as_of: str) -> None:
        factories.TransactionFactory()
        account = models.Account.objects.get(type="accounts_receivable")
        body = refused(f"accounts/{account.public_id}?as_of={as_of}", 400, "invalid_request")
        assert body["errors"][0]["pointer"] == "?as_of"

    @pytest.mark.parametrize("public_id", ["acc_0000000000zzz", "acc_x", "txn_0000000000001", "1", "acc_" + "z" * 13])
    def test_is_not_found_by_a_wrong_id(self, public_id: str) -> None:
        refused(f"accounts/{public_id}", 404, "account_not_found")

    def test_of_another_tenant_or_of_the_book_is_not_found_by_a_bound_key(self) -> None:
        factories.TransactionFactory()
        receivable, revenue = models.Account.objects.order_by("code")
        assert ok(f"accounts/{receivable.public_id}", tenant_id="acme-corp")["balance_cents"] == 1000
        refused(f"accounts/{receivable.public_id}", 404, "account_not_found", tenant_id="globex")
        refused(f"accounts/{revenue.public_id}", 404, "account_not_found", tenant_id="acme-corp")


class TestBalances:
    def test_are_the_tenants_by_type(self) -> None:
        factories.TransactionFactory(amount_cents=300)
        factories.TransactionFactory(debit="processor_clearing", credit="prepaid_credit", amount_cents=40)
        factories.TransactionFactory(tenant_id="globex")
        assert ok("balances?tenant_id=acme-corp") == {
            "tenant_id": "acme-corp",
            "data": [
                {
                    "book": "main",
                    "currency": "USD",
                    "account_type": name,
                    "code": code,
                    "normal_side": side,
                    "balance_cents": cents,
                }
                for name, code, side, cents in (
                    ("accounts_receivable", "1100", "debit", 300),
                    ("prepaid_credit", "2200", "credit", 40),
                )
            ],
        }

    def test_of_a_tenant_without_accounts_are_none(self) -> None:
        assert ok("balances?tenant_id=initech") == {"tenant_id": "initech", "data": []}

    @pytest.mark.parametrize("query", ["", "tenant_id=", "tenant_id=two+words", "tenant_id=a&tenant_id=b"])
    def test_need_one_tenant(self, query: str) -> None:
        body = refused(f"balances?{query}", 400, "invalid_request")
        assert body["errors"][0]["pointer"] == "?tenant_id"

    def test_of_another_tenant_are_not_found_by_a_bound_key(self) -> None:
        factories.TransactionFactory()
        assert ok("balances?tenant_id=acme-corp", tenant_id="acme-corp")["data"]
        refused("balances?tenant_id=acme-corp", 404, "not_found", tenant_id="globex")


class TestEntries:
    def test_have_the_shape_of_the_contract(self) -> None:
        posted = factories.TransactionFactory(amount_cents=880, description="Invoice INV-1")
        credit, debit = ok("entries")["data"]
        row = posted.entries.get(entry_type="debit")
        assert debit == {
            "id": ids.encode_serial("ent", row.pk),
            "transaction_id": ids.encode_serial("txn", posted.pk),
            "account": {
                "id": ids.encode_serial("acc", row.account_id),
                "type": "accounts_receivable",
                "tenant_id": "acme-corp",
                "currency": "USD",
            },
            "entry_type": "debit",
            "amount_cents": 880,
            "balance_after_cents": 880,
            "reference_type": "invoice",
            "reference_id": "inv_1",
            "description": "Invoice INV-1",
            "effective_at": "2026-11-01T00:00:00Z",
            "created_at": posted.created_at.isoformat().replace("+00:00", "Z"),
        }
        assert credit["account"]["tenant_id"] is None

    def test_of_a_sharded_account_show_no_balance(self) -> None:
        factories.TransactionFactory()
        credit, debit = ok("entries")["data"]
        assert (credit["account"]["type"], credit["balance_after_cents"]) == ("usage_revenue", None)
        assert debit["balance_after_cents"] == 1000

    def test_of_an_account_are_its_statement(self) -> None:
        for cents in (1, 2, 3):
            factories.TransactionFactory(amount_cents=cents)
        account = models.Account.objects.get(type="accounts_receivable")
        shown = ok(f"entries?account_id={account.public_id}")["data"]
        assert [(row["amount_cents"], row["balance_after_cents"]) for row in shown] == [(3, 6), (2, 3), (1, 1)]

    def test_are_filtered_by_transaction_tenant_and_time(self) -> None:
        november = factories.TransactionFactory(amount_cents=1)
        factories.TransactionFactory(amount_cents=2, occurred_at=datetime(2026, 12, 1, tzinfo=UTC))
        factories.TransactionFactory(amount_cents=3, tenant_id="globex")

        def amounts(query: str) -> set[int]:
            return {row["amount_cents"] for row in ok(f"entries?{query}")["data"]}

        assert amounts(f"transaction_id={november.public_id}") == {1}
        assert amounts("tenant_id=globex") == {3}
        assert amounts("effective_at_gte=2026-12-01T00:00:00Z") == {2}
        assert amounts("effective_at_lt=2026-12-01T00:00:00Z") == {1, 3}
        assert amounts("effective_at_lt=2026-12-01T00:00:00Z&tenant_id=acme-corp") == {1}
        assert amounts(f"account_id={ids.encode_serial('acc', 10**9)}") == set()

    @pytest.mark.parametrize("query", ["account_id=1", "transaction_id=acc_0000000000001", "effective_at_gte=now"])
    def test_refuse_a_parameter_that_makes_no_sense(self, query: str) -> None:
        body = refused(f"entries?{query}", 400, "invalid_request")
        assert body["errors"][0]["pointer"] == f"?{query.split('=', maxsplit=1)[0]}"

    def test_show_a_bound_key_its_tenants_transactions_and_no_balance_of_the_book(self) -> None:
        factories.TransactionFactory(debit="cash", credit="accounts_receivable", tenant_id="globex", amount_cents=7)
        factories.TransactionFactory(debit="cash", credit="accounts_receivable", amount_cents=5)
        shown = ok("entries", tenant_id="acme-corp")["data"]
        assert [(row["account"]["type"], row["amount_cents"], row["balance_after_cents"]) for row in shown] == [
            ("accounts_receivable", 5, -5),
            ("cash", 5, None),
        ]
        assert ok("entries?tenant_id=globex", tenant_id="acme-corp")["data"] == []
        assert {row["balance_after_cents"] for row in ok("entries?tenant_id=globex")["data"]} == {7, -7}


class TestTransactions:
    def test_are_shown_without_their_entries(self) -> None:
        posted = factories.TransactionFactory(amount_cents=880, metadata={"number": "INV-1"})
        assert ok("transactions")["data"] == [
            {
                "id": ids.encode_serial("txn", posted.pk),
                "book": "main",
                "idempotency_key": posted.idempotency_key,
                "kind": "invoice_finalized",
                "tenant_id": "acme-corp",
                "currency": "USD",
                "amount_cents": 880,
                "entry_count": 2,
                "occurred_at": "2026-11-01T00:00:00Z",
                "effective_at": "2026-11-01T00:00:00Z",
                "created_at": posted.created_at.isoformat().replace("+00:00", "Z"),
                "reference_type": "invoice",
                "reference_id": "inv_1",
                "description": "Invoice finalized",
                "metadata": {"number": "INV-1"},
                "reverses_id": None,
            },
        ]

    @pytest.mark.parametrize(
        ("query", "amounts"),
        [
            ("tenant_id=globex", {2}),
            ("kind=payment_received", {3}),
            ("currency=EUR", {2}),
            ("reference_type=payment&reference_id=pay_1", {3}),
            ("effective_at_gte=2026-12-01T00:00:00Z", {3}),
            ("effective_at_lt=2026-12-01T00:00:00Z", {1, 2}),
            ("book=nowhere", set()),
        ],
    )
    def test_are_filtered(self, query: str, amounts: set[int]) -> None:
        factories.TransactionFactory(amount_cents=1)
        factories.TransactionFactory(amount_cents=2, tenant_id="globex", currency="EUR")
        factories.TransactionFactory(
            amount_cents=3,
            kind="payment_received",
            reference_type="payment",
            reference_id="pay_1",
            occurred_at=datetime(2026, 12, 1, tzinfo=UTC),
        )
        assert {row["amount_cents"] for row in ok(f"transactions?{query}")["data"]} == amounts

    def test_of_other_tenants_and_of_the_book_are_not_shown_to_a_bound_key(self) -> None:
        mine = factories.TransactionFactory()
        factories.TransactionFactory(tenant_id="globex")
        factories.TransactionFactory(tenant_id="", debit="cash", credit="processor_clearing")
        assert [row["id"] for row in ok("transactions", tenant_id="acme-corp")["data"]] == [mine.public_id]


class TestTransaction:
    def test_is_shown_with_its_entries_in_order(self) -> None:
        posted = factories.TransactionFactory()
        shown = ok(f"transactions/{posted.public_id}")
        assert shown["id"] == posted.public_id
        assert [row["entry_type"] for row in shown["entries"]] == ["debit", "credit"]

    @pytest.mark.parametrize("public_id", ["txn_0000000000zzz", "txn_x", "acc_0000000000001", "1"])
    def test_is_not_found_by_a_wrong_id(self, public_id: str) -> None:
        refused(f"transactions/{public_id}", 404, "transaction_not_found")

    def test_of_another_tenant_is_not_found_by_a_bound_key(self) -> None:
        posted = factories.TransactionFactory()
        assert ok(f"transactions/{posted.public_id}", tenant_id="acme-corp")["id"] == posted.public_id
        refused(f"transactions/{posted.public_id}", 404, "transaction_not_found", tenant_id="globex")


class TestTrialBalance:
    def test_has_equal_columns(self) -> None:
        factories.TransactionFactory(amount_cents=880)
        factories.TransactionFactory(amount_cents=3, currency="EUR", occurred_at=datetime(2026, 12, 1, tzinfo=UTC))
        shown = ok("trial-balance?as_of=2026-12-01T00:00:00Z&currency=USD")
        row = {"currency": "USD", "balance_cents": 880}
        assert shown == {
            "book": "main",
            "as_of": "2026-12-01T00:00:00Z",
            "data": [
                row
                | {
                    "account_type": "accounts_receivable",
                    "code": "1100",
                    "category": "asset",
                    "normal_side": "debit",
                    "debit_cents": 880,
                    "credit_cents": 0,
                },
                row
                | {
                    "account_type": "usage_revenue",
                    "code": "4000",
                    "category": "revenue",
                    "normal_side": "credit",
                    "debit_cents": 0,
                    "credit_cents": 880,
                },
            ],
            "totals": [{"currency": "USD", "debit_cents": 880, "credit_cents": 880}],
        }
        assert [total["currency"] for total in ok("trial-balance")["totals"]] == ["EUR", "USD"]
        assert ok("trial-balance")["as_of"] is None

    @pytest.mark.parametrize("query", ["currency=usd", "currency=XXX", "as_of=now", "book=two+words"])
    def test_refuses_a_parameter_that_makes_no_sense(self, query: str) -> None:
        body = refused(f"trial-balance?{query}", 400, "invalid_request")
        assert body["errors"][0]["pointer"] == f"?{query.split('=', maxsplit=1)[0]}"

    def test_of_an_unknown_book_is_not_found(self) -> None:
        refused("trial-balance?book=nowhere", 404, "book_not_found")

    def test_is_refused_to_a_bound_key(self) -> None:
        refused("trial-balance", 403, "forbidden", tenant_id="acme-corp")
