"""
Attempts to charge an invoice, and the rule that no crash charges twice.

An attempt is committed with its idempotency key before the processor hears of it. Whoever finds one still pending asks
the processor for its charge first, and only where there is none repeats the call, word for word, under the same key. A
new number is given only after the last attempt is known to have ended.
"""

from datetime import datetime

from django.db.models import Max

from billing_site.kernel import money, outbox
from invoicing.models import Invoice
from marketplaces.channels import base, registry
from marketplaces.models import ChannelCustomer
from payments import recording
from payments.models import CHARGED, IN_FLIGHT, AttemptStatus, PaymentAttempt, PaymentMethod

_MESSAGE_LENGTH = 500
_CODE_LENGTH = 64


def open_attempt(
    *,
    invoice: Invoice,
    method: PaymentMethod,
    customer: ChannelCustomer,
    request_key: str,
    now: datetime,
) -> PaymentAttempt:
    """
    Write the next attempt of an invoice: everything the processor will be told, frozen.

    Units: charges ``invoice.amount_due_cents``. Requires an open transaction that holds the invoice's lock; the attempt
    counts only once that is committed.
    """
    last = PaymentAttempt.objects.filter(invoice=invoice).aggregate(last=Max("number"))["last"] or 0
    number = last + 1
    described = f"Invoice {invoice.number}: {money.format_cents(invoice.amount_due_cents, invoice.currency)}"
    return PaymentAttempt.objects.create(
        invoice=invoice,
        tenant_id=invoice.tenant_id,
        number=number,
        channel=method.channel,
        idempotency_key=f"payment:{invoice.pk}:{number}",
        amount_cents=invoice.amount_due_cents,
        currency=invoice.currency,
        payment_method=method,
        customer_external_id=customer.external_id,
        method_external_id=method.external_id,
        description=described,
        request_key=request_key,
        created_at=now,
    )


def find_in_flight(*, invoice_id: str) -> PaymentAttempt | None:
    """Return the attempt of an invoice that may still move money."""
    return PaymentAttempt.objects.filter(invoice_id=invoice_id, status__in=IN_FLIGHT).first()


def drive(attempt: PaymentAttempt, *, is_new: bool) -> base.ChargeOutcome:
    """
    Call the processor for a committed attempt and tell how the charge stands. Must not run inside a transaction.

    Idempotency: the attempt's key. One that is not new is looked up before it is sent again.
    """
    processor = registry.get_payment_processor(attempt.channel)
    request = as_request(attempt)
    if not is_new:
        found = _look_up(processor, attempt, request)
        if found is not None:
            return found
    return processor.charge(request)


def as_request(attempt: PaymentAttempt) -> base.ChargeRequest:
    """Return what the processor is told of an attempt: the same each time."""
    return base.ChargeRequest(
        idempotency_key=attempt.idempotency_key,
        attempt_id=attempt.pk,
        invoice_id=attempt.invoice_id,
        tenant_id=attempt.tenant_id,
        customer=base.ExternalCustomer(channel=attempt.channel, external_id=attempt.customer_external_id),
        payment_method=attempt.method_external_id,
        amount_cents=attempt.amount_cents,
        currency=attempt.currency,
        description=attempt.description,
    )


def apply_outcome(*, attempt_id: str, outcome: base.ChargeOutcome, now: datetime) -> PaymentAttempt:
    """
    Write down how a charge stands; a success records the payment.

    Idempotency: any order and repetition of outcomes ends in the same state. A success is final; a failure yields to a
    success that is told later, and an unknown outcome changes nothing. Locks: the invoice's collection, the invoice,
    the attempt. Requires an open transaction.
    """
    told = PaymentAttempt.objects.only("invoice_id", "tenant_id").get(pk=attempt_id)
    recording.lock_invoice(told.invoice_id, tenant_id=told.tenant_id)
    attempt = PaymentAttempt.objects.select_for_update(no_key=True).get(pk=attempt_id)
    if outcome.status == "unknown":
        return attempt
    if attempt.status in CHARGED:
        if outcome.status == "succeeded" and outcome.external_id != attempt.external_id:
            # The same attempt charged twice, which its key should have kept the processor from: the tenant's credit.
            recording.record_payment(receipt=_receipt(attempt, outcome), now=now)
        return attempt
    if outcome.status == "succeeded":
        return _succeed(attempt, outcome, now)
    if attempt.status not in IN_FLIGHT:
        return attempt
    if outcome.status == "processing":
        attempt.status = AttemptStatus.PROCESSING
        attempt.external_id = outcome.external_id
        attempt.save(update_fields=["status", "external_id"])
        return attempt
    return _fail(attempt, outcome, now)


def _look_up(
    processor: base.PaymentProcessor,
    attempt: PaymentAttempt,
    request: base.ChargeRequest,
) -> base.ChargeOutcome | None:
    if attempt.external_id:
        return processor.get_charge(attempt.external_id)
    return processor.find_charge(request)


def _succeed(attempt: PaymentAttempt, outcome: base.ChargeOutcome, now: datetime) -> PaymentAttempt:
    attempt.status = AttemptStatus.SUCCEEDED
    attempt.external_id = outcome.external_id
    attempt.failure_code = attempt.decline_code = attempt.message = ""
    attempt.is_retryable = False
    attempt.resolved_at = now
    attempt.save()
    recording.record_payment(receipt=_receipt(attempt, outcome), attempt=attempt, now=now)
    return attempt


def _receipt(attempt: PaymentAttempt, outcome: base.ChargeOutcome) -> recording.Receipt:
    return recording.Receipt(
        tenant_id=attempt.tenant_id,
        invoice_id=attempt.invoice_id,
        channel=attempt.channel,
        external_id=outcome.external_id,
        amount_cents=outcome.amount_cents,
        currency=outcome.currency,
        # The moment of the attempt and not of the news, so that the books say the same whichever way it came.
        received_at=attempt.created_at,
        reference=attempt.idempotency_key,
    )


def _fail(attempt: PaymentAttempt, outcome: base.ChargeOutcome, now: datetime) -> PaymentAttempt:
    requires_action = outcome.status == "requires_action"
    attempt.status = AttemptStatus.REQUIRES_ACTION if requires_action else AttemptStatus.FAILED
    attempt.external_id = outcome.external_id
    attempt.failure_code = outcome.code[:_CODE_LENGTH]
    attempt.decline_code = outcome.decline_code[:_CODE_LENGTH]
    attempt.message = outcome.message[:_MESSAGE_LENGTH]
    attempt.is_retryable = outcome.retryable
    attempt.resolved_at = now
    attempt.save()
    outbox.leave(
        topic="invoice.payment_failed",
        tenant_id=attempt.tenant_id,
        reference_id=attempt.invoice_id,
        payload={
            "invoice_id": attempt.invoice_id,
            "attempt_id": attempt.pk,
            "status": attempt.status,
            "failure_code": attempt.failure_code,
            "decline_code": attempt.decline_code,
        },
        now=now,
    )
    return attempt
