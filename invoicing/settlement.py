"""Settlement: money against an invoice. Whoever received it calls, in the transaction that posts it to the ledger."""

from datetime import datetime

from billing_site.kernel import outbox
from invoicing import errors, models
from invoicing.models.invoices import InvoiceStatus

_PAYABLE = (InvoiceStatus.OPEN, InvoiceStatus.UNCOLLECTIBLE)


def lock_invoice(*, invoice_id: str) -> models.Invoice:
    """
    The invoice, held until the transaction ends, so that what is due does not change while a receipt is split.

    Raises:
        InvoiceNotFound: there is none.
    """
    invoice = models.Invoice.objects.select_for_update(no_key=True).filter(pk=invoice_id).first()
    if invoice is None:
        raise errors.InvoiceNotFound(f"no invoice {invoice_id!r}")
    return invoice


def apply_payment(*, invoice_id: str, amount_cents: int, now: datetime) -> models.Invoice:
    """
    Count a payment towards an invoice; one on which nothing more is due is paid.

    Units: ``amount_cents`` is positive, in the invoice's currency, and at most what is due.
    Idempotency: none; the caller's payment row happens once.
    Locks: the invoice. Requires an open transaction.

    Raises:
        InvoiceNotFound: there is none.
        InvoiceNotPayable: it is a draft, paid or void; the current state is told.
        PaymentExceedsDue: the excess belongs to the customer's credit; what is due is told.
    """
    if amount_cents <= 0:
        raise ValueError(f"a payment of {amount_cents} is none")
    invoice = lock_invoice(invoice_id=invoice_id)
    if invoice.status not in _PAYABLE:
        raise errors.InvoiceNotPayable(
            f"the invoice {invoice.id} is {invoice.status} and takes no payment",
            extra={"invoice_status": invoice.status},
        )
    if amount_cents > invoice.amount_due_cents:
        raise errors.PaymentExceedsDue(
            f"{amount_cents} is more than the {invoice.amount_due_cents} due on {invoice.id}",
            extra={"amount_due_cents": invoice.amount_due_cents},
        )
    invoice.amount_paid_cents += amount_cents
    invoice.amount_due_cents -= amount_cents
    if invoice.amount_due_cents == 0:
        invoice.status = InvoiceStatus.PAID
        invoice.paid_at = now
        tell_paid(invoice, now=now)
    invoice.save(update_fields=["amount_paid_cents", "amount_due_cents", "status", "paid_at"])
    return invoice


def tell_paid(invoice: models.Invoice, *, now: datetime) -> None:
    """Leave the outbox row of an invoice on which nothing more is due."""
    outbox.leave(
        topic="invoice.paid",
        tenant_id=invoice.tenant_id,
        reference_id=invoice.id,
        payload={"invoice_id": invoice.id, "number": invoice.number, "total_cents": invoice.total_cents},
        now=now,
    )
