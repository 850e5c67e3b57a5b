"""
Collecting open invoices through their tenants' channels.

``collect_payments`` is the sweep: it enrols invoices that have become collectable, then works the due ones off. Each is
claimed, its attempt committed, the processor called while no lock is held, and the outcome written while the claim
still holds. ``pay_invoice`` does the same for one invoice now.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from billing_site.kernel import database, retry
from invoicing.models import Invoice
from invoicing.models.invoices import InvoiceStatus
from marketplaces import onboarding
from marketplaces.channels import base, registry, stripe
from payments import attempts, errors, recording
from payments.models import (
    AttemptStatus,
    Collection,
    CollectionStatus,
    MethodStatus,
    PaymentAttempt,
    PaymentMethod,
)

# An unknown outcome is asked for again soon and then hourly, for about two days; then a person looks.
POLICY: Final = retry.RetryPolicy(initial=timedelta(seconds=10), factor=2, maximum=timedelta(hours=1), attempts=56)
# Longer than the slowest call: three tries of 23 s, their pauses, and as much again for looking up.
HOLD: Final = timedelta(minutes=5)
PROCESSING_RECHECK: Final = timedelta(hours=1)
RATE_LIMIT_WAIT: Final = timedelta(seconds=30)
BATCH: Final = 1000
# A sweep ends while the claims it makes, all as of its start, are still far from running out.
SWEEP_SECONDS: Final = 150.0
# So many unanswered calls in a row mean that the processor is down; the rest of the sweep can wait for the next.
UNANSWERED_IN_A_ROW: Final = 3
_WAIT_FOR_A_METHOD: Final = (
    CollectionStatus.AWAITING_METHOD,
    CollectionStatus.DECLINED,
    CollectionStatus.REQUIRES_ACTION,
)
_REFUSED: Final = (AttemptStatus.FAILED, AttemptStatus.REQUIRES_ACTION)


@dataclass(kw_only=True)
class CollectionReport:
    """
    What one sweep did.

    ``unresolved`` are charges whose outcome is not known yet and will be asked for; ``due`` is what is left to do,
    because the sweep's time was over, the processor does not answer, or there is no key for it.
    """

    enrolled: int = 0
    worked: int = 0
    paid: int = 0
    declined: int = 0
    requires_action: int = 0
    processing: int = 0
    unresolved: int = 0
    awaiting_method: int = 0
    due: int = 0
    quarantined: int = 0
    needs_person: bool = False


@dataclass(frozen=True)
class _Begun:
    """An attempt to drive, and whether the processor cannot have heard of it yet."""

    attempt: PaymentAttempt
    is_new: bool


def collect_payments(*, now: datetime, progress: Callable[[int], None] = lambda _done: None) -> CollectionReport:
    """
    Collect the invoices that are due to be. Safe to run twice, and beside itself.

    An invoice of a channel that charges is due as soon as it is open. Owns its transactions; none is open during calls.
    """
    report = CollectionReport(enrolled=enrol(now=now))
    ends = time.monotonic() + SWEEP_SECONDS
    unanswered = 0
    is_on = registry.is_configured(stripe.CODE)
    while is_on and unanswered < UNANSWERED_IN_A_ROW and time.monotonic() < ends:
        claimed = retry.claim_due(Collection.objects.all(), now=now, limit=1, hold=HOLD, policy=POLICY)
        if not claimed:
            break
        state = _work(claimed[0], request_key="", now=now)
        report.worked += 1
        unanswered = unanswered + 1 if state == CollectionStatus.DUE else 0
        _count(report, state)
        progress(report.worked)
    report.due = Collection.objects.filter(next_attempt_at__lte=now, quarantined_at=None).count()
    report.quarantined = Collection.objects.filter(quarantined_at__isnull=False).count()
    report.needs_person = report.quarantined > 0 or (report.due > 0 and not is_on)
    return report


def enrol(*, now: datetime) -> int:
    """Make a due row for each open invoice that has none and whose channel charges; answers how many."""
    enrolled = 0
    while True:
        found = list(
            Invoice.objects.filter(
                status=InvoiceStatus.OPEN,
                collection=None,
                tenant__billing_channel__in=registry.CHARGING_CHANNELS,
            )
            .order_by("due_at", "id")
            .only("id", "tenant_id")[:BATCH],
        )
        Collection.objects.bulk_create([_new(invoice, now) for invoice in found], ignore_conflicts=True)
        enrolled += len(found)
        if len(found) < BATCH:
            return enrolled


def pay_invoice(*, invoice: Invoice, request_key: str, now: datetime) -> PaymentAttempt:
    """
    Collect one invoice now; answers the attempt as it then stands.

    Idempotency: the attempt keeps ``request_key``; the same key answers that attempt, after finding out what became of
    it where that is not known yet. Owns its transactions; none is open during the call.

    Raises:
        errors.InvoiceNotOpen: there is nothing to collect on it.
        errors.ChannelDoesNotCharge, errors.NoPaymentMethod: there is nothing to charge.
        errors.PaymentInProgress: somebody is at it.
    """
    attempt = find_attempt(request_key=request_key)
    if attempt is not None and attempt.status != AttemptStatus.PENDING:
        return attempt
    if attempt is None:
        _require_collectable(invoice)
    collection = _claim_now(invoice, now=now)
    _work(collection, request_key=request_key, now=now)
    return _last_attempt(invoice, request_key=request_key)


def find_attempt(*, request_key: str) -> PaymentAttempt | None:
    """Return the attempt that a request made earlier."""
    if not request_key:
        return None
    return PaymentAttempt.objects.filter(request_key=request_key).first()


def wake(*, tenant_id: str, now: datetime) -> int:
    """
    Make the tenant's collections due that wait for another payment method; answers how many.

    Locks: the tenant's unsettled collections, in id order, before it looks what they wait for: one that is put to rest
    at this moment for want of a method would be overlooked. Requires an open transaction.
    """
    unsettled = Collection.objects.filter(tenant_id=tenant_id).exclude(status=CollectionStatus.SETTLED)
    locked = [row.pk for row in unsettled.order_by("pk").select_for_update().only("pk")]
    return Collection.objects.filter(pk__in=locked, status__in=_WAIT_FOR_A_METHOD).update(
        status=CollectionStatus.DUE,
        next_attempt_at=now,
        attempts=0,
        updated_at=now,
    )


def find_default_method(*, tenant_id: str, channel: str) -> PaymentMethod | None:
    """Return the payment method that the tenant's invoices are charged to."""
    return PaymentMethod.objects.filter(
        tenant_id=tenant_id,
        channel=channel,
        status=MethodStatus.ACTIVE,
        is_default=True,
    ).first()


