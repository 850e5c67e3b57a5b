"""
Revenue recognition: fees billed in advance are earned by the day.

Each line that finalization puts into deferred revenue has a schedule. For each day of the books, and each book and
currency, one ledger transaction moves what all open schedules earned by the end of that day less what they had earned
before, netted per tenant. What is earned by then is rounded once, from the whole amount, so no cent is lost on the way.

A day of the books is a date; a schedule earns on it the calendar day of that name in its subscription's time zone. It
is over at midnight UTC. How days and late comers meet is in ``docs/decisions/0006-a-fee-is-earned-by-the-day.md``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Final

from django.db import connection
from django.db.models import Min, QuerySet

from billing_site.kernel import money
from invoicing import journal, models, periods, sweeps
from ledger import posting

_DAY: Final = timedelta(days=1)

_EARN: Final = """
    UPDATE invoicing_recognition_schedule AS schedule
       SET earned_cents = earned.cents,
           closed_on = CASE WHEN earned.cents = schedule.amount_cents THEN %s::date END
      FROM unnest(%s::text[], %s::bigint[]) AS earned (id, cents)
     WHERE schedule.id = earned.id
"""


@dataclass(frozen=True, kw_only=True)
class RecognitionReport:
    """
    What a run did: days of books and currencies that were worked, and ledger transactions posted for them.

    ``needs_person``: something failed, and will fail again until somebody looks.
    """

    days: int
    transactions: int
    failed: int
    failures: Sequence[sweeps.Failure]
    needs_person: bool


@dataclass(frozen=True, kw_only=True)
class RecognizedDay:
    """One day of a book and currency; ``posted`` is false where nothing was earned on it."""

    day: date
    posted: bool


@dataclass(frozen=True, kw_only=True)
class PlannedMonth:
    """What a schedule earns in one calendar month. Units: minor units; ``days`` of that month are its own."""

    month: str
    days: int
    amount_cents: int


@dataclass(frozen=True, kw_only=True)
class InvoiceRecognition:
    """
    What is earned of an invoice, by line; ``recognized_through_on`` is the day up to which its book has earned.

    Units: minor units of ``currency``.
    """

    invoice_id: str
    currency: str
    recognized_through_on: date | None
    lines: Sequence[models.RecognitionSchedule]

    @property
    def recognized_cents(self) -> int:
        """What all lines have earned."""
        return sum(line.earned_cents for line in self.lines)

    @property
    def deferred_cents(self) -> int:
        """What is not earned yet."""
        return sum(line.deferred_cents for line in self.lines)


def open_schedules(*, invoice: models.Invoice, lines: Sequence[models.LineItem], now: datetime) -> None:
    """
    Open a schedule for each line that the invoice's finalization put into deferred revenue.

    Idempotency: none; an invoice is finalized once. Requires finalization's transaction and its lock on the invoice.
    """
    deferrals = journal.deferrals(invoice=invoice, lines=lines)
    if not deferrals:
        return
    time_zone = invoice.subscription.time_zone if invoice.subscription else invoice.tenant.time_zone
    schedules = []
    for deferral in deferrals:
        starts_on = periods.local_day(deferral.line.period_start, time_zone)
        ends_on = periods.local_day(deferral.line.period_end, time_zone)
        schedules.append(
            models.RecognitionSchedule(
                line=deferral.line,
                invoice=invoice,
                tenant_id=invoice.tenant_id,
                book=invoice.book,
                currency=invoice.currency,
                time_zone=time_zone,
                starts_on=starts_on,
                # What has no whole day is earned on the day that it is in.
                ends_on=max(ends_on, starts_on + _DAY),
                due_from_on=max(starts_on, now.astimezone(UTC).date()),
                amount_cents=deferral.amount_cents,
                created_at=now,
            )
        )
    models.RecognitionSchedule.objects.bulk_create(schedules)


def recognize_revenue(*, now: datetime, progress: sweeps.Progress = sweeps.silently) -> RecognitionReport:
    """
    Earn every day that is over, day by day, in all books and currencies.

    Idempotency: safe to run twice and beside itself. Opens a transaction per book, currency and day; where one fails,
    its later days wait, and the other books go on.
    Locks: the progress of one book and currency, its open schedules, then the balances it touches.
    """
    through = now.astimezone(UTC).date() - _DAY
    failures: list[sweeps.Failure] = []
    worked: list[RecognizedDay] = []
    books = list(
        _open_schedules().filter(due_from_on__lte=through).order_by().values_list("book", "currency").distinct()
    )
    for done, (book, currency) in enumerate(sorted(books), start=1):
        worked.extend(_catch_up(book, currency, through, failures))
        progress(done, len(books))
    return RecognitionReport(
        days=len(worked),
        transactions=sum(one.posted for one in worked),
        failed=len(failures),
        failures=failures,
        needs_person=bool(failures),
    )


def recognize_next_day(*, book: str, currency: str, through: date) -> RecognizedDay | None:
    """
    Earn the next day of a book and currency that is not in the books yet; None where none is left up to ``through``.

    Days on which nothing is open are passed over. A schedule that comes after its day was worked joins the next one.
    Idempotency: by the book's progress, and by the ledger's key ``recognition:<book>:<currency>:<day>``.
    Locks: the progress, the open schedules in id order, then the balances touched. Requires an open transaction.
    """
    reached = _lock_progress(book, currency)
    first = _open_schedules(book, currency).aggregate(first=Min("due_from_on"))["first"]
    if first is None:
        return None
    day = max(first, reached.recognized_through_on + _DAY) if reached.recognized_through_on else first
    if day > through:
        return None
    fact = journal.revenue_recognized(
        book=book, currency=currency, day=day, earned_cents=_earn_day(book, currency, day)
    )
    if fact is not None:
        posting.post(book=book, transaction=fact)
    reached.recognized_through_on = day
    reached.save(update_fields=["recognized_through_on"])
    return RecognizedDay(day=day, posted=fact is not None)


def earned_by(*, amount_cents: int, starts_on: date, ends_on: date, day: date) -> int:
    """
    How much of an amount is earned by the end of a day: its share by days, rounded once. Pure.

    Units: minor units; the sign is the amount's.
    """
    elapsed = min(max((day - starts_on).days + 1, 0), (ends_on - starts_on).days)
    return money.round_half_away(Fraction(amount_cents * elapsed, (ends_on - starts_on).days))


def of_invoice(invoice: models.Invoice) -> InvoiceRecognition:
    """What is earned of an invoice and what is planned, in the order of its lines."""
    reached = models.RecognitionProgress.objects.filter(book=invoice.book, currency=invoice.currency).first()
    return InvoiceRecognition(
        invoice_id=invoice.id,
        currency=invoice.currency,
        recognized_through_on=reached.recognized_through_on if reached else None,
        lines=list(invoice.recognition_schedules.select_related("line").order_by("line__position")),
    )


def planned_months(schedule: models.RecognitionSchedule) -> list[PlannedMonth]:
    """What a schedule earns month by month; together its amount. A late start is earned with the books' next day."""
    planned = []
    begun, before = schedule.starts_on, 0
    while begun < schedule.ends_on:
        turn = (begun.replace(day=1) + timedelta(days=31)).replace(day=1)
        ended = min(turn, schedule.ends_on)
        earned = earned_by(
            amount_cents=schedule.amount_cents,
            starts_on=schedule.starts_on,
            ends_on=schedule.ends_on,
            day=ended - _DAY,
        )
        planned.append(
            PlannedMonth(month=f"{begun:%Y-%m}", days=(ended - begun).days, amount_cents=earned - before),
        )
        begun, before = ended, earned
    return planned


