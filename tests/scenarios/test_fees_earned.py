"""
A year of two customers who pay in advance: one in Tokyo by the calendar month, one in New York by the year.

The first pays 2,000 JPY a month from the middle of October on, so 1,097 for its first 17 of 31 days. The second pays
1,000.01 USD for the year from 1 November. Sweeps run every three days, each twice; beat is down for all of February.
"""

from datetime import UTC, date, datetime, timedelta

import pytest

from invoicing import drafting, finalization, recognition
from invoicing.models import Invoice, RecognitionSchedule, Tenant
from ledger import balances
from metering import aggregation
from tests.factories import invoicing as factories
from tests.factories import kernel
from tests.ledger import books

START = datetime(2026, 10, 15, 2, tzinfo=UTC)
END = datetime(2027, 11, 2, 2, tzinfo=UTC)
BEAT_IS_DOWN = (datetime(2027, 2, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC))


def _sweep(now: datetime) -> None:
    for _ in range(2):
        aggregation.aggregate_usage(now=now)
        assert not drafting.generate_invoices(now=now).needs_person
        assert not finalization.finalize_invoices(now=now).needs_person
        assert not recognition.recognize_revenue(now=now).needs_person


def _live() -> tuple[Tenant, Tenant]:
    tokyo = factories.TenantFactory.create(currency="JPY", time_zone="Asia/Tokyo", grace_hours=0)
    new_york = factories.TenantFactory.create(time_zone="America/New_York")
    monthly = factories.make_plan(base_fee_cents=2000, currency="JPY", billing_anchor="calendar")
    yearly = factories.make_plan(base_fee_cents=100_001, interval="year")
    factories.subscribe(tokyo, monthly, starts_at=START)
    factories.subscribe(new_york, yearly, starts_at=datetime(2026, 11, 1, 12, tzinfo=UTC))
    now = START
    while now < END:
        if not BEAT_IS_DOWN[0] <= now < BEAT_IS_DOWN[1]:
            _sweep(now)
        now += timedelta(days=3)
    _sweep(END)
    return tokyo, new_york


def _closed(currency: str, year: int, month: int) -> tuple[int, int]:
    """What is deferred and what was earned at the close of the month before."""
    rows = balances.trial_balance(book="main", currency=currency, as_of=datetime(year, month, 1, tzinfo=UTC))
    held = {row.account_type: row.balance_cents for row in rows}
    return held.get("deferred_revenue", 0), held.get("subscription_revenue", 0)


@pytest.mark.django_db
class TestFeesEarned:
    def test_day_by_day_to_the_cent(self) -> None:
        tokyo, new_york = _live()

        # Each month of Tokyo is earned when the books close it; half of October was 1,097.
        closes = [(2026, 11), (2026, 12), (2027, 1), (2027, 2), (2027, 3), (2027, 4)]
        assert [_closed("JPY", *close) for close in closes[:4]] == [(0, 1097), (0, 3097), (0, 5097), (0, 7097)]
        # February's invoice came with the first sweep after the silence, and so in March.
        assert [_closed("JPY", *close) for close in closes[4:]] == [(0, 7097), (0, 11_097)]
        # 30, 61, 92, 120, 151 of 365 days of 1,000.01, whatever the length of the month
        assert [_closed("USD", *close)[1] for close in closes[1:]] == [8219, 16_712, 25_206, 32_877, 41_370]
        assert [sum(_closed("USD", *close)) for close in closes[1:]] == [100_001] * 5
        assert _closed("USD", 2027, 11) == (0, 100_001)
        assert {one.tenant_id for one in Invoice.objects.filter(number__isnull=False)} == {tokyo.id, new_york.id}

    def test_leaves_in_deferred_revenue_what_is_open_on_the_schedules(self) -> None:
        tokyo, new_york = _live()

        for tenant in (tokyo, new_york):
            held = balances.balance_cents(
                book="main", account_type="deferred_revenue", currency=tenant.currency, tenant_id=tenant.id
            )
            open_schedules = RecognitionSchedule.objects.filter(tenant=tenant, closed_on=None)
            assert held == sum(schedule.deferred_cents for schedule in open_schedules)
        books.verify()

    def test_tells_the_plan_of_an_invoice(self) -> None:
        _, new_york = _live()
        invoice = Invoice.objects.get(tenant=new_york, status="open")

        told = kernel.client("billing:read").get(f"/v1/invoices/{invoice.id}/recognition").json()

        (line,) = told["lines"]
        assert (told["recognized_cents"], told["deferred_cents"]) == (100_001, 0)
        assert (line["days"], line["starts_on"], line["ends_on"]) == (365, "2026-11-01", "2027-11-01")
        assert line["fully_recognized_on"] == date(2027, 10, 31).isoformat()
        assert [month["amount_cents"] for month in line["months"]][:3] == [8219, 8493, 8494]
        assert sum(month["amount_cents"] for month in line["months"]) == 100_001