def _work(collection: Collection, *, request_key: str, now: datetime) -> str:
    """Carry one claimed collection as far as it goes; answers its state."""
    try:
        begun = _begin(collection, request_key=request_key, now=now)
        if begun is None:
            return Collection.objects.values_list("status", flat=True).get(pk=collection.pk)
        outcome = attempts.drive(begun.attempt, is_new=begun.is_new)
        return _end(collection, begun.attempt, outcome, now)
    except retry.ClaimLost:
        # Whoever took the row over drives the same attempt under the same key.
        return Collection.objects.values_list("status", flat=True).get(pk=collection.pk)


def _begin(collection: Collection, *, request_key: str, now: datetime) -> _Begun | None:
    """Commit the attempt to drive: the one in flight, else a new one. None: there is nothing to charge now."""
    with retry.holding(collection) as held:
        invoice = recording.lock_invoice(held.invoice_id, tenant_id=held.tenant_id)
        in_flight = attempts.find_in_flight(invoice_id=invoice.pk)
        if in_flight is not None:
            return _Begun(in_flight, is_new=False)
        if invoice.status != InvoiceStatus.OPEN:
            _rest(held, CollectionStatus.SETTLED, now)
            return None
        channel = invoice.tenant.billing_channel
        method = find_default_method(tenant_id=invoice.tenant_id, channel=channel)
        customer = onboarding.find_customer(tenant_id=invoice.tenant_id, channel=channel)
        if method is None or customer is None:
            _rest(held, CollectionStatus.AWAITING_METHOD, now)
            return None
        attempt = attempts.open_attempt(
            invoice=invoice,
            method=method,
            customer=customer,
            request_key=request_key,
            now=now,
        )
        return _Begun(attempt, is_new=True)


