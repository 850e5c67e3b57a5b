"""
Recording money that came: once, whoever tells of it first.

The processor's synchronous answer, its webhook and a bank transfer all end here. The payment, its ledger transaction
and the invoice's new state are one database transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from billing_site.kernel.errors import FieldError
from invoicing import errors as invoicing_errors
from invoicing import settlement
from invoicing.models import Invoice, Tenant
from invoicing.models.invoices import InvoiceStatus
from ledger import posting
from payments import errors, journal
from payments.models import Allocation, Collection, CollectionStatus, Payment, PaymentAttempt

# A transfer for these has somewhere to go: what is due, and the tenant's credit for the rest.
_TAKE_A_TRANSFER: Final = (InvoiceStatus.OPEN, InvoiceStatus.PAID, InvoiceStatus.VOID)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """
    Money that came.

    Units: ``amount_cents`` is positive, in the minor unit of ``currency``. ``external_id`` is the processor's charge,
    by which the same money is known again; a bank transfer has none.
    """

    tenant_id: str
    channel: str
    amount_cents: int
    currency: str
    received_at: datetime
    invoice_id: str | None = None
    external_id: str = ""
    reference: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def record_payment(*, receipt: Receipt, now: datetime, attempt: PaymentAttempt | None = None) -> Payment:
    """
    Record a payment, post it and settle its invoice as far as it reaches.

    What is over the amount due is credited to the tenant; without an invoice, or in another currency than its, the
    money waits unapplied. Idempotency: the same ``external_id`` of a channel answers the first payment. Locks: the
    invoice's collection, the invoice, then the ledger's balances. Requires an open transaction.

    Raises:
        invoicing.errors.InvoiceNotFound: no such invoice of this tenant.
    """
    invoice = lock_invoice(receipt.invoice_id, tenant_id=receipt.tenant_id) if receipt.invoice_id else None
    known = find_payment(channel=receipt.channel, external_id=receipt.external_id)
    if known is not None:
        return known
    split = _split(receipt, invoice)
    payment = Payment.objects.create(
        tenant_id=receipt.tenant_id,
        invoice=invoice,
        attempt=attempt,
        channel=receipt.channel,
        external_id=receipt.external_id,
        amount_cents=receipt.amount_cents,
        applied_cents=split.applied_cents,
        credited_cents=split.credited_cents,
        unapplied_cents=split.unapplied_cents,
        currency=receipt.currency,
        reference=receipt.reference,
        metadata=dict(receipt.metadata),
        received_at=receipt.received_at,
        created_at=now,
    )
    _post(payment, split)
    if invoice is not None and split.applied_cents:
        _settle(payment, invoice, split.applied_cents, now)
    return payment


def record_transfer(*, receipt: Receipt, now: datetime) -> Payment:
    """
    Record a bank transfer that a person or a bank's file tells of; otherwise as ``record_payment``.

    Raises:
        invoicing.errors.TenantNotFound, invoicing.errors.InvoiceNotFound: what their names say.
        errors.CurrencyMismatch: the invoice is in another currency.
        errors.InvoiceTakesNoPayment: the invoice is a draft or was given up.
    """
    if not Tenant.objects.filter(pk=receipt.tenant_id).exists():
        detail = f"no tenant {receipt.tenant_id!r}"
        raise invoicing_errors.TenantNotFound(detail, errors=[FieldError("/tenant_id", "tenant_not_found", detail)])
    if receipt.invoice_id:
        invoice = _lock_named_invoice(receipt.invoice_id, receipt.tenant_id)
        if invoice.currency != receipt.currency:
            detail = f"the payment is in {receipt.currency}, invoice {invoice.pk} in {invoice.currency}"
            raise errors.CurrencyMismatch(detail, errors=[FieldError("/currency", "currency_mismatch", detail)])
        if invoice.status not in _TAKE_A_TRANSFER:
            raise errors.InvoiceTakesNoPayment(
                f"invoice {invoice.pk} is {invoice.status}",
                extra={"invoice_id": invoice.pk, "invoice_status": invoice.status},
            )
    return record_payment(receipt=receipt, now=now)


def lock_invoice(invoice_id: str, *, tenant_id: str) -> Invoice:
    """
    Lock what a payment of an invoice changes: its collection first, then the invoice. Requires an open transaction.

    Every way into a payment takes these locks in this order, so that none waits for another in a circle.

    Raises:
        invoicing.errors.InvoiceNotFound: no such invoice of this tenant.
    """
    Collection.objects.select_for_update().filter(invoice_id=invoice_id).first()
    invoice = settlement.lock_invoice(invoice_id=invoice_id)
    if invoice.tenant_id != tenant_id:
        raise invoicing_errors.InvoiceNotFound(f"tenant {tenant_id!r} has no invoice {invoice_id!r}")
    return invoice


def _lock_named_invoice(invoice_id: str, tenant_id: str) -> Invoice:
    """The same for an invoice that a body names."""
    try:
        return lock_invoice(invoice_id, tenant_id=tenant_id)
    except invoicing_errors.InvoiceNotFound as error:
        fault = FieldError("/invoice_id", error.code, error.detail)
        raise invoicing_errors.InvoiceNotFound(error.detail, errors=[fault]) from error


def find_payment(*, channel: str, external_id: str) -> Payment | None:
    """Return the payment that was recorded for a processor's charge."""
    if not external_id:
        return None
    return Payment.objects.filter(channel=channel, external_id=external_id).first()


def _split(receipt: Receipt, invoice: Invoice | None) -> journal.Split:
    """Decide where the money belongs."""
    if invoice is None or invoice.currency != receipt.currency:
        return journal.Split(unapplied_cents=receipt.amount_cents)
    due = invoice.amount_due_cents if invoice.status == InvoiceStatus.OPEN else 0
    applied = min(due, receipt.amount_cents)
    return journal.Split(applied_cents=applied, credited_cents=receipt.amount_cents - applied)


def _post(payment: Payment, split: journal.Split) -> None:
    book = payment.invoice.book if payment.invoice is not None else payment.tenant.book
    new = journal.payment_received(
        payment_id=payment.pk,
        external_id=payment.external_id,
        tenant_id=payment.tenant_id,
        channel=payment.channel,
        currency=payment.currency,
        split=split,
        received_at=payment.received_at,
    )
    posting.post(book=book, transaction=new)


def _settle(payment: Payment, invoice: Invoice, applied_cents: int, now: datetime) -> None:
    """Bring the invoice and its collection to where the payment puts them."""
    Allocation.objects.create(payment=payment, invoice=invoice, amount_cents=applied_cents, created_at=now)
    settled = settlement.apply_payment(invoice_id=invoice.pk, amount_cents=applied_cents, now=now)
    if settled.status != InvoiceStatus.PAID:
        return
    # Not through the claim: whoever holds the row finds it settled and has nothing left to do.
    Collection.objects.filter(invoice_id=invoice.pk).update(
        status=CollectionStatus.SETTLED,
        next_attempt_at=None,
        quarantined_at=None,
        updated_at=now,
    )
