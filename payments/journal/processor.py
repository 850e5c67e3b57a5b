"""What a processor takes for its work, and what it pays out of its clearing account."""

from datetime import datetime

from invoicing.journal import entries
from ledger import posting


def processor_fee_charged(
    *,
    balance_transaction_id: str,
    tenant_id: str,
    channel: str,
    currency: str,
    fee_cents: int,
    charged_at: datetime,
) -> posting.NewTransaction:
    """
    The processor kept its fee for a charge.

    Units: ``fee_cents`` is positive, in the currency that the processor settles in.
    Idempotency: ``processor_fee:<balance transaction>``.
    """
    entries.require_positive(fee_cents=fee_cents)
    return posting.NewTransaction(
        idempotency_key=f"processor_fee:{balance_transaction_id}",
        kind="processor_fee_charged",
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=charged_at,
        entries=entries.of({"processor_fees": fee_cents, "processor_clearing": -fee_cents}, channel=channel),
        reference_type="balance_transaction",
        reference_id=balance_transaction_id,
        description=f"Fee of {channel} for {balance_transaction_id}",
    )


def payout_paid(
    *, payout_id: str, channel: str, currency: str, amount_cents: int, paid_at: datetime
) -> posting.NewTransaction:
    """
    The processor paid out to the bank; it is nobody's in particular, so the transaction is the book's.

    Units: ``amount_cents`` is not zero; negative where the processor drew from the bank what it is owed.
    Idempotency: ``payout:<id>:paid``.
    """
    entries.require_positive(moved_cents=abs(amount_cents))
    return posting.NewTransaction(
        idempotency_key=f"payout:{payout_id}:paid",
        kind="payout_paid",
        tenant_id="",
        currency=currency,
        occurred_at=paid_at,
        entries=entries.of({"cash": amount_cents, "processor_clearing": -amount_cents}, channel=channel),
        reference_type="payout",
        reference_id=payout_id,
        description=f"Payout {payout_id} of {channel}",
    )
