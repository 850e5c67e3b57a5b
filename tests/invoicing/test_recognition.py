"""Revenue recognition: by the day, rounded once, once in the books."""

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel import database
from invoicing import finalization, models, recognition, tasks
from ledger import balances
from ledger.models import Entry, Transaction
from tests.factories import invoicing as factories
from tests.factories.invoicing import NOVEMBER
from tests.ledger import books
from tests.support import threads

KINDS = "revenue_recognized"


def held(account_type: str, tenant_id: str = "", currency: str = "USD") -> int:
    return balances.balance_cents(book="main", account_type=account_type, currency=currency, tenant_id=tenant_id)


def recognized() -> list[tuple[str, int]]:
    """What each day earned, by the ledger."""
    posted = Transaction.objects.filter(kind=KINDS).order_by("occurred_at", "id")
    return [(each.idempotency_key.rpartition(":")[2], each.amount_cents) for each in posted]


def run(now: datetime) -> recognition.RecognitionReport:
    report = recognition.recognize_revenue(now=now)
    assert not report.needs_person, report.failures
    return report


def on(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


class TestEarnedBy:
    @given(
        st.integers(-(10**15), 10**15),
        st.dates(date(2020, 1, 1), date(2040, 1, 1)),
        st.integers(1, 366),
        st.lists(st.integers(-5, 400), min_size=1, max_size=20),
    )
    def test_adds_up_to_the_amount_whatever_days_are_looked_at(
        self, amount: int, start: date, days: int, looks: list[int]
    ) -> None:
        end = start + timedelta(days=days)
        earned = [
            recognition.earned_by(amount_cents=amount, starts_on=start, ends_on=end, day=start + timedelta(days=look))
            for look in [-1, *sorted(looks), days - 1]
        ]
        steps = [later - sooner for sooner, later in itertools.pairwise(earned)]
        assert earned[0] == 0
        assert earned[-1] == amount
        assert all(step * amount >= 0 for step in steps[:-1])
        assert sum(steps) == amount

    @pytest.mark.parametrize(
        ("day", "earned"), [(0, 0), (1, 33), (2, 67), (3, 100), (4, 133), (15, 500), (30, 1000), (31, 1000)]
    )
    def test_rounds_once_from_the_whole(self, day: int, earned: int) -> None:
        at = date(2026, 10, 31) + timedelta(days=day)
        assert (
            recognition.earned_by(amount_cents=1000, starts_on=date(2026, 11, 1), ends_on=date(2026, 12, 1), day=at)
            == earned
        )


class TestPlannedMonths:
    def test_tells_each_calendar_month_and_loses_no_cent(self) -> None:
        schedule = models.RecognitionSchedule(
            starts_on=date(2026, 11, 16), ends_on=date(2027, 2, 16), amount_cents=10_000
        )
        assert [(one.month, one.days, one.amount_cents) for one in recognition.planned_months(schedule)] == [
            ("2026-11", 15, 1630), ("2026-12", 31, 3370), ("2027-01", 31, 3370), ("2027-02", 15, 1630),
        ]  # fmt: skip

    @given(st.integers(1, 10**12), st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(1, 366))
    def test_adds_up(self, amount: int, start: date, days: int) -> None:
        schedule = models.RecognitionSchedule(
            starts_on=start, ends_on=start + timedelta(days=days), amount_cents=amount
        )
        planned = recognition.planned_months(schedule)
        assert (sum(one.amount_cents for one in planned), sum(one.days for one in planned)) == (amount, days)


@pytest.mark.django_db
class TestOpenSchedules:
    def test_opens_one_for_a_fee_in_advance(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=2000)

        schedule = models.RecognitionSchedule.objects.get()

        assert (schedule.invoice, schedule.line) == (invoice, invoice.lines.get())
        assert (schedule.starts_on, schedule.ends_on) == (date(2026, 11, 1), date(2026, 12, 1))
        assert (schedule.amount_cents, schedule.earned_cents, schedule.closed_on) == (2000, 0, None)

    def test_counts_days_where_the_subscription_is(self) -> None:
        factories.make_open_invoice(time_zone="Asia/Kathmandu", now=datetime(2026, 10, 31, 18, 15, tzinfo=UTC))

        schedule = models.RecognitionSchedule.objects.get()

        assert (schedule.time_zone, schedule.starts_on, schedule.days) == ("Asia/Kathmandu", date(2026, 11, 1), 30)

    def test_opens_none_where_nothing_is_deferred(self) -> None:
        plan = factories.make_plan(factories.PER_CALL, base_fee_cents=500, base_fee_timing="in_arrears")
        factories.subscribe(factories.TenantFactory.create(), plan)
        call_command("generate_invoices", "--as-of", "2026-12-01T00:00:00Z", stdout=StringIO())
        finalization.finalize_invoices(now=on(12, 3))

        assert models.Invoice.objects.get().status == "open"
        assert not models.RecognitionSchedule.objects.exists()


@pytest.mark.django_db
class TestRecognizeRevenue:
    def test_earns_the_days_that_are_over(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)

        report = run(on(11, 4, hour=23))

        assert (report.days, report.transactions) == (3, 3)
        assert recognized() == [("2026-11-01", 33), ("2026-11-02", 34), ("2026-11-03", 33)]
        assert (held("deferred_revenue", invoice.tenant_id), held("subscription_revenue")) == (900, 100)

    def test_belongs_to_the_day_that_earned_it(self) -> None:
        factories.make_open_invoice(amount_cents=1000)

        run(on(12, 5))

        closed = {row.account_type: row.balance_cents for row in balances.trial_balance(book="main", as_of=on(11, 16))}
        assert (closed["deferred_revenue"], closed["subscription_revenue"]) == (500, 500)

    def test_does_nothing_twice(self) -> None:
        factories.make_open_invoice(amount_cents=1000)
        run(on(11, 4))

        again = run(on(11, 4))

        assert (again.days, again.transactions, len(recognized())) == (0, 0, 3)

    def test_is_the_same_after_a_long_silence(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)
        run(on(11, 3))

        run(on(12, 20))

        assert [day for day, _ in recognized()] == [f"2026-11-{day:02d}" for day in range(1, 31)]
        assert (held("deferred_revenue", invoice.tenant_id), held("subscription_revenue")) == (0, 1000)
        schedule = models.RecognitionSchedule.objects.get()
        assert (schedule.earned_cents, schedule.closed_on) == (1000, date(2026, 11, 30))
        books.verify()

    def test_never_earns_before_it_was_deferred(self) -> None:
        draft = factories.make_draft(amount_cents=3000)
        factories.make_open_invoice(amount_cents=1000)
        run(on(11, 3))
        with transaction.atomic():
            finalization.finalize_invoice(invoice_id=draft.id, now=on(11, 5, hour=7))

        run(on(11, 7))

        tenants = {
            entry.transaction.idempotency_key.rpartition(":")[2]: entry.amount_cents
            for entry in Entry.objects.filter(account_tenant_id=draft.tenant_id, transaction__kind=KINDS)
        }
        # The days until its finalization come with that day.
        assert tenants == {"2026-11-05": 500, "2026-11-06": 100}

    def test_joins_a_schedule_that_came_after_its_day_was_worked_to_the_next(self) -> None:
        draft = factories.make_draft(amount_cents=3000)
        factories.make_open_invoice(amount_cents=3000)
        run(on(11, 4))
        with transaction.atomic():
            finalization.finalize_invoice(invoice_id=draft.id, now=on(11, 2))

        run(on(11, 5))

        assert recognized()[-1] == ("2026-11-04", 500)

    def test_is_one_transaction_per_book_currency_and_day_netted_per_tenant(self) -> None:
        tenant = factories.TenantFactory.create()
        for code in ("one", "two"):
            prices = [{**factories.PER_CALL, "meter": code}]
            subscription = factories.subscribe(tenant, factories.make_plan(*prices, base_fee_cents=3000))
            call_command("generate_invoices", "--as-of", "2026-11-01T00:00:00Z", stdout=StringIO())
            invoice = models.Invoice.objects.get(subscription=subscription)
            with transaction.atomic():
                finalization.finalize_invoice(invoice_id=invoice.id, now=NOVEMBER)
        factories.make_open_invoice(amount_cents=600)
        factories.make_open_invoice(amount_cents=310, currency="JPY")

        run(on(11, 2))

        posted = Transaction.objects.filter(kind=KINDS).order_by("currency")
        assert [(one.idempotency_key, one.tenant_id, one.entry_count, one.amount_cents) for one in posted] == [
            ("recognition:main:JPY:2026-11-01", "", 2, 10),
            ("recognition:main:USD:2026-11-01", "", 3, 220),
        ]

    def test_earns_each_local_day_on_the_day_of_the_books_of_that_name(self) -> None:
        """A fee for November is earned by the close of November, in New York as in Tokyo."""
        east = factories.make_open_invoice(time_zone="Asia/Tokyo", now=datetime(2026, 10, 31, 15, tzinfo=UTC))
        west = factories.make_open_invoice(time_zone="America/New_York", now=datetime(2026, 11, 1, 4, tzinfo=UTC))

        run(on(11, 2))
        first = (held("deferred_revenue", east.tenant_id), held("deferred_revenue", west.tenant_id))
        run(on(12, 1))

        assert first == (967, 967)
        assert (held("deferred_revenue", east.tenant_id), held("deferred_revenue", west.tenant_id)) == (0, 0)

    def test_lets_one_book_fail_alone(self) -> None:
        factories.make_open_invoice(amount_cents=1000)
        factories.RecognitionScheduleFactory.create(book="nowhere")

        report = recognition.recognize_revenue(now=on(11, 4))

        assert (report.days, report.failed, report.needs_person) == (3, 1, True)
        assert report.failures[0].id == "nowhere:USD"

    def test_earns_a_credit_for_unused_days_as_a_negative(self) -> None:
        """1,000 for 30 days; from the 16th on a credit of 500 for the rest: nothing is left, nothing more is earned."""
        invoice = factories.make_open_invoice(amount_cents=1000)
        run(on(11, 16))
        factories.RecognitionScheduleFactory.create(
            tenant=invoice.tenant, amount_cents=-500, starts_on=date(2026, 11, 16)
        )

        run(on(12, 2))

        assert [amount for day, amount in recognized() if day > "2026-11-15"] == []
        assert held("subscription_revenue") == 500
        assert not models.RecognitionSchedule.objects.filter(closed_on=None).exists()


class TestRecognizersAtOnce:
    def test_earn_each_day_once_under_8_runs(self, committed_db: str) -> None:
        for _ in range(3):
            factories.make_open_invoice(amount_cents=1000)

        reports = threads.results(threads.run_together([lambda: recognition.recognize_revenue(now=on(12, 2))] * 8))

        assert sum(report.failed for report in reports) == 0
        assert sum(report.transactions for report in reports) == 30
        assert held("subscription_revenue") == 3000
        books.verify()

    def test_cost_what_is_open_not_what_was(self, committed_db: str, owner_cursor: Any) -> None:
        """A thousand closed schedules beside two open ones: neither the look for work nor the work reads them."""
        for _ in range(2):
            factories.make_open_invoice(amount_cents=1000)
        owner_cursor.execute("ALTER TABLE invoicing_recognition_schedule DROP CONSTRAINT"
                             " invoicing_recognition_schedule_line_id_key")  # fmt: skip
        owner_cursor.execute(
            "INSERT INTO invoicing_recognition_schedule SELECT 'rs_' || n, book, currency, time_zone, '2020-01-01',"
            " '2020-02-01', '2020-01-01', 1, 1, '2020-01-31', created_at, invoice_id, line_id, tenant_id"
            " FROM invoicing_recognition_schedule, generate_series(1, 5000) n WHERE id = (SELECT max(id) FROM"
            " invoicing_recognition_schedule)"
        )
        owner_cursor.execute("VACUUM ANALYZE invoicing_recognition_schedule")
        read: list[int] = []
        with connection.execute_wrapper(explaining(read)):
            run(on(11, 3))
        assert read
        assert max(read) <= 4


def explaining(read: list[int]) -> Callable[..., Any]:
    """Note how many schedules each statement reads, filtered ones too."""

    def wrapper(execute: Callable[..., Any], statement: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        if statement.startswith("SELECT") and "recognition_schedule" in statement:
            with context["connection"].cursor().cursor as cursor:
                cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, params)
                (document,) = cursor.fetchone()
            plan = document if isinstance(document, list) else json.loads(document)
            read.append(
                sum(
                    int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
                    for node in nodes(plan[0]["Plan"])
                    if node.get("Relation Name") == "invoicing_recognition_schedule"
                )
            )
        return execute(statement, params, many, context)

    return wrapper


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


class TestGuards:
    @pytest.mark.parametrize(
        ("statement", "rule"),
        [
            ("UPDATE invoicing_recognition_schedule SET amount_cents = 5000", "schedule_is_kept"),
            ("UPDATE invoicing_recognition_schedule SET ends_on = '2027-01-01'", "schedule_is_kept"),
            ("UPDATE invoicing_recognition_schedule SET earned_cents = 0", "goes_forward"),
            ("UPDATE invoicing_recognition_schedule SET earned_cents = 1001", "earns_no_more_than_it_has"),
            ("UPDATE invoicing_recognition_schedule SET closed_on = '2026-11-02'", "is_closed_when_all_is_earned"),
            ("DELETE FROM invoicing_recognition_schedule", "schedule_is_kept"),
            ("TRUNCATE invoicing_recognition_schedule", "schedule_is_kept"),
            ("UPDATE invoicing_recognition_progress SET recognized_through_on = '2026-10-01'", "goes_forward"),
            ("UPDATE invoicing_recognition_progress SET recognized_through_on = NULL", "goes_forward"),
            ("DELETE FROM invoicing_recognition_progress", "goes_forward"),
        ],
    )
    def test_hold_for_the_owner_too(self, committed_db: str, owner_cursor: Any, statement: str, rule: str) -> None:
        factories.make_open_invoice(amount_cents=1000)
        run(on(11, 3))
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            owner_cursor.execute(statement)
        assert database.raised_constraint(refused.value) == f"invoicing_recognition_{rule}"


@pytest.mark.django_db
class TestDoors:
    def test_command_tells_what_it_did(self) -> None:
        factories.make_open_invoice(amount_cents=1000)
        printed = StringIO()

        call_command("recognize_revenue", "--as-of", "2026-11-04T00:00:00Z", "--json", stdout=printed)

        assert json.loads(printed.getvalue()) == {
            "as_of": "2026-11-04T00:00:00Z",
            "days": 3,
            "transactions": 3,
            "failed": 0,
            "failures": [],
            "needs_person": False,
        }

    def test_task_goes_by_the_clock(self) -> None:
        start = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        factories.make_open_invoice(amount_cents=1000, now=start)

        tasks.recognize_revenue()

        assert len(recognized()) == 1