def _end(collection: Collection, attempt: PaymentAttempt, outcome: base.ChargeOutcome, now: datetime) -> str:
    """Write the outcome while the claim holds, and say when to look again."""
    if outcome.status == "unknown" and outcome.code != "rate_limited":
        retry.release(collection, now=now, policy=POLICY, error=_reason(outcome))
        return CollectionStatus.DUE

    def write() -> str:
        with retry.holding(collection) as held:
            if outcome.status == "unknown":
                _wait_for_the_rate(held, outcome, now)
                return CollectionStatus.DUE
            attempts.apply_outcome(attempt_id=attempt.pk, outcome=outcome, now=now)
            return _follow(held, now)

    # The money has moved: what a deadlock undoes here is written again at once, and not by some later sweep.
    return database.retrying(write)


def follow_attempt(*, attempt: PaymentAttempt, now: datetime) -> None:
    """
    Bring a collection to where its attempts are, after one was resolved by other means than its claim.

    A worker that died after its call leaves the row due; without this the next sweep would charge once more what was
    just declined. Requires an open transaction that holds the locks of ``recording.lock_invoice``.
    """
    held = Collection.objects.select_for_update().filter(invoice_id=attempt.invoice_id).first()
    if held is not None and attempts.find_in_flight(invoice_id=attempt.invoice_id) is None:
        token = held.claim_token
        _follow(held, now)
        # The claim stays whose it is: its holder comes to the same end, and must not be told that it lost the row.
        Collection.objects.filter(pk=held.pk).update(claim_token=token)


def _follow(held: Collection, now: datetime) -> str:
    """Put the row where the invoice's last attempt leaves it."""
    last = PaymentAttempt.objects.filter(invoice_id=held.invoice_id).order_by("number").last()
    invoice = Invoice.objects.only("status").get(pk=held.invoice_id)
    if invoice.status != InvoiceStatus.OPEN:
        _rest(held, CollectionStatus.SETTLED, now)
    elif last is None:
        _rest(held, CollectionStatus.DUE, now, again=now)
    elif last.status == AttemptStatus.PROCESSING:
        _rest(held, CollectionStatus.PROCESSING, now, again=now + PROCESSING_RECHECK)
    elif last.status in _REFUSED and _has_another_method(last):
        # It came while the charge ran, or before the news of it; what woke the row then must not be undone.
        _rest(held, CollectionStatus.DUE, now, again=now)
    elif last.status == AttemptStatus.REQUIRES_ACTION:
        _rest(held, CollectionStatus.REQUIRES_ACTION, now)
    elif last.status == AttemptStatus.SUCCEEDED:
        # Never a reason to charge again by itself: the money came, and something else is wrong.
        _rest(held, CollectionStatus.DECLINED, now)
        held.quarantined_at = now
        held.last_error = f"{last.pk} charged the amount due, and the invoice is still open"
        held.save(update_fields=["quarantined_at", "last_error"])
    else:
        _rest(held, CollectionStatus.DECLINED, now)
    return held.status


def _has_another_method(refused: PaymentAttempt) -> bool:
    """Whether the tenant is charged by another method since."""
    method = find_default_method(tenant_id=refused.tenant_id, channel=refused.channel)
    return method is not None and method.pk != refused.payment_method_id


