"""Factories of invoicing's rows, and the shortest ways through its use cases to the rows that triggers guard."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import factory
from django.db import transaction

from invoicing import catalog, drafting, finalization, models, subscriptions
from invoicing.models.invoices import InvoiceStatus, LineKind
from invoicing.models.subscriptions import SubscriptionStatus

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)

PER_CALL: Mapping[str, object] = {"meter": "api_call", "model": "per_unit", "unit_amount_cents": "1"}


class TenantFactory(factory.django.DjangoModelFactory[models.Tenant]):
    """A tenant in UTC that pays in dollars, by hand."""

    class Meta:
        model = models.Tenant

    id = factory.Sequence(lambda n: f"tenant-{n}")
    name = factory.Faker("company")
    email = factory.LazyAttribute(lambda tenant: f"billing@{tenant.id}.example")
    currency = "USD"
    created_at = NOVEMBER
    updated_at = factory.SelfAttribute("created_at")


class PlanFactory(factory.django.DjangoModelFactory[models.Plan]):
    """A plan's code."""

    class Meta:
        model = models.Plan

    code = factory.Sequence(lambda n: f"plan-{n}")
    created_at = NOVEMBER


class PlanVersionFactory(factory.django.DjangoModelFactory[models.PlanVersion]):
    """A monthly plan without prices; ``make_plan`` makes one with prices."""

    class Meta:
        model = models.PlanVersion

    plan = factory.SubFactory(PlanFactory)
    version = 1
    name = "Standard"
    currency = "USD"
    interval = "month"
    billing_anchor = "start"
    price_count = 0
    created_at = NOVEMBER


class PriceFactory(factory.django.DjangoModelFactory[models.Price]):
    """A cent for each call, the only price of its plan."""

    class Meta:
        model = models.Price

    plan_version = factory.SubFactory(PlanVersionFactory, price_count=1)
    position = 0
    meter = "api_call"
    model = "per_unit"
    definition = factory.LazyFunction(lambda: {"unit_amount_cents": "1"})


class SubscriptionFactory(factory.django.DjangoModelFactory[models.Subscription]):
    """A tenant on a plan since November."""

    class Meta:
        model = models.Subscription

    plan_version = factory.SubFactory(PlanVersionFactory)
    tenant = factory.SubFactory(TenantFactory, currency=factory.SelfAttribute("..plan_version.currency"))
    currency = factory.SelfAttribute("plan_version.currency")
    status = SubscriptionStatus.ACTIVE
    starts_at = NOVEMBER
    time_zone = "UTC"
    next_boundary_at = factory.SelfAttribute("starts_at")
    created_at = NOVEMBER


class InvoiceFactory(factory.django.DjangoModelFactory[models.Invoice]):
    """An empty draft for November."""

    class Meta:
        model = models.Invoice

    subscription = factory.SubFactory(SubscriptionFactory)
    tenant = factory.SelfAttribute("subscription.tenant")
    book = "main"
    currency = factory.SelfAttribute("subscription.currency")
    status = InvoiceStatus.DRAFT
    boundary_at = DECEMBER
    period_start = NOVEMBER
    period_end = DECEMBER
    finalizes_at = datetime(2026, 12, 3, tzinfo=UTC)
    created_at = DECEMBER


class LineItemFactory(factory.django.DjangoModelFactory[models.LineItem]):
    """A line of ten dollars."""

    class Meta:
        model = models.LineItem

    invoice = factory.SubFactory(InvoiceFactory)
    position = 0
    kind = LineKind.ONE_OFF
    description = "Work"
    quantity = 1
    unrounded_amount_cents = factory.LazyAttribute(lambda line: str(line.amount_cents))
    amount_cents = 1000
    period_start = NOVEMBER
    period_end = DECEMBER


class RecognitionScheduleFactory(factory.django.DjangoModelFactory[models.RecognitionSchedule]):
    """Ten dollars to be earned in November; what was deferred for it is not in the ledger."""

    class Meta:
        model = models.RecognitionSchedule

    line = factory.SubFactory(LineItemFactory)
    invoice = factory.SelfAttribute("line.invoice")
    tenant = factory.SelfAttribute("invoice.tenant")
    book = "main"
    currency = factory.SelfAttribute("invoice.currency")
    time_zone = "UTC"
    starts_on = NOVEMBER.date()
    ends_on = DECEMBER.date()
    due_from_on = factory.SelfAttribute("starts_on")
    amount_cents = 1000
    created_at = NOVEMBER


class NumberSeriesFactory(factory.django.DjangoModelFactory[models.NumberSeries]):
    """A series that has given one number."""

    class Meta:
        model = models.NumberSeries

    book = "main"
    year = 2026
    kind = "invoice"
    last_number = 1


def make_plan(
    *prices: Mapping[str, object], code: str = "", now: datetime = NOVEMBER, **terms: Any
) -> models.PlanVersion:
    """A monthly dollar plan with these prices, through the catalogue."""
    said = {"name": "Standard", "currency": "USD", "interval": "month", **terms}
    with transaction.atomic():
        return catalog.create_plan(
            code=code or PlanFactory.build().code, terms=catalog.PlanTerms(**said, prices=prices), now=now
        )


def subscribe(
    tenant: models.Tenant, plan: models.PlanVersion, *, starts_at: datetime = NOVEMBER, now: datetime | None = None
) -> models.Subscription:
    """The tenant on the plan, through the use case; made when it starts, unless ``now`` says otherwise."""
    with transaction.atomic():
        return subscriptions.create_subscription(
            tenant_id=tenant.id, plan_code=plan.plan_id, starts_at=starts_at, metadata={}, now=now or starts_at
        )


def make_draft(*, amount_cents: int = 1000, now: datetime = NOVEMBER, **tenant: Any) -> models.Invoice:
    """A draft over a fee in advance, of a tenant of its own."""
    customer = TenantFactory.create(**tenant)
    plan = make_plan(base_fee_cents=amount_cents, currency=customer.currency)
    subscription = subscribe(customer, plan, starts_at=now)
    with transaction.atomic():
        drafting.draft_next_boundary(subscription_id=subscription.id, now=now)
    return models.Invoice.objects.get(subscription=subscription)


def make_open_invoice(*, amount_cents: int = 1000, now: datetime = NOVEMBER, **tenant: Any) -> models.Invoice:
    """A finalized, unpaid invoice over a fee in advance, in the books, of a tenant of its own."""
    draft = make_draft(amount_cents=amount_cents, now=now, **tenant)
    with transaction.atomic():
        return finalization.finalize_invoice(invoice_id=draft.id, now=now)
