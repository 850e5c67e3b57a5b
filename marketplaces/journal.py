"""
From a marketplace's money to ledger entries. Pure: what happened goes in, the transaction to post comes out.

Usage that a marketplace accepted is revenue, in the cents that we rated, gross; what the marketplace keeps is a cost.
Its statement (the invoice that it makes) posts nothing. Amounts are whole minor units.
"""

from datetime import datetime

from invoicing.journal import entries
from ledger import posting


def usage_accepted(
    *,
    usage_record_id: str,
    tenant_id: str,
    channel: str,
    currency: str,
    amount_cents: int,
    accepted_at: datetime,
) -> posting.NewTransaction:
    """
    A marketplace accepted a usage record: it will collect for us what the record was rated at.

    Units: ``amount_cents`` is positive.
    Idempotency: ``usage_record:<id>:accepted``.
    """
    entries.require_positive(amount_cents=amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"usage_record:{usage_record_id}:accepted",
        kind="marketplace_usage_accepted",
        tenant_id=tenant_id,
        currency=currency,
        occurred_at=accepted_at,
        entries=entries.of(
            {"marketplace_receivable": amount_cents, "usage_revenue": -amount_cents},
            tenant_id=tenant_id,
            channel=channel,
        ),
        reference_type="usage_record",
        reference_id=usage_record_id,
        description=f"Usage record {usage_record_id} accepted by {channel}",
    )


def disbursement_received(
    *,
    disbursement_id: str,
    channel: str,
    currency: str,
    gross_cents: int,
    fee_cents: int,
    received_at: datetime,
) -> posting.NewTransaction:
    """
    A marketplace paid what it collected, less its fee; for many tenants at once, so the transaction is the book's.

    Units: ``gross_cents`` is what its customers were charged, positive; ``fee_cents`` is not negative and at most that.
    Idempotency: ``disbursement:<id>:received``.

    Raises:
        ValueError: an amount is out of these bounds.
    """
    entries.require_positive(gross_cents=gross_cents)
    entries.require_not_negative(fee_cents=fee_cents, net_cents=gross_cents - fee_cents)
    amounts = {
        "cash": gross_cents - fee_cents,
        "marketplace_fees": fee_cents,
        "marketplace_receivable": -gross_cents,
    }
    return posting.NewTransaction(
        idempotency_key=f"disbursement:{disbursement_id}:received",
        kind="marketplace_disbursement_received",
        tenant_id="",
        currency=currency,
        occurred_at=received_at,
        entries=entries.of(amounts, channel=channel),
        reference_type="disbursement",
        reference_id=disbursement_id,
        description=f"Disbursement {disbursement_id} of {channel}",
    )
