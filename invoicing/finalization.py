"""
Finalization: a draft whose grace is over becomes a document and a fact in the books, in one transaction.

The invoice is locked, its usage read a last time, the ledger transaction posted, the number taken (last, so that others
wait for it shortest), the invoice frozen, and the outbox told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from django.db.models import QuerySet

from billing_site.kernel import outbox
from invoicing import (
    drafting,
    errors,
    journal,
    late_usage,
    metered_usage,
    models,
    numbering,
    periods,
    recognition,
    settlement,
    sweeps,
)
from invoicing.models.invoices import InvoiceStatus
from ledger import posting

Step = Literal["finalized", "waiting"]


@dataclass(frozen=True, kw_only=True)
class FinalizationReport:
    """
    What a sweep did: invoices finalized, and drafts waiting for usage that is stored but not yet summarised.

    ``needs_person``: something failed, and will fail again until somebody looks.
    """

    finalized: int
    waiting: int
    failed: int
    failures: Sequence[sweeps.Failure]
    needs_person: bool


def finalize_invoices(*, now: datetime, progress: sweeps.Progress = sweeps.silently) -> FinalizationReport:
    """
    Finalize every draft whose grace is over.

    Idempotency: safe to run twice and beside itself. Opens a transaction per invoice.
    Locks: one invoice at a time, with the balances it touches; what another sweep holds is left to it.
    """
    failures: list[sweeps.Failure] = []
    due = list(
        models.Invoice.objects.filter(status=InvoiceStatus.DRAFT, finalizes_at__lte=now)
        .order_by("finalizes_at", "id")
        .values_list("id", flat=True)
    )
    steps: list[Step | None] = []
    for done, invoice_id in enumerate(due, start=1):
        steps.append(sweeps.attempt(invoice_id, partial(_finalize_if_due, invoice_id, now), failures))
        progress(done, len(due))
    return FinalizationReport(
        finalized=steps.count("finalized"),
        waiting=steps.count("waiting"),
        failed=len(failures),
        failures=failures,
        needs_person=bool(failures),
    )


def finalize_invoice(*, invoice_id: str, now: datetime) -> models.Invoice:
    """
    Finalize one draft now, before its grace is over if need be.

    Locks: the invoice, then the balances it touches, then its number series. Requires an open transaction.

    Raises:
        InvoiceNotFound: there is none.
        InvoiceNotDraft: it is finalized already; the current state is told.
        UsagePending: usage of its period is stored and not yet summarised.
    """
    invoice = _drafts().select_for_update(of=("self",), no_key=True).filter(pk=invoice_id).first()
    if invoice is None:
        raise errors.InvoiceNotFound(f"no invoice {invoice_id!r}")
    if invoice.status != InvoiceStatus.DRAFT:
        raise errors.InvoiceNotDraft(
            f"the invoice {invoice.id} is {invoice.status}, not a draft",
            extra={"invoice_status": invoice.status, "number": invoice.number},
        )
    if _awaits_usage(invoice):
        raise errors.UsagePending(
            f"usage of the period of {invoice.id} is still being summarised; ask again in a moment"
        )
    return _finalize(invoice, now)


def _finalize_if_due(invoice_id: str, now: datetime) -> Step | None:
    invoice = (
        _drafts()
        .select_for_update(of=("self",), skip_locked=True, no_key=True)
        .filter(pk=invoice_id, status=InvoiceStatus.DRAFT, finalizes_at__lte=now)
        .first()
    )
    if invoice is None:
        return None
    if _awaits_usage(invoice):
        return "waiting"
    _finalize(invoice, now)
    return "finalized"


def _drafts() -> QuerySet[models.Invoice]:
    drafts = models.Invoice.objects.select_related("tenant", "subscription__plan_version")
    return drafts.prefetch_related("subscription__plan_version__prices")


def _awaits_usage(invoice: models.Invoice) -> bool:
    """Whether events of its period are stored that no summary counts yet. Read before the totals, never after."""
    period = periods.Period(invoice.period_start, invoice.period_end)
    return (
        invoice.bills_usage
        and invoice.subscription is not None
        and metered_usage.awaits_summary(subscription=invoice.subscription, period=period)
    )


def _finalize(invoice: models.Invoice, now: datetime) -> models.Invoice:
    """Requires the lock on the draft."""
    totals = metered_usage.of_invoice(invoice)
    drafting.recompute(invoice, totals)
    late_usage.record_billed(invoice=invoice, totals=totals)
    lines = list(invoice.lines.all())
    fact = journal.invoice_finalized(invoice=invoice, lines=lines, finalized_at=now)
    if fact is not None:
        posting.post(book=invoice.book, transaction=fact)
    recognition.open_schedules(invoice=invoice, lines=lines, now=now)
    invoice.number = numbering.next_number(book=invoice.book, kind=numbering.INVOICE, at=now)
    invoice.finalized_at = now
    invoice.due_at = now + timedelta(days=invoice.tenant.net_terms_days)
    # With nothing due there is nothing to wait for.
    invoice.status = InvoiceStatus.OPEN if invoice.amount_due_cents else InvoiceStatus.PAID
    invoice.paid_at = None if invoice.amount_due_cents else now
    invoice.save(update_fields=["number", "finalized_at", "due_at", "status", "paid_at"])
    outbox.leave(
        topic="invoice.finalized",
        tenant_id=invoice.tenant_id,
        reference_id=invoice.id,
        payload={"invoice_id": invoice.id, "number": invoice.number, "total_cents": invoice.total_cents},
        now=now,
    )
    if invoice.status == InvoiceStatus.PAID:
        settlement.tell_paid(invoice, now=now)
    return invoice
