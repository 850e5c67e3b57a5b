"""Payments that came: by card or by transfer, for an invoice, for prepaid credit, or for nothing that is known."""

from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final

from invoicing.journal import entries
from ledger import posting

MANUAL: Final = "manual"


@dataclass(frozen=True, kw_only=True)
class Split:
    """
    Where the money of one payment belongs: on the invoice, with the tenant as credit, or nowhere yet.

    ``recovered_cents`` is for an invoice that was written off, ``topped_up_cents`` buys prepaid credit: its tax arises
    with the usage, so all of it is credit. Units: minor units of the payment's currency; none is negative, together
    they are the payment.
    """

    applied_cents: int = 0
    recovered_cents: int = 0
    topped_up_cents: int = 0
    credited_cents: int = 0
    unapplied_cents: int = 0

    @property
    def amount_cents(self) -> int:
        """The whole payment."""
        return sum(astuple(self))


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
    entries.require_not_negative(least_cents=min(astuple(split)))
    entries.require_positive(amount_cents=split.amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"payment:{external_id or payment_id}:received",
        kind="payment_received",
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=received_at,
        entries=entries.of(
            {
                money_account(channel): split.amount_cents,
                "accounts_receivable": -split.applied_cents,
                "bad_debt": -split.recovered_cents,
                "prepaid_credit": -split.topped_up_cents,
                "customer_credit": -split.credited_cents,
                "unapplied_receipts": -split.unapplied_cents,
            },
            tenant_id=tenant_id,
            channel=channel,
        ),
        reference_type="payment",
        reference_id=payment_id,
        description=f"Payment {payment_id} received",
    )


def money_account(channel: str) -> str:
    """Where a channel's money is: at the bank, or with a processor that has yet to pay it out."""
    return "cash" if channel == MANUAL else "processor_clearing"
