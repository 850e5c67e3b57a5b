"""
Drafting: at each boundary of a subscription one draft invoice, kept true to the usage until it is finalized.

A due subscription (``next_boundary_at``) is locked, the usage of the ended period is read in one statement, the draft
is written, and the due row moves to the next boundary, all in one READ COMMITTED transaction per boundary. The UNIQUE
key (subscription, boundary, revision) decides every race.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Literal

from billing_site.kernel import outbox
from invoicing import errors, late_usage, lines, metered_usage, models, sweeps
from invoicing.models.invoices import InvoiceStatus
from invoicing.models.subscriptions import BILLED_STATUSES
from invoicing.pricing import exact
from metering import usage

DEFAULT_GRACE_HOURS: Final = 48
Step = Literal["drafted", "passed"]
ChangeStep = Literal["refreshed", "late", "same"]


@dataclass(frozen=True, kw_only=True)
class GenerationReport:
    """
    What a sweep did: drafts made, drafts whose lines changed, boundaries passed because there was nothing to bill,
    finalized invoices whose late usage changed.

    ``needs_person``: something failed, and will fail again until somebody looks.
    """

    drafted: int
    refreshed: int
    passed: int
    late: int
    failed: int
    failures: Sequence[sweeps.Failure]
    needs_person: bool


def generate_invoices(*, now: datetime, progress: sweeps.Progress = sweeps.silently) -> GenerationReport:
    """
    Draft every boundary that is due, missed ones too, and follow the usage that changed since the last sweep: drafts
    are refreshed, finalized invoices count it as late.

    Idempotency: safe to run twice and beside itself. Opens a transaction per boundary and per invoice.
    Locks: one subscription, or one invoice, at a time; what another sweep holds is left to it.
    """
    failures: list[sweeps.Failure] = []
    due = _list_due_subscriptions(now)
    # Noticed first: what is drafted below is as fresh as it can be.
    late_usage.notice_changed_usage(now=now)
    changed = late_usage.list_changed()
    steps: Counter[Step] = Counter()
    followed: Counter[ChangeStep | None] = Counter()
    for done, subscription_id in enumerate(due, start=1):
        steps.update(_draft_due_boundaries(subscription_id, now=now, failures=failures))
        progress(done, len(due) + len(changed))
    for done, invoice_id in enumerate(changed, start=len(due) + 1):
        followed[sweeps.attempt(invoice_id, partial(follow_usage, invoice_id=invoice_id, now=now), failures)] += 1
        progress(done, len(due) + len(changed))
    return GenerationReport(
        drafted=steps["drafted"],
        refreshed=followed["refreshed"],
        passed=steps["passed"],
        late=followed["late"],
        failed=len(failures),
        failures=failures,
        needs_person=bool(failures),
    )


def draft_next_boundary(*, subscription_id: str, now: datetime) -> Step | None:
    """
    Draft the subscription's next boundary if it is due, and move on to the one after.

    None: nothing is due, or another sweep holds the subscription. ``passed``: there was nothing to bill.
    Idempotency: by the UNIQUE key of subscription, boundary and revision.
    Locks: the subscription. Requires an open transaction.
    """
    subscription = (
        models.Subscription.objects.select_related("plan_version", "tenant")
        .prefetch_related("plan_version__prices")
        .select_for_update(of=("self",), skip_locked=True, no_key=True)
        .filter(pk=subscription_id, next_boundary_at__lte=now, status__in=BILLED_STATUSES)
        .first()
    )
    if subscription is None or subscription.next_boundary_at is None:
        return None
    boundary_at = subscription.next_boundary_at
    totals = metered_usage.of_period(
        tenant_id=subscription.tenant_id,
        prices=list(subscription.plan_version.prices.all()),
        period=subscription.schedule.period_ending(boundary_at),
    )
    composed = _compose(subscription, boundary_at, totals)
    if composed:
        _store_draft(subscription, boundary_at, composed, now)
    subscription.next_boundary_at = subscription.schedule.next_after(boundary_at)
    subscription.save(update_fields=["next_boundary_at"])
    metered_usage.split_hours(
        tenant_id=subscription.tenant_id, boundaries=[boundary_at, subscription.next_boundary_at], now=now
    )
    return "drafted" if composed else "passed"


def follow_usage(*, invoice_id: str, now: datetime) -> ChangeStep | None:
    """
    Bring an invoice up to the usage known now: a draft's lines, or what a finalized one counts as late.

    None: another holds it, and its due row stays. Locks: the invoice. Requires an open transaction.
    """
    invoice = (
        models.Invoice.objects.select_related("subscription__plan_version")
        .prefetch_related("subscription__plan_version__prices")
        .select_for_update(of=("self",), skip_locked=True, no_key=True)
        .filter(pk=invoice_id)
        .first()
    )
    if invoice is None:
        return None
    late_usage.take_change(invoice)
    match invoice.status:
        case InvoiceStatus.DRAFT:
            return "refreshed" if recompute(invoice) else "same"
        case InvoiceStatus.VOID:
            return "same"
        case _:
            return "late" if late_usage.count_late_usage(invoice=invoice, now=now) else "same"


def recompute(invoice: models.Invoice, totals: Mapping[str, usage.UsageTotal] | None = None) -> bool:
    """
    Write a draft's lines and totals anew from the usage known now, or as read by the caller; whether anything changed.

    Requires the caller's lock on the invoice. Lines keep their ids.
    """
    if invoice.subscription is None or invoice.boundary_at is None:
        return False
    read = metered_usage.of_invoice(invoice) if totals is None else totals
    return _write_lines(invoice, _compose(invoice.subscription, invoice.boundary_at, read))


def grace_ends_at(*, subscription: models.Subscription, boundary_at: datetime) -> datetime:
    """
    When the draft of a boundary is finalized: the tenant's grace, else the plan's, else 48 hours after the boundary.

    For boundaries before the subscription was made, after its making: a back-dated one has its grace too.
    """
    hours = DEFAULT_GRACE_HOURS
    for own in (subscription.tenant.grace_hours, subscription.plan_version.grace_hours):
        if own is not None:
            hours = own
            break
    return max(boundary_at, subscription.created_at) + timedelta(hours=hours)


def _list_due_subscriptions(now: datetime) -> list[str]:
    due = models.Subscription.objects.filter(next_boundary_at__lte=now, status__in=BILLED_STATUSES)
    return list(due.order_by("next_boundary_at", "id").values_list("id", flat=True))


def _draft_due_boundaries(subscription_id: str, *, now: datetime, failures: list[sweeps.Failure]) -> Iterator[Step]:
    """Catch a subscription up, boundary by boundary, each committed for itself."""
    while True:
        work = partial(draft_next_boundary, subscription_id=subscription_id, now=now)
        step: Step | None = sweeps.attempt(subscription_id, work, failures)
        if step is None:
            return
        yield step


def _compose(
    subscription: models.Subscription, boundary_at: datetime, totals: Mapping[str, usage.UsageTotal]
) -> list[lines.Line]:
    return lines.compose(
        plan_version=subscription.plan_version,
        prices=list(subscription.plan_version.prices.all()),
        schedule=subscription.schedule,
        boundary_at=boundary_at,
        quantities=metered_usage.quantities(totals),
    )


def _store_draft(
    subscription: models.Subscription, boundary_at: datetime, composed: Sequence[lines.Line], now: datetime
) -> models.Invoice:
    schedule = subscription.schedule
    period = schedule.period_ending(boundary_at) or schedule.period_beginning(boundary_at)
    invoice = models.Invoice.objects.create(
        book=subscription.tenant.book,
        tenant=subscription.tenant,
        subscription=subscription,
        currency=subscription.currency,
        boundary_at=boundary_at,
        period_start=period.starts_at,
        period_end=period.ends_at,
        finalizes_at=grace_ends_at(subscription=subscription, boundary_at=boundary_at),
        created_at=now,
        **_totals(composed),
    )
    models.LineItem.objects.bulk_create(
        models.LineItem(invoice=invoice, position=position, **_stored(line)) for position, line in enumerate(composed)
    )
    # A window that changes while this is not committed yet is noticed by nobody; the next sweep looks once more.
    late_usage.leave_change(invoice=invoice, now=now)
    outbox.leave(
        topic="invoice.created",
        tenant_id=invoice.tenant_id,
        reference_id=invoice.id,
        payload={"invoice_id": invoice.id, "subscription_id": subscription.id},
        now=now,
    )
    return invoice


def _write_lines(invoice: models.Invoice, composed: Sequence[lines.Line]) -> bool:
    """Bring the stored lines to the composed ones, place by place, touching only what differs."""
    stored = {line.position: line for line in invoice.lines.all()}
    missing, changed = [], []
    for position, line in enumerate(composed):
        fields = _stored(line)
        known = stored.pop(position, None)
        if known is None:
            missing.append(models.LineItem(invoice=invoice, position=position, **fields))
        elif any(getattr(known, name) != value for name, value in fields.items()):
            for name, value in fields.items():
                setattr(known, name, value)
            changed.append(known)
    if not missing and not changed and not stored:
        return False
    models.LineItem.objects.filter(pk__in=[line.pk for line in stored.values()]).delete()
    if changed:
        models.LineItem.objects.bulk_update(changed, list(_stored(composed[0])))
    models.LineItem.objects.bulk_create(missing)
    for name, value in _totals(composed).items():
        setattr(invoice, name, value)
    invoice.save(update_fields=list(_totals(composed)))
    return True


def _totals(composed: Sequence[lines.Line]) -> dict[str, int]:
    """The invoice's totals; nothing is discounted, taxed or paid while it is a draft."""
    subtotal = sum(line.amount_cents for line in composed)
    if subtotal > lines.MAXIMUM_CENTS:
        raise errors.AmountTooLarge(f"the lines add up to {subtotal} in minor units, more than can be billed")
    return {"subtotal_cents": subtotal, "total_cents": subtotal, "amount_due_cents": subtotal}


def _stored(line: lines.Line) -> dict[str, Any]:
    """A composed line as the fields of its row."""
    return {
        "kind": line.kind,
        "meter": line.meter,
        "price_id": line.price_id,
        "description": line.description,
        "quantity": Decimal(exact.decimal_text(line.quantity)),
        "unit_amount_cents": line.unit_amount_cents,
        "unrounded_amount_cents": exact.exact_text(line.unrounded_amount_cents),
        "amount_cents": line.amount_cents,
        "tiers": list(line.tiers),
        "calculation": line.calculation,
        "period_start": line.period.starts_at,
        "period_end": line.period.ends_at,
    }
