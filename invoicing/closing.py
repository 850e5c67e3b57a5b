"""
Closing the books: what belongs to the period is posted into it, then the ledger closes it.

The ledger knows nothing of fees and usage, so its own door closes what it has. Here the fees of the period's days are
earned first, and the usage that is not billed yet is accrued.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial

from billing_site.kernel import database
from invoicing import accruals, errors, recognition
from ledger import periods


@dataclass(frozen=True, kw_only=True)
class ClosingReport:
    """A period that was closed, and what was posted into it before."""

    book: str
    period_start: datetime
    period_end: datetime
    days_recognized: int
    accrual: accruals.Step


def close_books(
    *, book: str, period_start: datetime | None, period_end: datetime, actor: str, reason: str, now: datetime
) -> ClosingReport:
    """
    Earn the days of a period, accrue what it used and did not bill, then close it.

    ``period_start`` None: where the last closed period ends. Idempotency: what was posted stays where the closing
    failed, and is not posted again by the next. Opens a transaction for each step.

    Raises:
        PeriodEndsWithinDay: it does not end at a midnight in UTC, where a day of the books ends.
        DayNotOver: its last day is not over at ``now``.
        RecognitionFailed: a day of the book could not be earned.
        UsagePending: usage that was made by then is stored and not yet summarised.
        ledger.errors.PeriodOutOfOrder, FirstPeriodNeedsStart, InvalidPeriod, BookNotFound: as ``close_period``.
    """
    last_moment = period_end.astimezone(UTC)
    if last_moment.time() != time.min:
        raise errors.PeriodEndsWithinDay(f"a period is closed at a midnight in UTC, not at {last_moment.isoformat()}")
    day = last_moment.date() - timedelta(days=1)
    accruals.require_over(day, now=now)
    recognized = recognition.recognize_revenue(now=now)
    for failure in recognized.failures:
        if failure.id.startswith(f"{book}:"):
            raise errors.RecognitionFailed(f"{failure.id}: {failure.detail}")
    accrual = database.retrying(partial(accruals.accrue_unbilled_usage, book=book, day=day, now=now))
    closed = database.retrying(
        partial(
            periods.close_period,
            book=book,
            period_start=period_start,
            period_end=period_end,
            actor=actor,
            reason=reason,
            now=now,
        )
    )
    return ClosingReport(
        book=book,
        period_start=closed.starts_at,
        period_end=closed.ends_at,
        days_recognized=recognized.days,
        accrual=accrual,
    )
