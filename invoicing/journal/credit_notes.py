"""
Credit notes: what a correction takes back, and where it goes.

Taken back is first what is not earned yet, then revenue (in an account of its own), and the tax in proportion. It
lessens what is still due; beyond that it undoes what was settled, the latest settlement first, each the way it came.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from invoicing.journal import entries
from ledger import posting

SettlementKind = Literal["cash", "prepaid", "promotional", "customer"]

# Cash is not sent back by a credit note: it becomes the tenant's credit, which a refund may pay out.
_RETURNS_TO: Final[Mapping[SettlementKind, str]] = {
    "cash": "customer_credit",
    "customer": "customer_credit",
    "prepaid": "prepaid_credit",
    "promotional": "discounts",
}


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """One thing that settled a part of an invoice; its amount is less what earlier credit notes undid of it."""

    kind: SettlementKind
    amount_cents: int


@dataclass(frozen=True, kw_only=True)
class CreditNote:
    """
    A correction of an invoice, split.

    Units: minor units, none negative. What is taken back (unearned, earned, tax) is what goes somewhere (due, credits).
    """

    id: str
    invoice_id: str
    tenant_id: str
    currency: str
    unearned_cents: int = 0
    earned_cents: int = 0
    tax_cents: int = 0
    due_cents: int = 0
    undone: Sequence[Settlement] = ()


def split_credit_note(
    *,
    credit_note_id: str,
    invoice_id: str,
    tenant_id: str,
    currency: str,
    net_cents: int,
    tax_cents: int,
    unearned_cents: int,
    due_cents: int,
    settlements: Sequence[Settlement],
) -> CreditNote:
    """
    Split a credit note of ``net_cents`` and its tax: the unearned part first, up to what is due, then in reverse order.

    Units: minor units. ``unearned_cents`` is what the credited lines still have in deferred revenue, ``due_cents`` what
    is due on the invoice, ``settlements`` what settled the rest, the earliest first.

    Raises:
        ValueError: it is more than is due and was settled, or an amount is negative.
    """
    entries.require_not_negative(
        net_cents=net_cents, tax_cents=tax_cents, unearned_cents=unearned_cents, due_cents=due_cents
    )
    unearned = min(net_cents, unearned_cents)
    left = net_cents + tax_cents
    due = min(left, due_cents)
    left -= due
    undone = []
    for settlement in reversed(settlements):
        entries.require_not_negative(settled_cents=settlement.amount_cents)
        part = min(left, settlement.amount_cents)
        if part:
            undone.append(Settlement(kind=settlement.kind, amount_cents=part))
        left -= part
    if left:
        raise ValueError(f"the credit note {credit_note_id} is {left} more than is due and was settled")
    return CreditNote(
        id=credit_note_id,
        invoice_id=invoice_id,
        tenant_id=tenant_id,
        currency=currency,
        unearned_cents=unearned,
        earned_cents=net_cents - unearned,
        tax_cents=tax_cents,
        due_cents=due,
        undone=undone,
    )


def credit_note_issued(*, note: CreditNote, issued_at: datetime) -> posting.NewTransaction:
    """
    A credit note that was split.

    Idempotency: ``credit_note:<id>:issued``.

    Raises:
        ValueError: it is zero, an amount is negative, or what it takes back is not what it gives.
    """
    entries.require_not_negative(
        unearned_cents=note.unearned_cents,
        earned_cents=note.earned_cents,
        tax_cents=note.tax_cents,
        due_cents=note.due_cents,
        undone_cents=min((one.amount_cents for one in note.undone), default=0),
    )
    taken = note.unearned_cents + note.earned_cents + note.tax_cents
    given = note.due_cents + sum(one.amount_cents for one in note.undone)
    entries.require_positive(amount_cents=taken)
    if taken != given:
        raise ValueError(f"the credit note {note.id} takes back {taken} and gives {given}")
    debits = {
        "deferred_revenue": note.unearned_cents,
        "credit_notes": note.earned_cents,
        "tax_payable": note.tax_cents,
    }
    credited: Counter[str] = Counter(accounts_receivable=-note.due_cents)
    for settlement in note.undone:
        credited[_RETURNS_TO[settlement.kind]] -= settlement.amount_cents
    return posting.NewTransaction(
        idempotency_key=f"credit_note:{note.id}:issued",
        kind="credit_note_issued",
        tenant_id=note.tenant_id,
        currency=note.currency,
        occurred_at=issued_at,
        entries=entries.of({**debits, **credited}, tenant_id=note.tenant_id),
        reference_type="credit_note",
        reference_id=note.id,
        description=f"Credit note {note.id} on invoice {note.invoice_id}",
    )
