"""Closing the books: earned, accrued, closed."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from invoicing import closing, errors
from ledger import balances, periods
from ledger import errors as ledger_errors
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.ledger import books

pytestmark = pytest.mark.django_db


def close(**other: Any) -> closing.ClosingReport:
    said = {"book": "main", "period_start": NOVEMBER, "period_end": DECEMBER, "now": DECEMBER + timedelta(days=5)}
    return closing.close_books(actor="ada", reason="month end", **{**said, **other})


def customer() -> None:
    tenant = factories.make_open_invoice(amount_cents=1000).tenant
    factories.subscribe(tenant, factories.make_plan({**factories.PER_CALL, "meter": "calls"}))
    usage.use(tenant.id, "calls", 70, datetime(2026, 11, 20, tzinfo=UTC))


class TestCloseBooks:
    def test_earns_accrues_and_closes(self) -> None:
        customer()

        report = close()

        assert (report.days_recognized > 0, report.accrual) == (True, "accrued")
        assert (report.period_start, report.period_end) == (NOVEMBER, DECEMBER)
        rows = balances.trial_balance(book="main", as_of=DECEMBER)
        held = {row.account_type: row.balance_cents for row in rows if row.balance_cents}
        assert (held["unbilled_receivable"], held["usage_revenue"]) == (70, 70)
        assert (held["subscription_revenue"], "deferred_revenue" in held) == (1000, False)
        last = periods.find_last_closed(book="main")
        assert last is not None
        assert last.ends_at == DECEMBER
        books.verify()

    def test_refuses_a_second_time_and_posts_nothing_more(self) -> None:
        customer()
        close()
        before = balances.trial_balance(book="main")

        with pytest.raises(ledger_errors.PeriodOutOfOrder):
            close()

        assert balances.trial_balance(book="main") == before

    def test_refuses_an_end_within_a_day(self) -> None:
        with pytest.raises(errors.PeriodEndsWithinDay):
            close(period_end=DECEMBER + timedelta(hours=5))

    def test_refuses_what_is_not_over(self) -> None:
        with pytest.raises(errors.DayNotOver):
            close(now=DECEMBER - timedelta(seconds=1))

    def test_refuses_while_a_day_cannot_be_earned(self) -> None:
        # Nothing was deferred for it in this book, which the ledger does not have.
        factories.RecognitionScheduleFactory.create(book="nowhere")

        with pytest.raises(errors.RecognitionFailed):
            close(book="nowhere")

    def test_is_a_command(self) -> None:
        printed = StringIO()
        dates = [
            "--since",
            "2026-11-01T00:00:00Z",
            "--until",
            "2026-12-01T00:00:00Z",
            "--as-of",
            "2026-12-05T00:00:00Z",
        ]

        call_command("close_books", "main", *dates, "--actor", "ada", "--reason", "month end", "--json", stdout=printed)

        assert json.loads(printed.getvalue()) == {
            "as_of": "2026-12-05T00:00:00Z",
            "book": "main",
            "period_start": "2026-11-01T00:00:00Z",
            "period_end": "2026-12-01T00:00:00Z",
            "days_recognized": 0,
            "accrual": "nothing",
        }
