"""
Accrual: usage that was made before a day of the books ended and was on no finalized invoice by then.

It is revenue of the day that made it: usage of the running period, rated so far, and of periods that ended while their
draft was in grace. The next day takes it back, and the invoice tells of it when it comes. Both are posted together, so
that no day is accrued and not reversed. Operators accrue any day; beat does the last day of each month.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Literal

from django.db import connection
from django.db.models import Q

from invoicing import errors, journal, lines, metered_usage, models, periods, sweeps
from invoicing.journal.recognition import end_of_day
from invoicing.models.invoices import InvoiceStatus
from invoicing.models.subscriptions import BILLED_STATUSES
from ledger import posting
from ledger.models import Transaction

Step = Literal["accrued", "nothing"]


@dataclass(frozen=True, kw_only=True)
class AccrualReport:
    """
    What a run did for a day: books that were accrued, books with nothing new, books whose usage is not summarised yet.

    ``needs_person``: something failed, and will fail again until somebody looks.
    """

    day: date
    accrued: int
    waiting: int
    failed: int
    failures: Sequence[sweeps.Failure]
    needs_person: bool


def last_day_of_month_before(now: datetime) -> date:
    """The day that closed the latest month, in UTC, as the books count days."""
    return now.astimezone(UTC).date().replace(day=1) - timedelta(days=1)


def accrue_usage(*, day: date, now: datetime) -> AccrualReport:
    """
    Accrue a day in all books.

    Idempotency: a book and currency that has the day's accrual keeps it. Opens a transaction per book.
    """
    failures: list[sweeps.Failure] = []
    books = models.Tenant.objects.order_by("book").values_list("book", flat=True).distinct()
    steps = [
        sweeps.attempt(book, partial(accrue_unbilled_usage, book=book, day=day, now=now), failures) for book in books
    ]
    waiting = [failure for failure in failures if failure.code == errors.UsagePending.code]
    failed = [failure for failure in failures if failure.code != errors.UsagePending.code]
    return AccrualReport(
        day=day,
        accrued=steps.count("accrued"),
        waiting=len(waiting),
        failed=len(failed),
        failures=failed,
        needs_person=bool(failed),
    )


def accrue_unbilled_usage(*, book: str, day: date, now: datetime) -> Step:
    """
    Post a book's accrual at the end of a day, and its reversal on the next; one pair for each currency.

    Idempotency: by the ledger's keys ``accrual:<book>:<currency>:<day>`` and ``...:reversed``; what is posted stays,
    also when more usage of that day is known by now.
    Locks: the book's accrual of that day, then the balances touched. Requires an open transaction.

    Raises:
        DayNotOver: the day is not over at ``now``.
        UsagePending: usage that was made by then is stored and not yet summarised.
    """
    require_over(day, now=now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"accrual:{book}:{day}"])
    made: list[posting.NewTransaction] = []
    for currency, by_tenant in sorted(_unbilled(book, end_of_day(day)).items()):
        accrued = journal.usage_accrued(book=book, currency=currency, day=day, unbilled_cents=by_tenant)
        if accrued is None or _is_posted(book, accrued.idempotency_key):
            continue
        made += [accrued, journal.accrual_reversed(accrued=accrued)]
    posting.post_many(book=book, transactions=made)
    return "accrued" if made else "nothing"


def require_over(day: date, *, now: datetime) -> None:
    """
    Refuse a day of the books that is not over.

    Raises:
        DayNotOver: what its name says.
    """
    if now < end_of_day(day):
        raise errors.DayNotOver(f"{day} is over at {end_of_day(day):%Y-%m-%dT%H:%M:%SZ}, not before")


def _is_posted(book: str, key: str) -> bool:
    return Transaction.objects.filter(book_id=book, idempotency_key=key).exists()


def _unbilled(book: str, closes_at: datetime) -> Mapping[str, Counter[str]]:
    """What was used before a moment and not billed by then: by currency and tenant, in minor units."""
    amounts: dict[str, Counter[str]] = defaultdict(Counter)
    for subscription, period in _unbilled_periods(book, closes_at):
        amounts[subscription.currency][subscription.tenant_id] += _rated(subscription, period)
    return amounts


def _unbilled_periods(book: str, closes_at: datetime) -> Iterator[tuple[models.Subscription, periods.Period]]:
    """
    Periods, cut off at the moment: those that have no invoice yet, and those whose invoice was not final by then.

    In this order, and each once: a period that is drafted between the two statements is seen by both, not by neither.
    """
    found: dict[tuple[str, datetime], tuple[models.Subscription, periods.Period]] = {}
    running = models.Subscription.objects.filter(
        tenant__book=book, status__in=BILLED_STATUSES, starts_at__lt=closes_at, next_boundary_at__isnull=False
    ).select_related("plan_version")
    for subscription in running:
        for period in _running(subscription, closes_at):
            found[subscription.id, period.starts_at] = subscription, period
    invoices = (
        models.Invoice.objects.filter(Q(finalized_at=None) | Q(finalized_at__gte=closes_at))
        .filter(book=book, subscription__isnull=False, period_start__lt=closes_at)
        .exclude(status=InvoiceStatus.VOID)
        .select_related("subscription__plan_version")
    )
    for invoice in invoices:
        if invoice.bills_usage and invoice.subscription is not None:
            period = periods.Period(invoice.period_start, min(invoice.period_end, closes_at))
            found[invoice.subscription.id, period.starts_at] = invoice.subscription, period
    yield from found.values()


def _running(subscription: models.Subscription, closes_at: datetime) -> Iterator[periods.Period]:
    """The period that the next boundary bills, and later ones where drafting is behind."""
    period = subscription.current_period
    while period is not None and period.starts_at < closes_at:
        yield periods.Period(period.starts_at, min(period.ends_at, closes_at))
        period = subscription.schedule.period_beginning(period.ends_at)


def _rated(subscription: models.Subscription, period: periods.Period) -> int:
    """What the usage of a period, or of a part of it, costs by the subscription's prices."""
    prices = list(subscription.plan_version.prices.all())
    if not prices:
        return 0
    if metered_usage.awaits_summary(subscription=subscription, period=period):
        raise errors.UsagePending(
            f"usage of {subscription.tenant_id} before {period.ends_at:%Y-%m-%dT%H:%M:%SZ} is still being summarised"
        )
    totals = metered_usage.of_period(tenant_id=subscription.tenant_id, prices=prices, period=period)
    return sum(line.amount_cents for line in lines.of_usage(prices, metered_usage.quantities(totals), period))
