"""Accrual: what was used and not billed when a day ended, taken back the next day."""

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import transaction

from invoicing import accruals, drafting, errors, finalization, models, tasks
from ledger import balances
from ledger.models import Transaction
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.ledger import books
from tests.support import threads

LAST_OF_NOVEMBER = date(2026, 11, 30)
KINDS = ("usage_accrued", "usage_accrual_reversed")


def customer(used: int, plan: models.PlanVersion | None = None, **tenant: object) -> models.Tenant:
    """A tenant that pays a cent a call and made some on 10 November."""
    made: models.Tenant = factories.TenantFactory.create(**tenant)
    factories.subscribe(made, plan or factories.make_plan(factories.PER_CALL, currency=made.currency))
    if used:
        usage.use(made.id, "api_call", used, NOVEMBER + timedelta(days=9))
    return made


def accrue(day: date = LAST_OF_NOVEMBER, now: datetime = DECEMBER) -> accruals.Step:
    with transaction.atomic():
        return accruals.accrue_unbilled_usage(book="main", day=day, now=now)


def held(as_of: datetime | None = None, currency: str = "USD") -> dict[str, int]:
    rows = balances.trial_balance(book="main", currency=currency, as_of=as_of)
    return {row.account_type: row.balance_cents for row in rows if row.balance_cents}


@pytest.mark.django_db
class TestAccrueUnbilledUsage:
    def test_makes_usage_revenue_of_the_day_and_takes_it_back_on_the_next(self) -> None:
        tenant = customer(700)

        assert accrue() == "accrued"

        assert held(DECEMBER) == {"unbilled_receivable": 700, "usage_revenue": 700}
        assert held(DECEMBER + timedelta(microseconds=1)) == {}
        accrued, undone = Transaction.objects.filter(kind__in=KINDS).order_by("id")
        assert (accrued.idempotency_key, undone.idempotency_key) == (
            "accrual:main:USD:2026-11-30", "accrual:main:USD:2026-11-30:reversed",
        )  # fmt: skip
        assert (accrued.tenant_id, accrued.entries.get(entry_type="debit").account_tenant_id) == ("", tenant.id)

    def test_rates_the_part_of_the_running_period_that_is_over(self) -> None:
        tenant = customer(0)
        usage.use(tenant.id, "api_call", 10, datetime(2026, 11, 15, 23, 59, 59, tzinfo=UTC))
        usage.use(tenant.id, "api_call", 5, datetime(2026, 11, 16, tzinfo=UTC))

        accrue(date(2026, 11, 15), now=datetime(2026, 11, 17, tzinfo=UTC))

        assert held(datetime(2026, 11, 16, tzinfo=UTC)) == {"unbilled_receivable": 10, "usage_revenue": 10}

    def test_counts_what_is_drafted_and_what_was_finalized_after_the_day(self) -> None:
        customer(700)
        customer(30, grace_hours=24)
        customer(4)
        drafting.generate_invoices(now=DECEMBER)
        finalization.finalize_invoices(now=DECEMBER + timedelta(hours=24))

        accrue(now=DECEMBER + timedelta(days=2))

        assert held(DECEMBER)["unbilled_receivable"] == 734

    def test_leaves_out_what_was_billed_by_then(self) -> None:
        customer(700, grace_hours=0)
        drafting.generate_invoices(now=DECEMBER)
        finalization.finalize_invoices(now=DECEMBER)

        assert accrue(date(2026, 12, 1), now=DECEMBER + timedelta(days=1)) == "nothing"

    def test_tells_the_month_of_the_usage_and_not_that_of_the_invoice(self) -> None:
        customer(700)
        drafting.generate_invoices(now=DECEMBER)
        finalization.finalize_invoices(now=DECEMBER + timedelta(hours=48))
        accrue(now=DECEMBER + timedelta(days=3))

        assert held(DECEMBER)["usage_revenue"] == 700
        assert held() == {"accounts_receivable": 700, "usage_revenue": 700}

    def test_keeps_currencies_and_tenants_apart(self) -> None:
        customer(700)
        customer(20)
        customer(9, currency="JPY")

        accrue()

        assert held(DECEMBER)["unbilled_receivable"] == 720
        assert held(DECEMBER, "JPY")["unbilled_receivable"] == 9
        assert Transaction.objects.get(idempotency_key="accrual:main:USD:2026-11-30").entry_count == 3

    def test_stays_as_it_was_posted(self) -> None:
        tenant = customer(700)
        accrue()
        usage.use(tenant.id, "api_call", 50, NOVEMBER, now=DECEMBER)

        assert accrue() == "nothing"
        assert held(DECEMBER)["unbilled_receivable"] == 700

    def test_waits_for_usage_that_is_not_summarised(self) -> None:
        tenant = customer(700)
        usage.send(tenant.id, "api_call", 1, NOVEMBER, now=DECEMBER)

        with pytest.raises(errors.UsagePending):
            accrue()

    def test_refuses_a_day_that_is_not_over(self) -> None:
        with pytest.raises(errors.DayNotOver):
            accrue(now=DECEMBER - timedelta(microseconds=1))

    def test_catches_up_where_drafting_is_behind(self) -> None:
        tenant = customer(700)
        usage.use(tenant.id, "api_call", 30, DECEMBER)

        accrue(date(2026, 12, 31), now=datetime(2027, 1, 1, tzinfo=UTC))

        assert held(datetime(2027, 1, 1, tzinfo=UTC))["unbilled_receivable"] == 730


class TestAccruersAtOnce:
    def test_post_a_day_once(self, committed_db: str) -> None:
        customer(700)

        steps = threads.results(threads.run_together([accrue] * 8))

        assert sorted(steps) == ["accrued"] + ["nothing"] * 7
        assert Transaction.objects.filter(kind__in=KINDS).count() == 2
        books.verify()


@pytest.mark.django_db
class TestDoors:
    def test_command_accrues_the_latest_month_unless_told_the_day(self) -> None:
        customer(700)
        printed = StringIO()

        call_command("accrue_usage", "--as-of", "2026-12-05T00:00:00Z", "--json", stdout=printed)

        assert json.loads(printed.getvalue()) == {
            "as_of": "2026-12-05T00:00:00Z",
            "day": "2026-11-30",
            "accrued": 1,
            "waiting": 0,
            "failed": 0,
            "failures": [],
            "needs_person": False,
        }
        call_command("accrue_usage", "--as-of", "2026-12-05T00:00:00Z", "--day", "2026-11-15", stdout=StringIO())
        assert Transaction.objects.filter(kind="usage_accrued").count() == 2

    def test_report_tells_books_that_wait(self) -> None:
        tenant = customer(700)
        usage.send(tenant.id, "api_call", 1, NOVEMBER, now=DECEMBER)

        report = accruals.accrue_usage(day=LAST_OF_NOVEMBER, now=DECEMBER)

        assert (report.accrued, report.waiting, report.failed, report.needs_person) == (0, 1, 0, False)

    def test_task_goes_by_the_clock(self) -> None:
        tasks.accrue_usage()
