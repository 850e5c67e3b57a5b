"""Manual transactions and their reversals, over HTTP and below: who may, what they may touch, and once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from billing_site.kernel import clock
from ledger import balances, errors, manual, models, posting
from tests.factories import ledger as factories
from tests.factories.kernel import client
from tests.ledger import books
from tests.support import threads

Body = dict[str, Any]
BODY: Body = {
    "currency": "USD",
    "reason": "the bank's fee of October",
    "occurred_at": "2026-10-31T12:00:00+01:00",
    "entries": [
        {"account_type": "processor_fees", "entry_type": "debit", "amount_cents": 250},
        {"account_type": "cash", "entry_type": "credit", "amount_cents": 250},
    ],
}


def send(path: str, body: Body, *scopes: str, tenant_id: str = "", **headers: str) -> Any:
    caller = client(*(scopes or ("ledger:write",)), tenant_id=tenant_id)
    return caller.post(f"/v1/ledger/{path}", body, format="json", headers=headers)


def entry(account_type: str, entry_type: str, amount_cents: int = 250, **more: Any) -> Body:
    return {"account_type": account_type, "entry_type": entry_type, "amount_cents": amount_cents, **more}


def refused(response: Any, status: int, code: str, pointer: str = "") -> None:
    assert response.status_code == status, response.content
    body = response.json()
    assert body["code"] == code
    assert not pointer or pointer in [fault["pointer"] for fault in body["errors"]]


@pytest.mark.django_db
class TestPost:
    def test_answers_the_transaction(self) -> None:
        response = send("transactions", {**BODY, "metadata": {"ticket": "FIN-7"}})
        assert response.status_code == 201, response.content
        body = response.json()
        assert (body["kind"], body["book"], body["tenant_id"], body["amount_cents"]) == ("manual", "main", None, 250)
        assert (body["description"], body["metadata"]) == ("the bank's fee of October", {"ticket": "FIN-7"})
        assert (body["reference_type"], body["reference_id"][:4]) == ("manual", "key_")
        assert body["occurred_at"] == body["effective_at"] == "2026-10-31T11:00:00Z"
        assert [(line["account"]["type"], line["entry_type"]) for line in body["entries"]] == [
            ("processor_fees", "debit"),
            ("cash", "credit"),
        ]
        assert balances.balance_cents(book="main", account_type="processor_fees", currency="USD") == 250

    def test_is_of_now_when_no_time_is_given(self) -> None:
        before = clock.now()
        assert send("transactions", {**BODY, "occurred_at": clock.format_instant(before)}).status_code == 201
        send("transactions", {name: value for name, value in BODY.items() if name != "occurred_at"})
        assert models.Transaction.objects.earliest("-pk").occurred_at >= before

    def test_happens_once_for_a_key(self) -> None:
        caller = client("ledger:write")
        first, second = (
            caller.post("/v1/ledger/transactions", BODY, format="json", headers={"Idempotency-Key": "fee"})
            for _ in range(2)
        )
        assert first.json() == second.json()
        assert second["Idempotent-Replayed"] == "true"
        assert models.Transaction.objects.count() == 1

    def test_opens_a_tenants_account_for_the_transactions_tenant(self) -> None:
        entries = [entry("unbilled_receivable", "debit"), entry("usage_revenue", "credit")]
        response = send("transactions", {**BODY, "tenant_id": "acme-corp", "entries": entries})
        assert response.status_code == 201, response.content
        assert response.json()["entries"][0]["account"]["tenant_id"] == "acme-corp"

    def test_of_the_book_touches_the_accounts_of_many_tenants(self) -> None:
        entries = [
            entry("unbilled_receivable", "debit", tenant_id="acme-corp"),
            entry("unbilled_receivable", "credit", tenant_id="globex"),
        ]
        assert send("transactions", {**BODY, "entries": entries}).status_code == 201

    @pytest.mark.parametrize("reserved", sorted(manual.RESERVED_TYPES))
    def test_keeps_its_hands_off_what_is_reserved(self, reserved: str) -> None:
        body = {**BODY, "tenant_id": "acme-corp", "entries": [entry("cash", "debit"), entry(reserved, "credit")]}
        refused(send("transactions", body), 422, "account_type_reserved", "/entries/1/account_type")
        assert not models.Transaction.objects.exists()

    def test_reserves_what_the_design_names(self) -> None:
        codes = set(models.AccountType.objects.filter(name__in=manual.RESERVED_TYPES).values_list("code", flat=True))
        assert codes == {"1100", "2100", "2200", "2210"}

    @pytest.mark.parametrize(
        ("change", "status", "code", "pointer"),
        [
            ({"reason": ""}, 400, "invalid_request", "/reason"),
            ({"reason": "  "}, 400, "invalid_request", "/reason"),
            ({"entries": BODY["entries"][:1]}, 400, "invalid_request", "/entries"),
            ({"entries": [entry("cash", "debit"), {}]}, 400, "invalid_request", "/entries/1/amount_cents"),
            ({"entries": [entry("cash", "debit", 0), entry("cash", "credit", 0)]}, 400, "invalid_request", ""),
            ({"entries": [entry("petty_cash", "debit"), entry("cash", "credit")]}, 400, "invalid_request", ""),
            ({"entries": [entry("cash", "debit", x=1), entry("cash", "credit")]}, 400, "invalid_request", ""),
            ({"entries": [entry("cash", "debit", 251), entry("cash", "credit")]}, 422, "transaction_unbalanced", ""),
            ({"occurred_at": "2999-01-01T00:00:00Z"}, 400, "invalid_request", "/occurred_at"),
            ({"occurred_at": "1999-12-31T23:59:59Z"}, 400, "invalid_request", "/occurred_at"),
            ({"currency": "usd"}, 400, "invalid_request", "/currency"),
            ({"book": "nowhere"}, 404, "book_not_found", "/book"),
            ({"kind": "invoice_finalized"}, 400, "invalid_request", "/kind"),
        ],
    )
    def test_refuses(self, change: Body, status: int, code: str, pointer: str) -> None:
        refused(send("transactions", {**BODY, **change}), status, code, pointer)
        assert not models.Transaction.objects.exists()

    def test_needs_the_scope_and_a_key_of_all_tenants(self) -> None:
        refused(send("transactions", BODY, "ledger:read", "billing:write"), 403, "forbidden")
        refused(send("transactions", {**BODY, "tenant_id": "acme-corp"}, tenant_id="acme-corp"), 403, "forbidden")


@pytest.mark.django_db
class TestReverse:
    def posted(self) -> Any:
        return send("transactions", BODY).json()

    def test_posts_the_exact_opposite(self) -> None:
        original = self.posted()
        response = send(f"transactions/{original['id']}/reverse", {"reason": "booked twice"})
        assert response.status_code == 200, response.content
        body = response.json()
        assert (body["reverses_id"], body["description"]) == (original["id"], "booked twice")
        assert [(line["account"]["type"], line["entry_type"], line["amount_cents"]) for line in body["entries"]] == [
            ("processor_fees", "credit", 250),
            ("cash", "debit", 250),
        ]
        assert balances.balance_cents(book="main", account_type="processor_fees", currency="USD") == 0
        books.verify()

    def test_again_answers_the_first(self) -> None:
        original = self.posted()
        first = send(f"transactions/{original['id']}/reverse", {"reason": "booked twice"}).json()
        second = send(f"transactions/{original['id']}/reverse", {"reason": "another reason"}).json()
        assert first == second
        assert models.Transaction.objects.count() == 2

    def test_of_anything_else_is_refused(self) -> None:
        invoice = factories.TransactionFactory()
        refused(send(f"transactions/{invoice.public_id}/reverse", {"reason": "x"}), 409, "transaction_is_not_manual")
        reversal = send(f"transactions/{self.posted()['id']}/reverse", {"reason": "x"}).json()
        refused(send(f"transactions/{reversal['id']}/reverse", {"reason": "x"}), 409, "transaction_is_not_manual")

    def test_refuses(self) -> None:
        path = f"transactions/{self.posted()['id']}/reverse"
        refused(send("transactions/txn_0000000000001/reverse", {"reason": "x"}), 404, "transaction_not_found")
        refused(send("transactions/nonsense/reverse", {"reason": "x"}), 404, "transaction_not_found")
        refused(send(path, {}), 400, "invalid_request", "/reason")
        refused(send(path, {"reason": "x"}, "ledger:read"), 403, "forbidden")
        refused(send(path, {"reason": "x"}, tenant_id="acme-corp"), 403, "forbidden")


def reverse(original: models.Transaction, **given: Any) -> models.Transaction:
    values: dict[str, Any] = {
        "kind": "void",
        "occurred_at": datetime(2026, 11, 20, tzinfo=UTC),
        "reference_type": "invoice",
        "reference_id": "inv_1",
        "description": "voided",
    }
    with transaction.atomic():
        return posting.reverse(original=original, **values | given)


@pytest.mark.django_db
class TestReverseOfAnyTransaction:
    def test_moves_every_account_back(self) -> None:
        original = factories.TransactionFactory(debit="processor_clearing")
        reversal = reverse(original)
        assert reversal.reverses_id == original.pk
        assert reversal == posting.find_reversal(original)
        assert {row.balance_cents for row in balances.trial_balance(book="main")} == {0}

    def test_answers_the_first_whatever_else_is_given(self) -> None:
        original = factories.TransactionFactory()
        first = reverse(original)
        assert reverse(original, occurred_at=first.occurred_at + timedelta(days=1), description="again") == first

    def test_is_itself_reversible_once(self) -> None:
        reversal = reverse(factories.TransactionFactory())
        assert reverse(reversal).reverses_id == reversal.pk

    def test_respects_floors(self) -> None:
        granted = factories.TransactionFactory(debit="cash", credit="prepaid_credit", amount_cents=100)
        factories.TransactionFactory(debit="prepaid_credit", credit="accounts_receivable", amount_cents=1)
        with pytest.raises(errors.BelowFloor):
            reverse(granted)

    def test_has_no_rival_under_another_key(self) -> None:
        original = factories.TransactionFactory()
        reverse(original)
        rival = factories.NewTransactionFactory.build(
            debit="usage_revenue", credit="accounts_receivable", reverses_id=original.pk
        )
        with pytest.raises(errors.AlreadyReversed), transaction.atomic():
            posting.post(book="main", transaction=rival)


@pytest.mark.usefixtures("committed_db")
class TestRivals:
    def test_reverse_once(self) -> None:
        original = factories.TransactionFactory()
        moments = [datetime(2026, 11, day, tzinfo=UTC) for day in range(1, 17)]
        outcomes = threads.run_together(
            [lambda moment=moment: reverse(original, occurred_at=moment).pk for moment in moments],  # type: ignore[misc]
        )
        assert len(set(threads.results(outcomes))) == 1
        assert models.Transaction.objects.count() == 2
        books.verify()
