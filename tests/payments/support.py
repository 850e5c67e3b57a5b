"""What tests of payments ask of the books."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe as sdk
from django.test import Client

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


def sign(body: bytes, secret: str, *, seconds: int = 0) -> str:
    """A ``Stripe-Signature`` made ``seconds`` from now."""
    stamp = int(time.time()) + seconds
    return str(sdk.WebhookSignature.generate_signature_header(body.decode(), secret, stamp))


def events_of(stripe: launch.StandIn, *types: str) -> list[dict[str, Any]]:
    """The stand-in's events of these types, oldest first."""
    found = [event for event in stripe.get("/v1/events?limit=100")["data"] if not types or event["type"] in types]
    return found[::-1]


def deliver(event: Mapping[str, Any] | bytes, stripe: launch.StandIn, **headers: str) -> Any:
    """Send an event to the service as Stripe would; answers the response."""
    body = event if isinstance(event, bytes) else json.dumps(event, indent=2).encode()
    headers = {"Stripe-Signature": sign(body, stripe.webhook_secret), **headers}
    return Client(raise_request_exception=False).post(
        "/webhooks/stripe", body, content_type="application/json", headers=headers
    )
