"""From money received to ledger entries. Pure: what happened goes in, the transaction to post comes out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ledger import chart, posting

MANUAL: Final = "manual"


@dataclass(frozen=True, kw_only=True)
class Split:
    """
    Where the money of one payment belongs: on the invoice, with the tenant as credit, or nowhere yet.

    Units: minor units of the payment's currency; none is negative, together they are the payment.
    """

    applied_cents: int = 0
    credited_cents: int = 0
    unapplied_cents: int = 0

    @property
    def amount_cents(self) -> int:
        """The whole payment."""
        return self.applied_cents + self.credited_cents + self.unapplied_cents


def payment_received(
    *,
    payment_id: str,
    external_id: str,
    tenant_id: str,
    channel: str,
    currency: str,
    split: Split,
    received_at: datetime,
) -> posting.NewTransaction:
    """
    A payment: cash for a bank transfer, the processor's clearing account for a charge, against what it settles.

    Idempotency: the key names the charge, or the payment where no processor named one:
    ``payment:<id>:received``.
    """
    by_transfer = channel == MANUAL
    debit = posting.NewEntry(
        account_type="cash" if by_transfer else "processor_clearing",
        entry_type=chart.DEBIT,
        amount_cents=split.amount_cents,
        channel="" if by_transfer else channel,
    )
    credits_ = [
        ("accounts_receivable", tenant_id, split.applied_cents),
        ("customer_credit", tenant_id, split.credited_cents),
        ("unapplied_receipts", "", split.unapplied_cents),
    ]
    return posting.NewTransaction(
        idempotency_key=f"payment:{external_id or payment_id}:received",
        kind="payment_received",
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=received_at,
        entries=[
            debit,
            *(
                posting.NewEntry(account_type=account, entry_type=chart.CREDIT, amount_cents=cents, tenant_id=owner)
                for account, owner, cents in credits_
                if cents
            ),
        ],
        reference_type="payment",
        reference_id=payment_id,
        description=f"Payment {payment_id} received",
    )
