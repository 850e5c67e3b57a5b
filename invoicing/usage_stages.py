"""What invoices billed of a tenant's usage, for the floor below that lays the stages of usage side by side."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Prefetch

from billing_site.kernel import usage_stages
from invoicing import late_usage, lines, models
from invoicing.models.invoices import InvoiceStatus


def list_billed_meters(
    tenant_id: str, period_from: datetime, period_to: datetime
) -> Iterator[usage_stages.BilledMeter]:
    """Each meter on each invoice, drafts too, whose period touches the time; voided invoices bill nothing."""
    invoices = (
        models.Invoice.objects.filter(
            tenant_id=tenant_id,
            subscription__isnull=False,
            boundary_at=F("period_end"),
            period_start__lt=period_to,
            period_end__gt=period_from,
        )
        .exclude(status=InvoiceStatus.VOID)
        .select_related("subscription__plan_version")
        .prefetch_related("late_usage", Prefetch("billed_usage", models.BilledUsage.objects.order_by("meter")))
        .order_by("period_start", "id")
    )
    for invoice in invoices:
        yield from _of_draft(invoice) if invoice.status == InvoiceStatus.DRAFT else _of_billed(invoice)


def _of_draft(invoice: models.Invoice) -> Iterator[usage_stages.BilledMeter]:
    if invoice.subscription is None:
        return
    quantities = {line.meter: line.quantity for line in invoice.lines.all() if line.meter}
    for meter in lines.meters(list(invoice.subscription.plan_version.prices.all())):
        yield usage_stages.BilledMeter(
            meter=meter,
            period_start=invoice.period_start,
            period_end=invoice.period_end,
            reference=str(invoice),
            billed_at=None,
            quantity=quantities.get(meter, Decimal(0)),
            event_count=None,
            late_quantity=Decimal(0),
            late_event_count=None,
        )


def _of_billed(invoice: models.Invoice) -> Iterator[usage_stages.BilledMeter]:
    for one in late_usage.list_late_usage(invoice):
        yield usage_stages.BilledMeter(
            meter=one.meter,
            period_start=invoice.period_start,
            period_end=invoice.period_end,
            reference=str(invoice),
            billed_at=invoice.finalized_at,
            quantity=one.billed_quantity,
            event_count=one.billed_event_count,
            late_quantity=one.late_quantity,
            late_event_count=one.late_event_count,
        )
