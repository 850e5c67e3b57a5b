"""Posting: one fact once, balanced, in its currency, for its tenant; by Python's door and by the database's."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_site.kernel import money
from ledger import balances, books, errors, models, posting
from tests.factories import ledger as factories

pytestmark = pytest.mark.django_db

Change = dict[str, Any]


def balance(account_type: str, **named: Any) -> int:
    return balances.balance_cents(book="main", account_type=account_type, currency="USD", **named)


def post(**changes: Any) -> models.Transaction:
    return posting.post(book="main", transaction=factories.NewTransactionFactory.build(**changes))


def entry(account_type: str, entry_type: str, amount_cents: int, **named: str) -> posting.NewEntry:
    made: posting.NewEntry = factories.NewEntryFactory.build(
        account_type=account_type,
        entry_type=entry_type,
        amount_cents=amount_cents,
        **named,
    )
    return made


class TestPost:
    def test_moves_both_balances(self) -> None:
        post(amount_cents=880)
        assert balance("accounts_receivable", tenant_id="acme-corp") == 880
        assert balance("usage_revenue") == 880

    def test_answers_the_row_as_it_is_stored(self) -> None:
        posted = post(metadata={"invoice": "42"})
        stored = models.Transaction.objects.get(pk=posted.pk)
        for column in models.Transaction._meta.concrete_fields:
            assert getattr(posted, column.attname) == getattr(stored, column.attname), column.name
        assert not posted._state.adding

    def test_writes_the_entries_as_given(self) -> None:
        posted = post(
            entries=[
                entry("accounts_receivable", "debit", 880),
                entry("discounts", "debit", 100),
                entry("usage_revenue", "credit", 900),
                entry("tax_payable", "credit", 80),
            ],
        )
        written = posted.entries.order_by("line_no").values_list(
            "account__code", "entry_type", "amount_cents", "line_no"
        )
        assert list(written) == [
            ("1100", "debit", 880, 1),
            ("4900", "debit", 100, 2),
            ("4000", "credit", 900, 3),
            ("2000", "credit", 80, 4),
        ]
        assert posted.amount_cents == 980
        assert posted.entry_count == 4

    def test_keeps_three_times(self) -> None:
        occurred_at = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        posted = post(occurred_at=occurred_at)
        assert posted.occurred_at == posted.effective_at == occurred_at
        assert posted.created_at > occurred_at
        assert set(posted.entries.values_list("effective_at", flat=True)) == {occurred_at}

    def test_numbers_the_entries_of_an_account_and_keeps_its_balance(self) -> None:
        for amount_cents in (100, 250, 50):
            post(amount_cents=amount_cents)
        post(debit="cash", credit="accounts_receivable", amount_cents=400)
        receivable = models.Account.objects.get(type="accounts_receivable")
        chain = receivable.entries.order_by("id").values_list("account_seq", "balance_after_cents")
        assert list(chain) == [(1, 100), (2, 350), (3, 400), (4, 0)]

    def test_takes_two_entries_on_one_account(self) -> None:
        post(entries=[entry("accounts_receivable", "debit", 60), entry("accounts_receivable", "credit", 60)])
        assert balance("accounts_receivable", tenant_id="acme-corp") == 0
        post(debit="cash", credit="accounts_receivable", amount_cents=5)
        assert balance("accounts_receivable", tenant_id="acme-corp") == -5

    def test_opens_each_account_once_with_the_floor_and_shards_of_the_chart(self) -> None:
        post(debit="processor_clearing", credit="prepaid_credit")
        post(debit="processor_clearing", credit="prepaid_credit")
        clearing = models.Account.objects.get(type="processor_clearing")
        prepaid = models.Account.objects.get(type="prepaid_credit")
        assert (clearing.channel, clearing.tenant_id, clearing.balances.count()) == ("stripe", "", 8)
        assert (prepaid.channel, prepaid.tenant_id, prepaid.balances.get().floor_cents) == ("", "acme-corp", 0)

    def test_keeps_currencies_apart(self) -> None:
        post(currency="JPY", amount_cents=7)
        post(currency="KWD", amount_cents=9)
        assert balances.tenant_balances(tenant_id="acme-corp") == {
            ("JPY", "accounts_receivable"): 7,
            ("KWD", "accounts_receivable"): 9,
        }

    def test_keeps_books_apart(self) -> None:
        books.open_book(code="acme-eu", name="Acme Europe")
        new = factories.NewTransactionFactory.build()
        first = posting.post(book="main", transaction=new)
        second = posting.post(book="acme-eu", transaction=new)
        assert first.pk != second.pk
        assert balance("usage_revenue") == 1000

    def test_lets_the_book_touch_many_tenants(self) -> None:
        post(
            tenant_id="",
            entries=[
                entry("deferred_revenue", "debit", 30, tenant_id="acme-corp"),
                entry("deferred_revenue", "debit", 70, tenant_id="globex"),
                entry("subscription_revenue", "credit", 100),
            ],
        )
        assert balance("deferred_revenue", tenant_id="globex") == -70

    @pytest.mark.parametrize(
        "text", ['quo"te', "back\\slash", "{brace},comma", "NULL", "", " ", "naïve — 円", "a\nb", "%s"]
    )
    def test_stores_any_text_as_it_is(self, text: str) -> None:
        posted = post(description=text, metadata={"key": text}, reference_id=text, idempotency_key=f"fact:{text}")
        stored = models.Transaction.objects.get(pk=posted.pk)
        assert (stored.description, stored.metadata, stored.reference_id) == (text, {"key": text}, text)
        assert stored.idempotency_key == f"fact:{text}"

    def test_takes_one_round_trip(self) -> None:
        with CaptureQueriesContext(connection) as captured:
            posting.post_many(book="main", transactions=factories.NewTransactionFactory.build_batch(50))
        assert len(captured) == 1


class TestReplay:
    def test_answers_the_first_transaction(self) -> None:
        first = post(idempotency_key="fact")
        again = post(idempotency_key="fact", description="reworded", metadata={"attempt": "2"})
        assert again == first
        assert again.description == first.description
        assert balance("usage_revenue") == 1000

    def test_takes_the_entries_in_any_order_and_the_time_in_any_zone(self) -> None:
        new = factories.NewTransactionFactory.build()
        first = posting.post(book="main", transaction=new)
        moved = msgspec.structs.replace(
            new,
            entries=list(reversed(new.entries)),
            occurred_at=new.occurred_at.astimezone(timezone(timedelta(hours=9))),
        )
        assert posting.post(book="main", transaction=moved) == first

    @pytest.mark.parametrize(
        "change",
        [
            {"amount_cents": 999},
            {"credit": "subscription_revenue"},
            {"debit": "cash"},
            {"currency": "EUR"},
            {"tenant_id": "globex"},
            {"kind": "invoice_voided"},
            {"occurred_at": datetime(2026, 11, 2, tzinfo=UTC)},
            {"reference_type": "payment"},
            {"reference_id": "inv_other"},
        ],
    )
    def test_with_other_facts_is_a_conflict(self, change: Change) -> None:
        post(idempotency_key="fact")
        with pytest.raises(errors.IdempotencyConflict, match="fact"), transaction.atomic():
            post(**{"idempotency_key": "fact", **change})
        assert models.Transaction.objects.count() == 1
        assert balance("usage_revenue") == 1000


class TestPostMany:
    def test_answers_in_the_order_given_whatever_the_order_of_the_keys(self) -> None:
        new = [factories.NewTransactionFactory.build(idempotency_key=key) for key in ("m", "z", "a", "k")]
        posted = posting.post_many(book="main", transactions=new)
        keys = models.Transaction.objects.in_bulk([row.transaction_id for row in posted])
        assert [keys[row.transaction_id].idempotency_key for row in posted] == ["m", "z", "a", "k"]
        assert posted == sorted(posted)

    def test_posts_nothing_of_nothing(self) -> None:
        assert posting.post_many(book="main", transactions=[]) == []

    def test_mixes_replays_with_new_facts(self) -> None:
        first = post(idempotency_key="b")
        new = [factories.NewTransactionFactory.build(idempotency_key=key) for key in ("a", "b", "c")]
        posted = posting.post_many(book="main", transactions=new)
        assert [row.is_replay for row in posted] == [False, True, False]
        assert posted[1].transaction_id == first.pk
        assert len({row.transaction_id for row in posted}) == 3
        assert balance("usage_revenue") == 3000

    def test_posts_a_fact_once_that_is_given_twice(self) -> None:
        new = factories.NewTransactionFactory.build()
        posted = posting.post_many(book="main", transactions=[new, factories.NewTransactionFactory.build(), new])
        assert posted[0].transaction_id == posted[2].transaction_id
        assert [row.is_replay for row in posted] == [False, False, True]
        assert models.Transaction.objects.count() == 2
        assert balance("usage_revenue") == 2000

    def test_refuses_one_key_for_two_facts(self) -> None:
        new = [factories.NewTransactionFactory.build(idempotency_key="fact", amount_cents=cents) for cents in (1, 2)]
        with pytest.raises(errors.IdempotencyConflict), transaction.atomic():
            posting.post_many(book="main", transactions=new)
        assert not models.Transaction.objects.exists()

    def test_posts_all_or_nothing(self) -> None:
        good = factories.NewTransactionFactory.build()
        spent = factories.NewTransactionFactory.build(debit="prepaid_credit", credit="accounts_receivable")
        with pytest.raises(errors.BelowFloor), transaction.atomic():
            posting.post_many(book="main", transactions=[good, spent])
        assert not models.Transaction.objects.exists()
        assert balance("usage_revenue") == 0

    def test_runs_each_balance_through_the_batch(self) -> None:
        posting.post_many(
            book="main",
            transactions=[factories.NewTransactionFactory.build(amount_cents=cents) for cents in (1, 2, 3)],
        )
        chain = models.Entry.objects.filter(account__type="accounts_receivable").order_by("id")
        assert list(chain.values_list("account_seq", "balance_after_cents")) == [(1, 1), (2, 3), (3, 6)]

    def test_takes_several_currencies_and_tenants(self) -> None:
        posting.post_many(
            book="main",
            transactions=[
                factories.NewTransactionFactory.build(currency=currency, tenant_id=tenant_id)
                for currency in ("USD", "EUR")
                for tenant_id in ("acme-corp", "globex")
            ],
        )
        assert balances.tenant_balances(tenant_id="globex") == {
            ("EUR", "accounts_receivable"): 1000,
            ("USD", "accounts_receivable"): 1000,
        }


class TestFloor:
    def test_lets_credit_be_spent_to_the_last_cent(self) -> None:
        post(debit="processor_clearing", credit="prepaid_credit", amount_cents=500)
        post(debit="prepaid_credit", credit="accounts_receivable", amount_cents=500)
        assert balance("prepaid_credit", tenant_id="acme-corp") == 0

    @pytest.mark.parametrize("account_type", ["prepaid_credit", "customer_credit"])
    def test_lets_no_cent_be_spent_that_is_not_there(self, account_type: str) -> None:
        post(debit="processor_clearing", credit=account_type, amount_cents=500)
        with pytest.raises(errors.BelowFloor), transaction.atomic():
            post(debit=account_type, credit="accounts_receivable", amount_cents=501)
        assert balance(account_type, tenant_id="acme-corp") == 500

    def test_holds_between_the_transactions_of_a_batch(self) -> None:
        spend = factories.NewTransactionFactory.build(debit="prepaid_credit", credit="accounts_receivable")
        top_up = factories.NewTransactionFactory.build(debit="processor_clearing", credit="prepaid_credit")
        with pytest.raises(errors.BelowFloor), transaction.atomic():
            posting.post_many(book="main", transactions=[spend, top_up])
        posting.post_many(book="main", transactions=[top_up, spend])
        assert balance("prepaid_credit", tenant_id="acme-corp") == 0


class TestRefusal:
    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"entries": [entry("cash", "debit", 1), entry("cash", "credit", 2)]}, errors.Unbalanced),
            ({"entries": [entry("cash", "debit", 1), entry("cash", "debit", 1)]}, errors.Unbalanced),
            ({"entries": [entry("cash", "debit", 1)]}, errors.TooFewEntries),
            ({"entries": []}, errors.TooFewEntries),
            ({"amount_cents": 0}, errors.AmountOutOfRange),
            ({"amount_cents": -5}, errors.AmountOutOfRange),
            ({"amount_cents": 10**15 + 1}, errors.AmountOutOfRange),
            ({"amount_cents": 1.0}, errors.AmountOutOfRange),
            ({"amount_cents": True}, errors.AmountOutOfRange),
            ({"currency": "usd"}, money.UnknownCurrency),
            ({"currency": "XXX"}, money.UnknownCurrency),
            ({"idempotency_key": ""}, errors.MalformedTransaction),
            ({"idempotency_key": "x" * 256}, errors.MalformedTransaction),
            ({"reference_id": "nul\x00"}, errors.MalformedTransaction),
            ({"description": "nul\x00"}, errors.MalformedTransaction),
            ({"kind": ""}, errors.MalformedTransaction),
            ({"occurred_at": datetime(2026, 11, 1)}, errors.MalformedTransaction),  # noqa: DTZ001  (the point)
            (
                {"entries": [entry("cash", "debit", 1), entry("cash", "both", 1)]},
                errors.MalformedTransaction,
            ),
            (
                {"entries": [entry("cash", "debit", 1, tenant_id="acme-corp"), entry("cash", "credit", 1)]},
                errors.WrongScope,
            ),
            (
                {"entries": [entry("cash", "debit", 1), entry("accounts_receivable", "credit", 1, tenant_id="")]},
                errors.WrongScope,
            ),
            (
                {"entries": [entry("cash", "debit", 1), entry("processor_clearing", "credit", 1, channel="")]},
                errors.WrongScope,
            ),
            (
                {"entries": [entry("cash", "debit", 1), entry("accounts_receivable", "credit", 1, tenant_id="globex")]},
                errors.TenantMismatch,
            ),
        ],
    )
    def test_names_what_is_wrong_and_posts_nothing(self, change: Change, error: type[Exception]) -> None:
        with CaptureQueriesContext(connection) as captured, pytest.raises(error):
            post(**change)
        assert len(captured) == 0
        assert not models.Transaction.objects.exists()

    def test_names_an_unknown_account_type(self) -> None:
        unknown = posting.NewEntry(account_type="petty_cash", entry_type="debit", amount_cents=1)
        with pytest.raises(errors.UnknownAccountType, match="petty_cash"):
            post(entries=[unknown, entry("cash", "credit", 1)])

    def test_names_an_unknown_book(self) -> None:
        with pytest.raises(errors.BookNotFound), transaction.atomic():
            posting.post(book="nowhere", transaction=factories.NewTransactionFactory.build())
        assert not models.Transaction.objects.exists()
