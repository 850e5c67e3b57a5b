"""
From money that moved to ledger entries. Pure: what happened goes in, the transaction to post comes out.

No database and no clock. Each fact has one function, named for it, and a key that names it for ever. Amounts are whole
minor units and, unless a function says otherwise, not negative; an amount of zero makes no entry.
"""

from payments.journal.disputes import Dispute, dispute_lost, dispute_reinstated, dispute_withdrawn
from payments.journal.processor import payout_paid, processor_fee_charged
from payments.journal.receipts import MANUAL, Split, payment_received
from payments.journal.refunds import (
    Refund,
    invoice_refunded,
    refund_asked,
    refund_failed_after_settling,
    refund_failed_before_settling,
    refund_settled,
)

__all__ = [
    "MANUAL",
    "Dispute",
    "Refund",
    "Split",
    "dispute_lost",
    "dispute_reinstated",
    "dispute_withdrawn",
    "invoice_refunded",
    "payment_received",
    "payout_paid",
    "processor_fee_charged",
    "refund_asked",
    "refund_failed_after_settling",
    "refund_failed_before_settling",
    "refund_settled",
]
