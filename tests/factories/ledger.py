"""Factories of the ledger. Nobody may insert its rows, so ``TransactionFactory`` posts them."""

from datetime import UTC, datetime
from typing import Any

import factory
from django.db import transaction

from ledger import chart, models, posting


class NewEntryFactory(factory.Factory[posting.NewEntry]):
    """A debit of 1,000 on acme-corp's receivable."""

    class Meta:
        model = posting.NewEntry

    account_type = "accounts_receivable"
    entry_type = "debit"
    amount_cents = 1000
    tenant_id = factory.LazyAttribute(
        lambda new: "acme-corp" if chart.ACCOUNT_TYPES[new.account_type].scope == "tenant" else "",
    )
    channel = factory.LazyAttribute(
        lambda new: "stripe" if chart.ACCOUNT_TYPES[new.account_type].scope == "channel" else "",
    )


class NewTransactionFactory(factory.Factory[posting.NewTransaction]):
    """``amount_cents`` from the account type ``credit`` to the account type ``debit``, for one tenant."""

    class Meta:
        model = posting.NewTransaction

    class Params:
        debit = "accounts_receivable"
        credit = "usage_revenue"
        amount_cents = 1000

    idempotency_key = factory.Sequence(lambda n: f"invoice:inv_{n}:finalized")
    kind = "invoice_finalized"
    tenant_id = "acme-corp"
    currency = "USD"
    occurred_at = datetime(2026, 11, 1, tzinfo=UTC)
    entries = factory.LazyAttribute(
        lambda new: [
            _entry(new.debit, "debit", new.amount_cents, new.tenant_id),
            _entry(new.credit, "credit", new.amount_cents, new.tenant_id),
        ],
    )
    reference_type = "invoice"
    reference_id = "inv_1"
    description = "Invoice finalized"


class TransactionFactory(NewTransactionFactory):
    """The same, posted into the book ``main``."""

    class Meta:
        model = posting.NewTransaction

    @classmethod
    def _create(cls, model_class: type[posting.NewTransaction], *args: Any, **kwargs: Any) -> models.Transaction:
        book = kwargs.pop("book", models.DEFAULT_BOOK)
        with transaction.atomic():
            return posting.post(book=book, transaction=model_class(*args, **kwargs))


def _entry(account_type: str, entry_type: chart.EntryType, amount_cents: int, tenant_id: str) -> posting.NewEntry:
    scope = chart.ACCOUNT_TYPES[account_type].scope
    return posting.NewEntry(
        account_type=account_type,
        entry_type=entry_type,
        amount_cents=amount_cents,
        tenant_id=tenant_id if scope == "tenant" else "",
        channel="stripe" if scope == "channel" else "",
    )
