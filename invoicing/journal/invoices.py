"""
Invoices: finalized, voided, written off.

Usage is revenue when it is invoiced. A fee billed in advance is owed as service until its period has passed, so it is
deferred, net of its discount; one billed in arrears is earned. A proration corrects a fee that was deferred.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final

from billing_site.kernel import money
from invoicing import models
from invoicing.journal import entries
from invoicing.journal.credits import CreditApplication
from invoicing.models.invoices import LineKind
from ledger import chart, posting

# What a coupon does not lessen.
_NOT_DISCOUNTED: Final = (LineKind.MINIMUM_COMMITMENT, LineKind.CARRIED_TO_CREDIT)


@dataclass(frozen=True, kw_only=True)
class Deferral:
    """
    What one line leaves in deferred revenue, net of its discount.

    Units: minor units; negative for the unused days of a fee that was paid in advance.
    """

    line: models.LineItem
    amount_cents: int


@dataclass(frozen=True, kw_only=True)
class Claim:
    """
    What is still due on an invoice.

    Units: ``amount_cents`` is positive, in the minor unit of ``currency``.
    """

    invoice_id: str
    tenant_id: str
    currency: str
    amount_cents: int


def invoice_finalized(
    *, invoice: models.Invoice, lines: Sequence[models.LineItem], finalized_at: datetime
) -> posting.NewTransaction | None:
    """
    A finalized invoice: its total is receivable; its lines are revenue or deferred, its discount and tax stand beside.

    Idempotency: the key names the fact, ``invoice:<id>:finalized``. None where there is nothing to post.
    """
    amounts = Counter({"accounts_receivable": invoice.total_cents, "discounts": invoice.discount_cents})
    for line, discount_cents in zip(lines, _discounts(invoice, lines), strict=True):
        account = revenue_account(invoice, line)
        # A deferred fee stands in the books for what the tenant pays; of other lines the discount is told apart.
        own_discount = discount_cents if account == "deferred_revenue" else 0
        amounts[account] -= line.amount_cents - own_discount
        amounts["discounts"] -= own_discount
    amounts["tax_payable"] -= invoice.tax_cents
    made = entries.of(amounts, tenant_id=invoice.tenant_id)
    if not made:
        return None
    return posting.NewTransaction(
        idempotency_key=f"invoice:{invoice.id}:finalized",
        kind="invoice_finalized",
        tenant_id=invoice.tenant_id,
        currency=invoice.currency,
        occurred_at=finalized_at,
        entries=made,
        reference_type="invoice",
        reference_id=invoice.id,
        description=f"Invoice {invoice.id} finalized",
    )


def revenue_account(invoice: models.Invoice, line: models.LineItem) -> str:
    """Which account a line is credited to; one that is brought to zero by a credit gives the tenant that credit."""
    if line.kind == LineKind.CARRIED_TO_CREDIT:
        return "customer_credit"
    if line.kind == LineKind.PRORATION:
        return "deferred_revenue"
    if line.kind != LineKind.BASE_FEE:
        return "usage_revenue"
    in_advance = invoice.boundary_at is not None and line.period_start >= invoice.boundary_at
    return "deferred_revenue" if in_advance else "subscription_revenue"


def deferrals(*, invoice: models.Invoice, lines: Sequence[models.LineItem]) -> list[Deferral]:
    """What finalization puts into deferred revenue, line by line; lines that leave nothing there are left out."""
    return [
        Deferral(line=line, amount_cents=line.amount_cents - discount_cents)
        for line, discount_cents in zip(lines, _discounts(invoice, lines), strict=True)
        if revenue_account(invoice, line) == "deferred_revenue" and line.amount_cents != discount_cents
    ]


def invoice_voided(
    *,
    finalized: posting.NewTransaction,
    recognized_cents: int,
    credits_applied: Sequence[CreditApplication],
    voided_at: datetime,
) -> posting.NewTransaction:
    """
    A voided invoice: the exact opposite of what its finalization posted, of what was recognised of it since, and of
    the credits that were applied to it. An invoice with cash or a credit note is not voided.

    Units: ``recognized_cents`` is the net of all its deferrals and may be negative.
    Idempotency: ``invoice:<id>:voided``.
    """
    amounts: Counter[str] = Counter(deferred_revenue=-recognized_cents, subscription_revenue=recognized_cents)
    for application in credits_applied:
        amounts["accounts_receivable"] += application.amount_cents
        amounts[application.account_type] -= application.amount_cents
    for entry in entries.opposite(finalized.entries):
        amounts[entry.account_type] += entry.amount_cents if entry.entry_type == chart.DEBIT else -entry.amount_cents
    return posting.NewTransaction(
        idempotency_key=f"invoice:{finalized.reference_id}:voided",
        kind="invoice_voided",
        tenant_id=finalized.tenant_id,
        currency=finalized.currency,
        occurred_at=voided_at,
        entries=entries.of(amounts, tenant_id=finalized.tenant_id),
        reference_type="invoice",
        reference_id=finalized.reference_id,
        description=f"Invoice {finalized.reference_id} voided",
    )


def invoice_written_off(*, claim: Claim, written_off_at: datetime) -> posting.NewTransaction:
    """
    What is still due and will not come: bad debt, until a payment recovers it.

    Idempotency: ``invoice:<id>:written_off``.
    """
    entries.require_positive(amount_cents=claim.amount_cents)
    return posting.NewTransaction(
        idempotency_key=f"invoice:{claim.invoice_id}:written_off",
        kind="invoice_written_off",
        tenant_id=claim.tenant_id,
        currency=claim.currency,
        occurred_at=written_off_at,
        entries=entries.of(
            {"bad_debt": claim.amount_cents, "accounts_receivable": -claim.amount_cents}, tenant_id=claim.tenant_id
        ),
        reference_type="invoice",
        reference_id=claim.invoice_id,
        description=f"Invoice {claim.invoice_id} written off",
    )


def _discounts(invoice: models.Invoice, lines: Sequence[models.LineItem]) -> list[int]:
    """The invoice's discount split over its lines, by largest remainder; what adds nothing takes no share."""
    weights = [Fraction(0 if line.kind in _NOT_DISCOUNTED else max(line.amount_cents, 0)) for line in lines]
    return money.allocate(invoice.discount_cents, weights) if any(weights) else [0] * len(lines)
