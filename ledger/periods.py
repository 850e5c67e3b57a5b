"""
Periods: closing a book up to a moment, and opening it again.

Periods of a book are closed one after another without a gap, and the last one is reopened first, so that what is closed
is always everything before one moment. A fact that is told late keeps its ``occurred_at`` and takes effect at that
moment. Each closing keeps a snapshot of all balances; ``balances`` reads the past from it.
"""

from datetime import datetime
from typing import Final

from django.db import connection, transaction

from billing_site.kernel import clock
from ledger import errors, models

CLOSED: Final = "closed"

_CLOSE: Final = "SELECT public.ledger_close_period(%s, %s, %s, %s, %s, %s)"
_REOPEN: Final = "SELECT public.ledger_reopen_period(%s, %s, %s, %s, %s, %s)"


def close_period(
    *,
    book: str,
    period_start: datetime | None,
    period_end: datetime,
    actor: str,
    reason: str,
    now: datetime,
) -> models.Period:
    """
    Close a period of a book and keep a snapshot of all its balances.

    ``period_start`` None: where the last closed period ends. ``actor`` and ``reason`` stay with the row: who, and why.

    Idempotency: none; a period that is closed is a conflict. After reopening, a new revision.
    Locks: the book, alone, until the transaction ends: waits for all who are posting, and they wait for it. Requires
    an open transaction.

    Raises:
        PeriodOutOfOrder: the period does not begin where the last closed one ends.
        FirstPeriodNeedsStart: nothing is closed yet, and no start was given.
        InvalidPeriod: it ends before it starts or after ``now``, or says not who closes it and why.
        BookNotFound: there is no such book.
    """
    return _change(_CLOSE, book, [period_start, period_end, now, actor, reason])


def reopen_period(
    *,
    book: str,
    period_start: datetime | None,
    period_end: datetime,
    actor: str,
    reason: str,
    now: datetime,
) -> models.Period:
    """
    Reopen the last closed period of a book; its snapshot stays, and is read no more.

    Locks as ``close_period``. Requires an open transaction.

    Raises:
        PeriodNotClosed: no closed period has these bounds.
        PeriodNotLast: others are closed after it.
        InvalidPeriod: it says not who reopens it and why.
        BookNotFound: there is no such book.
    """
    return _change(_REOPEN, book, [period_start, period_end, now, actor, reason])


def find_last_closed(*, book: str) -> models.Period | None:
    """The period up to whose end the book is closed."""
    return models.Period.objects.filter(book_id=book, state=CLOSED).order_by("-ends_at").first()


def _change(statement: str, book: str, values: list[str | datetime | None]) -> models.Period:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("closing and reopening require an open transaction")
    if not models.Book.objects.filter(code=book).exists():
        raise errors.BookNotFound(f"no book {book!r}")
    try:
        # A savepoint, so that the state can still be read after a refusal.
        with errors.translated(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [book, *values])
            (period_id,) = cursor.fetchone()
    except (errors.PeriodOutOfOrder, errors.PeriodNotLast, errors.PeriodNotClosed) as refused:
        raise type(refused)(refused.detail, extra=_state(book)) from refused
    return models.Period.objects.get(pk=period_id)


def _state(book: str) -> dict[str, object]:
    """What the book's periods are at, for whoever lost a race."""
    last = find_last_closed(book=book)
    return {
        "book": book,
        "closed_until": None if last is None else clock.format_instant(last.ends_at),
        "last_closed_period_id": None if last is None else last.public_id,
    }
