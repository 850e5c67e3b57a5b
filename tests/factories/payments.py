"""Factories of payments' rows, and the shortest way to an invoice that can be charged."""

import json
from datetime import UTC, datetime
from typing import Any

import factory

from invoicing.models import Invoice, Tenant
from payments import models, payment_methods
from payments.models import AttemptStatus, MethodStatus
from tests.factories import invoicing

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


class PaymentMethodFactory(factory.django.DjangoModelFactory[models.PaymentMethod]):
    """A tenant's default card; only in our books, not in any stand-in's."""

    class Meta:
        model = models.PaymentMethod

    tenant = factory.SubFactory(invoicing.TenantFactory, billing_channel="stripe")
    channel = "stripe"
    status = MethodStatus.ACTIVE
    offered_id = "pm_card_visa"
    external_id = factory.Sequence(lambda n: f"pm_{n:024d}")
    kind = "card"
    brand = "visa"
    last4 = "4242"
    is_default = True
    created_at = NOVEMBER
    saved_at = NOVEMBER


class CollectionFactory(factory.django.DjangoModelFactory[models.Collection]):
    """An invoice that is due to be collected."""

    class Meta:
        model = models.Collection

    invoice = factory.LazyFunction(lambda: invoicing.make_open_invoice(billing_channel="stripe"))
    tenant = factory.SelfAttribute("invoice.tenant")
    next_attempt_at = NOVEMBER
    created_at = NOVEMBER
    updated_at = NOVEMBER


class PaymentAttemptFactory(factory.django.DjangoModelFactory[models.PaymentAttempt]):
    """The first attempt of an invoice, its outcome unknown."""

    class Meta:
        model = models.PaymentAttempt

    invoice = factory.LazyFunction(lambda: invoicing.make_open_invoice(billing_channel="stripe"))
    tenant = factory.SelfAttribute("invoice.tenant")
    number = 1
    channel = "stripe"
    status = AttemptStatus.PENDING
    idempotency_key = factory.LazyAttribute(lambda attempt: f"payment:{attempt.invoice.pk}:{attempt.number}")
    amount_cents = factory.SelfAttribute("invoice.amount_due_cents")
    currency = factory.SelfAttribute("invoice.currency")
    payment_method = factory.SubFactory(PaymentMethodFactory, tenant=factory.SelfAttribute("..tenant"))
    customer_external_id = "cus_00000000000000"
    method_external_id = factory.SelfAttribute("payment_method.external_id")
    description = "An invoice"
    created_at = NOVEMBER


class PaymentFactory(factory.django.DjangoModelFactory[models.Payment]):
    """A bank transfer of ten dollars that nobody has placed; not in the ledger."""

    class Meta:
        model = models.Payment

    tenant = factory.SubFactory(invoicing.TenantFactory)
    channel = "manual"
    amount_cents = 1000
    applied_cents = 0
    credited_cents = 0
    unapplied_cents = factory.SelfAttribute("amount_cents")
    currency = "USD"
    reference = factory.Sequence(lambda n: f"transfer {n}")
    received_at = NOVEMBER
    created_at = NOVEMBER


class AllocationFactory(factory.django.DjangoModelFactory[models.Allocation]):
    """A payment of ten dollars against an invoice."""

    class Meta:
        model = models.Allocation

    payment = factory.SubFactory(PaymentFactory, applied_cents=1000, unapplied_cents=0)
    invoice = factory.LazyAttribute(lambda _: invoicing.make_open_invoice())
    amount_cents = factory.SelfAttribute("payment.applied_cents")
    created_at = NOVEMBER


class ProviderMessageFactory(factory.django.DjangoModelFactory[models.ProviderMessage]):
    """An event of Stripe's, to be worked off."""

    class Meta:
        model = models.ProviderMessage

    provider = "stripe"
    event_id = factory.Sequence(lambda n: f"evt_{n:024d}")
    event_type = "payment_intent.succeeded"
    object_id = "pi_none"
    body = factory.LazyAttribute(lambda message: json.dumps({"id": message.event_id, "type": message.event_type}))
    received_at = NOVEMBER
    next_attempt_at = factory.SelfAttribute("received_at")


def save_card(tenant: Tenant, card: str = "pm_card_visa", **offer: Any) -> models.PaymentMethod:
    """The tenant's card, saved through the stand-in that the settings name."""
    new = payment_methods.Offer(tenant_id=tenant.pk, external_id=card, **offer)
    return payment_methods.save_payment_method(offer=new, now=NOVEMBER)


def make_chargeable_invoice(
    *,
    card: str = "pm_card_visa",
    amount_cents: int = 1000,
    now: datetime = NOVEMBER,
    **tenant: Any,
) -> Invoice:
    """An open invoice of a tenant of its own, whose card the stand-in has."""
    invoice = invoicing.make_open_invoice(amount_cents=amount_cents, now=now, billing_channel="stripe", **tenant)
    save_card(invoice.tenant, card)
    return invoice
