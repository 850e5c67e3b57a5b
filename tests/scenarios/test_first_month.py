"""
The first month of a customer in New York.

Billed by the calendar from the middle of October on: 20.00 USD a month in advance, the first 1,000 calls free, to
10,000 at half a cent, then a quarter. Every sweep runs every six hours, and twice, as beat does when it restarts.
"""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from invoicing import drafting, finalization
from invoicing.models import Invoice, Tenant
from ledger import balances
from metering import aggregation
from payments import recording
from tests.factories import invoicing as factories
from tests.invoicing import usage

CALLS = {
    "meter": "api_call",
    "model": "graduated",
    "tiers": [
        {"up_to": 1_000, "unit_amount_cents": "0"},
        {"up_to": 10_000, "unit_amount_cents": "0.5"},
        {"up_to": None, "unit_amount_cents": "0.25"},
    ],
}


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# When each event was learned, when it happened, and how many calls it tells of.
EVENTS = [
    ("2026-10-20T12:00", "2026-10-20T12:00", 800),
    ("2026-11-01T05:00", "2026-11-01T03:59:59", 150),  # the last second of October in New York
    ("2026-11-01T05:00", "2026-11-01T04:00", 2_000),  # the first of November
    ("2026-11-02T20:00", "2026-10-31T18:00", 150),  # late, within the grace period: crosses the free tier
    ("2026-11-05T00:00", "2026-10-31T18:00", 100),  # too late for the invoice that is out
    ("2026-11-20T12:00", "2026-11-20T12:00", 10_000),
]


def _sweep(now: datetime) -> None:
    for _ in range(2):
        aggregation.aggregate_usage(now=now)
        assert not drafting.generate_invoices(now=now).needs_person
        assert not finalization.finalize_invoices(now=now).needs_person


def _transfer(invoice: Invoice, now: datetime) -> None:
    receipt = recording.Receipt(
        tenant_id=invoice.tenant_id,
        channel="manual",
        amount_cents=invoice.amount_due_cents,
        currency=invoice.currency,
        received_at=now,
        invoice_id=invoice.id,
    )
    with transaction.atomic():
        recording.record_transfer(receipt=receipt, now=now)


def _live(tenant: Tenant, start: datetime, end: datetime) -> None:
    """Let the time pass; an open invoice is paid by transfer at the next noon."""
    coming = [(_utc(learned), _utc(happened), quantity) for learned, happened, quantity in EVENTS]
    now = start
    while now <= end:
        while coming and coming[0][0] <= now:
            learned, happened, quantity = coming.pop(0)
            usage.send(tenant.id, "api_call", quantity, happened, now=learned)
        _sweep(now)
        if now.hour == 12:
            for invoice in Invoice.objects.filter(status="open"):
                _transfer(invoice, now)
        now += timedelta(hours=6)


@pytest.mark.django_db
class TestFirstMonth:
    def test_is_billed_to_the_cent(self) -> None:
        tenant = factories.TenantFactory.create(time_zone="America/New_York")
        plan = factories.make_plan(CALLS, base_fee_cents=2000, billing_anchor="calendar")
        factories.subscribe(tenant, plan, starts_at=_utc("2026-10-15T15:00"))

        _live(tenant, _utc("2026-10-15T18:00"), _utc("2026-12-04T12:00"))

        first, second, third = Invoice.objects.order_by("boundary_at")
        # 17 of 31 days of 20.00: 10.9677
        assert [(line.description, line.amount_cents) for line in first.lines.all()] == [
            ("Standard (17 of 31 days)", 1097)
        ]
        # 1,100 calls in October: 100 of them beyond the free ones
        assert [(line.kind, line.amount_cents) for line in second.lines.all()] == [("base_fee", 2000), ("usage", 50)]
        # 12,000 calls in November: 9,000 at half a cent, 2,000 at a quarter
        assert [(line.kind, line.amount_cents) for line in third.lines.all()] == [("base_fee", 2000), ("usage", 5000)]
        assert [invoice.period_end for invoice in (first, second, third)] == [
            _utc("2026-11-01T04:00"), _utc("2026-11-01T04:00"), _utc("2026-12-01T05:00"),
        ]  # fmt: skip
        assert [(invoice.number, invoice.status) for invoice in (first, second, third)] == [
            ("INV-2026-000001", "paid"), ("INV-2026-000002", "paid"), ("INV-2026-000003", "paid"),
        ]  # fmt: skip

    def test_leaves_the_books_balanced_and_nothing_owed(self) -> None:
        tenant = factories.TenantFactory.create(time_zone="America/New_York")
        plan = factories.make_plan(CALLS, base_fee_cents=2000, billing_anchor="calendar")
        factories.subscribe(tenant, plan, starts_at=_utc("2026-10-15T15:00"))

        _live(tenant, _utc("2026-10-15T18:00"), _utc("2026-12-04T12:00"))

        rows = balances.trial_balance(book="main")
        (total,) = balances.trial_balance_totals(rows)
        assert total.debit_cents == total.credit_cents
        assert {row.account_type: row.balance_cents for row in rows if row.balance_cents} == {
            "cash": 10_147,
            "deferred_revenue": 5_097,
            "usage_revenue": 5_050,
        }
