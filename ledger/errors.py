"""
What the ledger refuses, and the one place where the names of its constraints become these errors.

The database names the rule that a statement broke, be it a CHECK, a key or a trigger; ``translated`` finds its class.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from django.db import Error

from billing_site.kernel import database, errors


class Unbalanced(errors.Unprocessable):
    """Debits and credits differ, or there is nothing to move."""

    code = "transaction_unbalanced"
    title = "Transaction does not balance"


class TooFewEntries(errors.Unprocessable):
    """A transaction has at least two entries."""

    code = "transaction_has_too_few_entries"
    title = "Transaction has too few entries"


class AmountOutOfRange(errors.Unprocessable):
    """An entry moves 1 to 10^15 minor units."""

    code = "entry_amount_out_of_range"
    title = "Amount out of range"


class IdempotencyConflict(errors.Conflict):
    """The key names a fact that is in the books with other figures."""

    code = "ledger_idempotency_conflict"
    title = "Fact was posted with other figures"


class BelowFloor(errors.Unprocessable):
    """The account's balance would fall below its floor: credit is spent that is not there."""

    code = "balance_below_floor"
    title = "Balance would fall below its floor"


class UnknownAccountType(errors.Invalid):
    """The chart of accounts has no such type."""

    code = "unknown_account_type"
    title = "Unknown account type"


class WrongScope(errors.Invalid):
    """The account's type is per tenant, per channel or the book's, and another of these was named."""

    code = "account_out_of_scope"
    title = "Account out of its scope"


class TenantMismatch(errors.Unprocessable):
    """A tenant's transaction touches another tenant's account."""

    code = "transaction_touches_another_tenant"
    title = "Transaction touches another tenant"


class CurrencyMismatch(errors.Unprocessable):
    """An entry stands on an account of another currency or book than its transaction's."""

    code = "entry_currency_mismatch"
    title = "Entry in another currency than its account"


class MalformedTransaction(errors.Invalid):
    """A field of the transaction is empty, too long, or no such thing."""

    code = "malformed_transaction"
    title = "Malformed transaction"


class AppendOnly(errors.Conflict):
    """What the ledger holds never changes."""

    code = "ledger_is_append_only"
    title = "Ledger is append-only"


class BalanceBroken(errors.Conflict):
    """Entries that do not continue their account's balance. Our own function never writes such."""

    code = "ledger_balance_broken"
    title = "Balance would break"


class InvalidBookCode(errors.Invalid):
    """A book's code is 1 to 64 of letters, digits and ``._:-``."""

    code = "invalid_book_code"
    title = "Invalid book code"


class BookNotFound(errors.NotFound):
    """There is no such book."""

    code = "book_not_found"
    title = "Book not found"


class AccountNotFound(errors.NotFound):
    """There is no such account, or it is another tenant's."""

    code = "account_not_found"
    title = "Account not found"


class TransactionNotFound(errors.NotFound):
    """There is no such transaction, or it is another tenant's."""

    code = "transaction_not_found"
    title = "Transaction not found"


class PeriodNotFound(errors.NotFound):
    """There is no such period."""

    code = "period_not_found"
    title = "Period not found"


class InvalidPeriod(errors.Unprocessable):
    """A period ends after it starts, and is closed by somebody for a reason once it is over."""

    code = "invalid_period"
    title = "Invalid period"


class FirstPeriodNeedsStart(errors.Unprocessable):
    """The first period that is closed in a book has none before it to begin at."""

    code = "first_period_needs_start"
    title = "First period needs a start"


class PeriodOutOfOrder(errors.Conflict):
    """Periods are closed one after another: this one does not begin where the last closed one ends."""

    code = "period_out_of_order"
    title = "Period out of order"


class PeriodNotLast(errors.Conflict):
    """Periods are reopened from the last one on, and others are closed after this one."""

    code = "period_is_not_the_last"
    title = "Period is not the last closed one"


class PeriodNotClosed(errors.Conflict):
    """No closed period of the book has these bounds."""

    code = "period_is_not_closed"
    title = "Period is not closed"


class PeriodClosed(errors.Conflict):
    """An entry lies in a closed period. Our own function moves it to the first open instant."""

    code = "period_closed"
    title = "Period is closed"