def _catch_up(book: str, currency: str, through: date, failures: list[sweeps.Failure]) -> Iterator[RecognizedDay]:
    work = partial(recognize_next_day, book=book, currency=currency, through=through)
    while (day := sweeps.attempt(f"{book}:{currency}", work, failures)) is not None:
        yield day


def _lock_progress(book: str, currency: str) -> models.RecognitionProgress:
    """Whoever holds it works the book's days; whoever waited sees, in a new statement, the days that were worked."""
    models.RecognitionProgress.objects.bulk_create(
        [models.RecognitionProgress(book=book, currency=currency)], ignore_conflicts=True
    )
    return models.RecognitionProgress.objects.select_for_update(no_key=True).get(book=book, currency=currency)


def _open_schedules(book: str = "", currency: str = "") -> QuerySet[models.RecognitionSchedule]:
    schedules = models.RecognitionSchedule.objects.filter(closed_on=None)
    return schedules.filter(book=book, currency=currency) if book else schedules


def _earn_day(book: str, currency: str, day: date) -> Counter[str]:
    """Bring the open schedules to the end of the day; what they earned since they were last looked at, by tenant."""
    due = (
        _open_schedules(book, currency)
        .filter(due_from_on__lte=day)
        .select_for_update(no_key=True)
        .order_by("id")
        .values_list("id", "tenant_id", "amount_cents", "starts_on", "ends_on", "earned_cents")
    )
    earned_ids, earned_cents = [], []
    by_tenant: Counter[str] = Counter()
    for schedule_id, tenant_id, amount_cents, starts_on, ends_on, before in due:
        earned = earned_by(amount_cents=amount_cents, starts_on=starts_on, ends_on=ends_on, day=day)
        if earned != before:
            earned_ids.append(schedule_id)
            earned_cents.append(earned)
            by_tenant[tenant_id] += earned - before
    if earned_ids:
        with connection.cursor() as cursor:
            cursor.execute(_EARN, [day, earned_ids, earned_cents])
    return by_tenant
