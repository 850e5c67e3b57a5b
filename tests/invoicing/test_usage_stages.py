"""What invoices billed, laid beside what was metered."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_site.kernel import usage_stages
from invoicing import drafting, finalization, models
from metering import hours, investigation
from metering.findings import HourRow
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage

pytestmark = pytest.mark.django_db

GRACE_OVER = DECEMBER + timedelta(hours=48)
LATER = GRACE_OVER + timedelta(hours=1)
NOON = NOVEMBER + timedelta(hours=12)


def subscribed(**tenant: Any) -> models.Tenant:
    customer: models.Tenant = factories.TenantFactory.create(**tenant)
    starts_at = NOVEMBER + timedelta(hours=6) if tenant else NOVEMBER
    factories.subscribe(customer, factories.make_plan(factories.PER_CALL), starts_at=starts_at)
    return customer


def bill(*, drafted_at: datetime = DECEMBER, finalized_at: datetime = GRACE_OVER) -> None:
    drafting.generate_invoices(now=drafted_at)
    assert finalization.finalize_invoices(now=finalized_at).failed == 0


def look(customer: models.Tenant, **options: Any) -> tuple[investigation.Investigation, dict[datetime, HourRow]]:
    rows: dict[datetime, HourRow] = {}
    arguments = {"tenant_id": customer.id, "period_from": NOVEMBER, "period_to": DECEMBER, "now": LATER, **options}
    found = investigation.investigate(on_hour=lambda row: rows.update({hours.start_of(row.hour): row}), **arguments)
    return found, rows


def told(found: investigation.Investigation) -> dict[str, str]:
    return {finding.code: finding.detail for finding in found.findings}


class TestInvestigation:
    def test_tells_what_was_billed_and_what_came_after(self) -> None:
        customer = subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        usage.use(customer.id, "api_call", 2, NOON + timedelta(hours=3))
        bill()
        usage.use(customer.id, "api_call", 7, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)

        found, rows = look(customer)

        assert (found.stages["accepted"], found.stages["billed"], found.stages["late"]) == (3, 2, 1)
        assert (rows[NOON].billed, rows[NOON].late) == (1, 1)
        assert rows[NOON + timedelta(hours=3)].billed == 1
        number = models.Invoice.objects.get(status="open").number
        assert told(found) == {
            "late_after_finalization": f"api_call: 1 event (quantity 7) of {number} came or changed after it was "
            "finalized at 2026-12-03T00:00:00Z. What it billed stands at 42.",
        }
        assert not found.needs_person

    def test_names_what_is_late_and_not_noticed_yet(self) -> None:
        customer = subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        bill()
        usage.use(customer.id, "api_call", 7, NOON, now=LATER)

        found, _ = look(customer)

        assert (
            "billed 40, the meter now says 47, and 0 of that is known to be late: 7 is not"
            in told(found)["billed_differs"]
        )
        assert found.needs_person

    def test_names_a_draft(self) -> None:
        customer = subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        drafting.generate_invoices(now=DECEMBER)

        found, rows = look(customer)

        assert "holds 40 so far" in told(found)["not_billed_yet"]
        assert rows[NOON].billed == 0

    def test_names_usage_that_no_price_names(self) -> None:
        customer = subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        usage.use(customer.id, "tokens", 1, NOON)
        bill()

        assert told(look(customer)[0])["not_priced"].startswith("tokens: 1 event summarised")

    def test_tells_the_days_of_kathmandu_from_those_of_utc(self) -> None:
        customer = subscribed(time_zone="Asia/Kathmandu")
        ends_at = datetime(2026, 11, 30, 18, 15, tzinfo=UTC)
        usage.use(customer.id, "api_call", 1, NOON)
        usage.use(customer.id, "api_call", 20, ends_at - timedelta(seconds=1))
        usage.use(customer.id, "api_call", 300, ends_at)
        bill(drafted_at=ends_at, finalized_at=ends_at + timedelta(hours=48))
        usage.use(customer.id, "api_call", 5, ends_at - timedelta(seconds=2), now=LATER)
        usage.use(customer.id, "api_call", 6, ends_at + timedelta(seconds=2), now=LATER)
        drafting.generate_invoices(now=LATER)

        found, rows = look(customer)

        edge = rows[datetime(2026, 11, 30, 18, tzinfo=UTC)]
        assert (edge.accepted, edge.billed, edge.late) == (4, 1, 1)
        assert "ends 2026-11-30T18:15:00Z" in told(found)["edges_differ"]
        assert "2 events (quantity 306) lie between" in told(found)["edges_differ"]
        assert "billed_differs" not in told(found)

    def test_shows_nothing_of_a_voided_invoice(self) -> None:
        customer = subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        bill()
        models.Invoice.objects.filter(tenant=customer).update(status="void")

        found, rows = look(customer)

        assert rows[NOON].billed == 0
        assert told(found) == {}


class TestListBilledMeters:
    def test_keeps_to_the_tenant_and_the_time(self) -> None:
        customer, other = subscribed(), subscribed()
        usage.use(customer.id, "api_call", 40, NOON)
        usage.use(other.id, "api_call", 40, NOON)
        bill()

        def listed(tenant_id: str, start: datetime, end: datetime) -> list[tuple[str, int]]:
            found = usage_stages.list_billed_meters(tenant_id=tenant_id, period_from=start, period_to=end)
            return [(one.meter, int(one.quantity)) for one in found]

        assert listed(customer.id, NOVEMBER, DECEMBER) == [("api_call", 40)]
        assert listed(customer.id, DECEMBER, LATER) == []
        assert listed(customer.id, NOVEMBER - timedelta(days=9), NOVEMBER) == []
        assert listed("nobody", NOVEMBER, DECEMBER) == []

    def test_asks_each_reader_once(self) -> None:
        before = list(usage_stages._readers)
        for reader in before:
            usage_stages.register(reader)
        assert usage_stages._readers == before
