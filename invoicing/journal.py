"""
From a business fact to ledger entries. Pure: what happened goes in, the transaction to post comes out.

Usage is revenue when it is invoiced. A fee billed in advance is owed as service until its period has passed, so it is
deferred; one billed in arrears is earned. Amounts of zero make no entry, and where nothing is left, no transaction.
"""

from collections.abc import Sequence
from datetime import datetime

from invoicing import models
from invoicing.models.invoices import LineKind
from ledger import chart, posting


def invoice_finalized(
    *, invoice: models.Invoice, lines: Sequence[models.LineItem], finalized_at: datetime
) -> posting.NewTransaction | None:
    """
    A finalized invoice: its total is receivable; its lines are revenue or deferred, its discount and tax stand beside.

    Idempotency: the key names the fact, ``invoice:<id>:finalized``. None where there is nothing to post.
    """
    # Debits are positive here; every transaction sums to zero because the invoice's total adds up.
    amounts = {"accounts_receivable": invoice.total_cents, "discounts": invoice.discount_cents}
    for line in lines:
        account = revenue_account(invoice, line)
        amounts[account] = amounts.get(account, 0) - line.amount_cents
    amounts["tax_payable"] = -invoice.tax_cents
    entries = [_entry(account, amount, invoice.tenant_id) for account, amount in amounts.items() if amount]
    if not entries:
        return None
    return posting.NewTransaction(
        idempotency_key=f"invoice:{invoice.id}:finalized",
        kind="invoice_finalized",
        tenant_id=invoice.tenant_id,
        currency=invoice.currency,
        occurred_at=finalized_at,
        entries=entries,
        reference_type="invoice",
        reference_id=invoice.id,
        description=f"Invoice {invoice.id} finalized",
    )


def revenue_account(invoice: models.Invoice, line: models.LineItem) -> str:
    """Which account a line is credited to."""
    if line.kind != LineKind.BASE_FEE:
        return "usage_revenue"
    in_advance = invoice.boundary_at is not None and line.period_start >= invoice.boundary_at
    return "deferred_revenue" if in_advance else "subscription_revenue"


def _entry(account: str, amount_cents: int, tenant_id: str) -> posting.NewEntry:
    return posting.NewEntry(
        account_type=account,
        entry_type="debit" if amount_cents > 0 else "credit",
        amount_cents=abs(amount_cents),
        tenant_id=tenant_id if chart.ACCOUNT_TYPES[account].scope == "tenant" else "",
    )
