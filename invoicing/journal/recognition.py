"""
What a day earned of fees billed in advance, and what was used and not billed when a period of the books closes.

These are transactions of the book, one for each currency and day, netted per tenant.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from invoicing.journal import entries
from ledger import posting

# What a day earned, it has earned when it ends; the first moment after it belongs to the next day.
_LAST_MOMENT: Final = timedelta(microseconds=1)


def revenue_recognized(
    *, book: str, currency: str, day: date, earned_cents: Mapping[str, int]
) -> posting.NewTransaction | None:
    """
    Deferred revenue becomes revenue: one day of a book and currency, by tenant.

    Units: ``earned_cents`` by tenant code; negative where a credit for unused days outweighs what was earned.
    Idempotency: ``recognition:<book>:<currency>:<day>``. None where nothing was earned.
    """
    made = [
        *entries.by_tenant("deferred_revenue", earned_cents),
        *entries.of({"subscription_revenue": -sum(earned_cents.values())}),
    ]
    if not made:
        return None
    return _of_the_book(
        key=f"recognition:{book}:{currency}:{day.isoformat()}",
        kind="revenue_recognized",
        currency=currency,
        occurred_at=end_of_day(day) - _LAST_MOMENT,
        made=made,
        reference=("recognition", f"{book}:{currency}:{day.isoformat()}"),
        description=f"Fees earned on {day.isoformat()}",
    )


def usage_accrued(
    *, book: str, currency: str, day: date, unbilled_cents: Mapping[str, int]
) -> posting.NewTransaction | None:
    """
    Usage that was made by the end of a day and is on no invoice yet: revenue of the period that closes.

    Units: ``unbilled_cents`` by tenant code; negative where a price has a negative rate.
    Idempotency: ``accrual:<book>:<currency>:<day>``. None where there is nothing to accrue.
    """
    made = [
        *entries.by_tenant("unbilled_receivable", unbilled_cents),
        *entries.of({"usage_revenue": -sum(unbilled_cents.values())}),
    ]
    if not made:
        return None
    return _of_the_book(
        key=f"accrual:{book}:{currency}:{day.isoformat()}",
        kind="usage_accrued",
        currency=currency,
        occurred_at=end_of_day(day) - _LAST_MOMENT,
        made=made,
        reference=("accrual", f"{book}:{currency}:{day.isoformat()}"),
        description=f"Usage not yet billed at the end of {day.isoformat()}",
    )


def accrual_reversed(*, accrued: posting.NewTransaction) -> posting.NewTransaction:
    """
    The exact opposite on the next day, from which on the invoices themselves tell of the usage.

    Idempotency: the accrual's key and ``:reversed``.
    """
    return _of_the_book(
        key=f"{accrued.idempotency_key}:reversed",
        kind="usage_accrual_reversed",
        currency=accrued.currency,
        occurred_at=accrued.occurred_at + _LAST_MOMENT,
        made=entries.opposite(accrued.entries),
        reference=(accrued.reference_type, accrued.reference_id),
        description=f"{accrued.description}, reversed",
    )


def end_of_day(day: date) -> datetime:
    """The first moment after a day of the books, which count days in UTC."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=UTC)


def _of_the_book(
    *,
    key: str,
    kind: str,
    currency: str,
    occurred_at: datetime,
    made: list[posting.NewEntry],
    reference: tuple[str, str],
    description: str,
) -> posting.NewTransaction:
    reference_type, reference_id = reference
    return posting.NewTransaction(
        idempotency_key=key,
        kind=kind,
        tenant_id="",
        currency=currency,
        occurred_at=occurred_at,
        entries=made,
        reference_type=reference_type,
        reference_id=reference_id,
        description=description,
    )