class WrongIsolation(errors.Conflict):
    """The ledger is written at READ COMMITTED, so that a closing that was waited for is seen."""

    code = "ledger_wrong_isolation"
    title = "Wrong isolation level"


class AlreadyReversed(errors.Conflict):
    """A transaction is reversed once."""

    code = "transaction_already_reversed"
    title = "Transaction is reversed already"


class NotTheOpposite(errors.Unprocessable):
    """A reversal has the entries of what it reverses, each on the other side."""

    code = "reversal_is_not_the_opposite"
    title = "Reversal is not the exact opposite"


class NotManual(errors.Conflict):
    """Over the API manual transactions alone are reversed: others have corrections of their own."""

    code = "transaction_is_not_manual"
    title = "Transaction is not a manual one"


class ReservedAccountType(errors.Unprocessable):
    """Receivables, deferred revenue and credits belong to invoices, credits and their own corrections."""

    code = "account_type_reserved"
    title = "Account type is not for manual transactions"


RULES: Final[Mapping[str, type[errors.DomainError]]] = {
    "ledger_transaction_balances": Unbalanced,
    "ledger_transaction_moves_something": Unbalanced,
    "ledger_transaction_has_two_entries": TooFewEntries,
    "ledger_transaction_has_its_entries": TooFewEntries,
    "ledger_transaction_is_whole": MalformedTransaction,
    "ledger_transaction_names_its_fact": MalformedTransaction,
    "ledger_transaction_currency_is_a_code": MalformedTransaction,
    "ledger_fingerprint_is_sha256": MalformedTransaction,
    "ledger_books_date_not_before_the_fact": MalformedTransaction,
    "ledger_entry_has_its_transactions_date": MalformedTransaction,
    "ledger_entry_points_into_its_batch": MalformedTransaction,
    "ledger_entry_is_debit_or_credit": MalformedTransaction,
    "ledger_entry_amount_is_in_range": AmountOutOfRange,
    "ledger_entry_stays_with_its_tenant": TenantMismatch,
    "ledger_entry_matches_its_account": CurrencyMismatch,
    "ledger_entry_matches_its_transaction": CurrencyMismatch,
    "ledger_fact_posted_once": IdempotencyConflict,
    "ledger_balance_not_below_floor": BelowFloor,
    "ledger_balance_is_the_sum_of_its_entries": BalanceBroken,
    "ledger_account_follows_the_chart": UnknownAccountType,
    "ledger_account_stands_in_its_scope": WrongScope,
    "ledger_account_currency_is_a_code": MalformedTransaction,
    "ledger_account_has_a_book": BookNotFound,
    "ledger_book_has_a_code": InvalidBookCode,
    "ledger_history_is_append_only": AppendOnly,
    "ledger_period_ends_after_it_starts": InvalidPeriod,
    "ledger_period_is_over_when_closed": InvalidPeriod,
    "ledger_period_says_who_closed_it_and_why": InvalidPeriod,
    "ledger_period_says_who_reopened_it_and_why": InvalidPeriod,
    "ledger_first_period_has_a_start": FirstPeriodNeedsStart,
    "ledger_periods_are_closed_in_order": PeriodOutOfOrder,
    "ledger_last_period_is_reopened_first": PeriodNotLast,
    "ledger_period_to_reopen_is_closed": PeriodNotClosed,
    "ledger_closed_period_stays_closed": PeriodClosed,
    "ledger_is_written_at_read_committed": WrongIsolation,
    "ledger_transaction_reversed_once": AlreadyReversed,
    "ledger_reversal_is_the_exact_opposite": NotTheOpposite,
    "ledger_reversal_matches_what_it_reverses": NotTheOpposite,
    "ledger_snapshot_is_taken_by_closing": AppendOnly,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raise the domain's error where the database names one of the ledger's rules; pass on anything else."""
    try:
        yield
    except Error as error:
        rule = RULES.get(database.raised_constraint(error) or "")
        if rule is None:
            raise
        raise rule(_sentence(error)) from error


def _sentence(error: Error) -> str:
    """PostgreSQL's own message, which names what was wrong, without the lines around it."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return str(getattr(diagnosis, "message_primary", None) or error)
