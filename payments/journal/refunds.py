"""
Refunds: money that goes back.

With a credit note, which made it the tenant's credit before: asked, then settled or failed; it may fail even after it
was settled, when the bank sends it back. Without one, made at the processor: the invoice is owed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from invoicing.journal import entries
from ledger import posting
from payments.journal import receipts


@dataclass(frozen=True, kw_only=True)
class Refund:
    """
    A refund of a payment that came through a channel.

    Units: ``amount_cents`` is positive, in the minor unit of ``currency``.
    """

    id: str
    tenant_id: str
    channel: str
    currency: str
    amount_cents: int


def refund_asked(*, refund: Refund, asked_at: datetime) -> posting.NewTransaction:
    """
    The tenant's credit waits to go out; it stops at zero, so that no credit is paid out and used as well.

    Idempotency: ``refund:<id>:asked``.
    """
    amounts = {"customer_credit": refund.amount_cents, "refunds_pending": -refund.amount_cents}
    return _transaction(refund, "asked", asked_at, amounts)


def refund_settled(*, refund: Refund, settled_at: datetime) -> posting.NewTransaction:
    """
    It went out of the processor's clearing account, or of the bank.

    Idempotency: ``refund:<id>:settled``.
    """
    amounts = {"refunds_pending": refund.amount_cents, receipts.money_account(refund.channel): -refund.amount_cents}
    return _transaction(refund, "settled", settled_at, amounts)


def refund_failed_before_settling(*, refund: Refund, failed_at: datetime) -> posting.NewTransaction:
    """
    It never went out; the tenant has the credit again.

    Idempotency: ``refund:<id>:failed``, one key for both ways to fail, since a refund fails once.
    """
    amounts = {"refunds_pending": refund.amount_cents, "customer_credit": -refund.amount_cents}
    return _transaction(refund, "failed", failed_at, amounts)


def refund_failed_after_settling(*, refund: Refund, failed_at: datetime) -> posting.NewTransaction:
    """
    It went out and came back; the tenant has the credit again.

    Idempotency: ``refund:<id>:failed``, one key for both ways to fail, since a refund fails once.
    """
    amounts = {receipts.money_account(refund.channel): refund.amount_cents, "customer_credit": -refund.amount_cents}
    return _transaction(refund, "failed", failed_at, amounts)


def invoice_refunded(*, refund: Refund, invoice_id: str, settled_at: datetime) -> posting.NewTransaction:
    """
    A refund that no credit note explains, made at the processor: what it paid is due again.

    Idempotency: ``refund:<id>:settled``, as for one that was asked for: a refund goes out once.
    """
    amounts = {"accounts_receivable": refund.amount_cents, receipts.money_account(refund.channel): -refund.amount_cents}
    return _transaction(refund, "settled", settled_at, amounts, description=f"of invoice {invoice_id}, due again")


def _transaction(
    refund: Refund, step: str, occurred_at: datetime, amounts: Mapping[str, int], *, description: str = ""
) -> posting.NewTransaction:
    entries.require_positive(amount_cents=refund.amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"refund:{refund.id}:{step}",
        kind=f"refund_{step}",
        tenant_id=refund.tenant_id,
        currency=refund.currency,
        occurred_at=occurred_at,
        entries=entries.of(amounts, tenant_id=refund.tenant_id, channel=refund.channel),
        reference_type="refund",
        reference_id=refund.id,
        description=f"Refund {refund.id} {step} {description}".rstrip(),
    )