def _rest(held: Collection, status: CollectionStatus, now: datetime, *, again: datetime | None = None) -> None:
    """Let the claim go with nothing due, or due ``again``; the next attempt has all its tries before it."""
    held.settle()
    held.status = status
    held.next_attempt_at = again
    held.attempts = 0
    held.updated_at = now
    held.save()


def _wait_for_the_rate(held: Collection, outcome: base.ChargeOutcome, now: datetime) -> None:
    """Come back later without having used up a try: the processor was not even asked."""
    held.settle()
    held.attempts = max(held.attempts - 1, 0)
    held.next_attempt_at = now + (outcome.retry_after or RATE_LIMIT_WAIT)
    held.last_error = _reason(outcome)
    held.updated_at = now
    held.save()


def _require_collectable(invoice: Invoice) -> None:
    if invoice.status != InvoiceStatus.OPEN:
        raise errors.InvoiceNotOpen(
            f"invoice {invoice.pk} is {invoice.status}",
            extra={"invoice_id": invoice.pk, "invoice_status": invoice.status},
        )
    channel = invoice.tenant.billing_channel
    if channel not in registry.CHARGING_CHANNELS:
        raise errors.ChannelDoesNotCharge(f"tenant {invoice.tenant_id!r} is billed through {channel!r}")
    if find_default_method(tenant_id=invoice.tenant_id, channel=channel) is None:
        raise errors.NoPaymentMethod(f"tenant {invoice.tenant_id!r} has no payment method to charge")
    registry.get_payment_processor(channel)


def _claim_now(invoice: Invoice, *, now: datetime) -> Collection:
    """Claim the collection of one invoice, made if need be, even if it waits or was quarantined."""
    Collection.objects.bulk_create([_new(invoice, now)], ignore_conflicts=True)
    rows = Collection.objects.filter(invoice=invoice)
    rows.update(next_attempt_at=now, quarantined_at=None, attempts=0)
    claimed = retry.claim_due(rows, now=now, limit=1, hold=HOLD, policy=POLICY)
    if not claimed:
        raise errors.PaymentInProgress(
            f"invoice {invoice.pk} is being collected at this moment",
            extra={"invoice_id": invoice.pk, "invoice_status": invoice.status},
        )
    return claimed[0]


def _last_attempt(invoice: Invoice, *, request_key: str) -> PaymentAttempt:
    """Return what came of the claim: the request's own attempt, else the one it found in flight."""
    made = find_attempt(request_key=request_key) if request_key else None
    attempt = made or PaymentAttempt.objects.filter(invoice=invoice).order_by("number").last()
    if attempt is None:
        invoice.refresh_from_db(fields=["status"])
        raise errors.InvoiceNotOpen(
            f"invoice {invoice.pk} is {invoice.status}",
            extra={"invoice_id": invoice.pk, "invoice_status": invoice.status},
        )
    return attempt


def _new(invoice: Invoice, now: datetime) -> Collection:
    return Collection(
        invoice_id=invoice.pk,
        tenant_id=invoice.tenant_id,
        next_attempt_at=now,
        created_at=now,
        updated_at=now,
    )


def _reason(outcome: base.ChargeOutcome) -> str:
    return f"{outcome.code}: {outcome.message}" if outcome.message else outcome.code


def _count(report: CollectionReport, state: str) -> None:
    counted = {
        CollectionStatus.SETTLED: "paid",
        CollectionStatus.DECLINED: "declined",
        CollectionStatus.REQUIRES_ACTION: "requires_action",
        CollectionStatus.PROCESSING: "processing",
        CollectionStatus.DUE: "unresolved",
        CollectionStatus.AWAITING_METHOD: "awaiting_method",
    }[CollectionStatus(state)]
    setattr(report, counted, getattr(report, counted) + 1)
