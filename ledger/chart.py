"""
The chart of accounts: which types of account exist, and how each behaves.

The database holds the same chart in ``ledger_account_type`` and opens accounts by it, so that a wrong figure here
cannot give an account the wrong side or lift a floor; a test holds the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Category = Literal["asset", "liability", "revenue", "expense"]
EntryType = Literal["debit", "credit"]
Scope = Literal["book", "tenant", "channel"]

DEBIT: Final = "debit"
CREDIT: Final = "credit"

# Accounts that every transaction of a kind touches are split into this many balance rows, so that writers do not queue.
HOT_SHARDS: Final = 8


@dataclass(frozen=True)
class AccountType:
    """
    One line of the chart.

    ``normal_side`` is the side on which the balance is positive; ``scope`` says whether each tenant, each channel or
    the book as a whole has one. ``floor_cents`` is the least balance (None: no least); ``shards`` is the number of
    balance rows.
    """

    code: str
    name: str
    category: Category
    normal_side: EntryType
    scope: Scope
    floor_cents: int | None = None
    shards: int = 1


_CHART: Final = (
    AccountType("1000", "cash", "asset", "debit", "book"),
    AccountType("1010", "processor_clearing", "asset", "debit", "channel", shards=HOT_SHARDS),
    AccountType("1020", "marketplace_receivable", "asset", "debit", "channel", shards=HOT_SHARDS),
    AccountType("1100", "accounts_receivable", "asset", "debit", "tenant"),
    AccountType("1110", "unbilled_receivable", "asset", "debit", "tenant"),
    AccountType("1200", "disputes_held", "asset", "debit", "book"),
    AccountType("2000", "tax_payable", "liability", "credit", "book", shards=HOT_SHARDS),
    AccountType("2100", "deferred_revenue", "liability", "credit", "tenant"),
    AccountType("2200", "prepaid_credit", "liability", "credit", "tenant", floor_cents=0),
    AccountType("2210", "customer_credit", "liability", "credit", "tenant", floor_cents=0),
    AccountType("2300", "unapplied_receipts", "liability", "credit", "book"),
    AccountType("2400", "refunds_pending", "liability", "credit", "book"),
    AccountType("4000", "usage_revenue", "revenue", "credit", "book", shards=HOT_SHARDS),
    AccountType("4010", "subscription_revenue", "revenue", "credit", "book", shards=HOT_SHARDS),
    AccountType("4020", "breakage", "revenue", "credit", "book"),
    # The two contra accounts stand among the revenue and are positive on the other side.
    AccountType("4900", "discounts", "revenue", "debit", "book", shards=HOT_SHARDS),
    AccountType("4910", "credit_notes", "revenue", "debit", "book"),
    AccountType("5000", "processor_fees", "expense", "debit", "book", shards=HOT_SHARDS),
    AccountType("5010", "marketplace_fees", "expense", "debit", "book"),
    AccountType("5100", "bad_debt", "expense", "debit", "book"),
    AccountType("5200", "dispute_losses", "expense", "debit", "book"),
)

ACCOUNT_TYPES: Final[Mapping[str, AccountType]] = {account_type.name: account_type for account_type in _CHART}
