"""What tests of payments ask of the books."""

from datetime import UTC, datetime, timedelta

from billing_site.kernel.models import OutboxMessage
from invoicing.models import Invoice
from ledger import balances
from ledger.models import Transaction
from payments.models import Collection, CollectionStatus, Payment, PaymentAttempt
from tests.stand_ins.stripe import launch

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
# After the claim of a worker that died has run out.
LATER = NOW + timedelta(minutes=10)


def balance(account_type: str, *, tenant_id: str = "", channel: str = "", currency: str = "USD") -> int:
    """An account's balance in the book ``main``."""
    return balances.balance_cents(
        book="main",
        account_type=account_type,
        currency=currency,
        tenant_id=tenant_id,
        channel=channel,
    )


def receivable(invoice: Invoice) -> int:
    return balance("accounts_receivable", tenant_id=invoice.tenant_id, currency=invoice.currency)


def clearing(currency: str = "USD") -> int:
    return balance("processor_clearing", channel="stripe", currency=currency)


def received() -> list[Transaction]:
    """The ledger's transactions of money that came."""
    return list(Transaction.objects.filter(kind="payment_received"))


def status_of(invoice: Invoice) -> str:
    return Invoice.objects.get(pk=invoice.pk).status


def collecting(invoice: Invoice) -> Collection:
    return Collection.objects.get(invoice=invoice)


def attempts_of(invoice: Invoice) -> list[tuple[int, str]]:
    """Numbers and states of an invoice's attempts, first to last."""
    return list(PaymentAttempt.objects.filter(invoice=invoice).order_by("number").values_list("number", "status"))


def assert_paid_once(invoice: Invoice, stripe: launch.StandIn) -> None:
    """One charge, one payment, one posting, whatever was tried."""
    assert status_of(invoice) == "paid"
    assert [intent["amount"] for intent in stripe.charged()] == [invoice.total_cents]
    assert Payment.objects.filter(invoice=invoice).count() == 1
    assert len(received()) == 1
    assert (receivable(invoice), clearing()) == (0, invoice.total_cents)
    assert OutboxMessage.objects.filter(topic="invoice.paid", reference_id=invoice.pk).count() == 1
    assert collecting(invoice).status == CollectionStatus.SETTLED
