"""
From a business fact to ledger entries. Pure: what happened goes in, the transaction to post comes out.

No database and no clock. Each fact has one function, named for it, and a key that names it for ever. Amounts are whole
minor units and, unless a function says otherwise, not negative; an amount of zero makes no entry.
"""

from invoicing.journal.credit_notes import CreditNote, Settlement, SettlementKind, credit_note_issued, split_credit_note
from invoicing.journal.credits import CreditApplication, CreditKind, credit_applied, prepaid_expired
from invoicing.journal.invoices import (
    Claim,
    Deferral,
    deferrals,
    invoice_finalized,
    invoice_voided,
    invoice_written_off,
)
from invoicing.journal.recognition import accrual_reversed, revenue_recognized, usage_accrued

__all__ = [
    "Claim",
    "CreditApplication",
    "CreditKind",
    "CreditNote",
    "Deferral",
    "Settlement",
    "SettlementKind",
    "accrual_reversed",
    "credit_applied",
    "credit_note_issued",
    "deferrals",
    "invoice_finalized",
    "invoice_voided",
    "invoice_written_off",
    "prepaid_expired",
    "revenue_recognized",
    "split_credit_note",
    "usage_accrued",
]
