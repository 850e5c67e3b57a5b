"""
Disputes, by the processor's balance transactions: each that withdraws or reinstates money is a fact of its own.

An inquiry moves nothing and has no entries. The invoice stays as it is: what was paid was paid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from invoicing.journal import entries
from ledger import posting


@dataclass(frozen=True, kw_only=True)
class Dispute:
    """
    A payment that its payer disputes at the processor.

    Units: ``amount_cents`` is positive, in the minor unit of ``currency``.
    """

    id: str
    tenant_id: str
    channel: str
    currency: str
    amount_cents: int


def dispute_withdrawn(
    *, dispute: Dispute, balance_transaction_id: str, fee_cents: int, withdrawn_at: datetime
) -> posting.NewTransaction:
    """
    The processor took the money back, with its fee: held until the dispute is decided; the fee is lost either way.

    Idempotency: ``dispute:<id>:withdrawn:<balance transaction>``.
    """
    entries.require_not_negative(fee_cents=fee_cents)
    amounts = {
        "disputes_held": dispute.amount_cents,
        "dispute_losses": fee_cents,
        "processor_clearing": -dispute.amount_cents - fee_cents,
    }
    return _transaction(dispute, "withdrawn", f":{balance_transaction_id}", withdrawn_at, amounts)


def dispute_reinstated(
    *, dispute: Dispute, balance_transaction_id: str, reinstated_at: datetime
) -> posting.NewTransaction:
    """
    It was won: the processor gave the money back.

    Idempotency: ``dispute:<id>:reinstated:<balance transaction>``.
    """
    amounts = {"processor_clearing": dispute.amount_cents, "disputes_held": -dispute.amount_cents}
    return _transaction(dispute, "reinstated", f":{balance_transaction_id}", reinstated_at, amounts)


def dispute_lost(*, dispute: Dispute, lost_at: datetime) -> posting.NewTransaction:
    """
    It was lost: what was held is a loss.

    Idempotency: ``dispute:<id>:lost``.
    """
    amounts = {"dispute_losses": dispute.amount_cents, "disputes_held": -dispute.amount_cents}
    return _transaction(dispute, "lost", "", lost_at, amounts)


def _transaction(
    dispute: Dispute, step: str, movement: str, occurred_at: datetime, amounts: Mapping[str, int]
) -> posting.NewTransaction:
    entries.require_positive(amount_cents=dispute.amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"dispute:{dispute.id}:{step}{movement}",
        kind=f"dispute_{step}",
        tenant_id=dispute.tenant_id,
        currency=dispute.currency,
        occurred_at=occurred_at,
        entries=entries.of(amounts, tenant_id=dispute.tenant_id, channel=dispute.channel),
        reference_type="dispute",
        reference_id=dispute.id,
        description=f"Dispute {dispute.id} {step}",
    )
