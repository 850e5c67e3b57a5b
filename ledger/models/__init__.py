"""
The ledger's tables, by noun. Functions of the database alone write them (``migrations/sql``), for ``posting``,
``books``, ``periods`` and ``sealing``.
"""

from ledger.models.accounts import DEFAULT_BOOK, Account, AccountType, Balance, Book
from ledger.models.blocks import Block
from ledger.models.periods import Period, PeriodBalance
from ledger.models.transactions import MAXIMUM_AMOUNT_CENTS, Entry, Transaction

__all__ = [
    "DEFAULT_BOOK",
    "MAXIMUM_AMOUNT_CENTS",
    "Account",
    "AccountType",
    "Balance",
    "Block",
    "Book",
    "Entry",
    "Period",
    "PeriodBalance",
    "Transaction",
]
