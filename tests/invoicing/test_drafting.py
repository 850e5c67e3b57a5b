"""Drafting: one draft per boundary, kept true to the usage."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_site.kernel.models import OutboxMessage
from invoicing import drafting
from invoicing.models import Invoice, LineItem, Subscription
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.support import threads


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.django_db
class TestGenerateInvoices:
    def test_bills_the_usage_of_the_period_that_ended(self) -> None:
        tenant = factories.TenantFactory.create()
        subscription = factories.subscribe(tenant, factories.make_plan(factories.PER_CALL))
        usage.use(tenant.id, "api_call", 40, NOVEMBER)
        usage.use(tenant.id, "api_call", 2, DECEMBER - timedelta(microseconds=1))
        usage.use(tenant.id, "api_call", 1000, DECEMBER)

        report = drafting.generate_invoices(now=DECEMBER)

        (invoice,) = Invoice.objects.all()
        (line,) = invoice.lines.all()
        assert (report.drafted, report.passed, report.failed, report.needs_person) == (1, 1, 0, False)
        assert (invoice.status, invoice.total_cents, invoice.amount_due_cents) == ("draft", 42, 42)
        assert (invoice.period_start, invoice.period_end) == (NOVEMBER, DECEMBER)
        assert invoice.finalizes_at == DECEMBER + timedelta(hours=48)
        assert (line.kind, line.meter, int(line.quantity), line.amount_cents) == ("usage", "api_call", 42, 42)
        assert Subscription.objects.get(pk=subscription.pk).next_boundary_at == _utc("2027-01-01")

    def test_makes_no_invoice_at_the_start_of_a_plan_without_fee(self) -> None:
        factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))

        report = drafting.generate_invoices(now=NOVEMBER)

        assert (report.drafted, report.passed) == (0, 1)
        assert not Invoice.objects.exists()

    def test_bills_a_fee_in_advance_from_the_start_on(self) -> None:
        plan = factories.make_plan(base_fee_cents=2000)
        factories.subscribe(factories.TenantFactory.create(), plan)

        drafting.generate_invoices(now=DECEMBER)

        first, second = Invoice.objects.order_by("boundary_at")
        assert (first.boundary_at, first.period_start, first.period_end) == (NOVEMBER, NOVEMBER, DECEMBER)
        assert (second.boundary_at, second.period_start, second.period_end) == (DECEMBER, NOVEMBER, DECEMBER)
        assert [line.period_start for line in LineItem.objects.order_by("period_start")] == [NOVEMBER, DECEMBER]
        assert (first.bills_usage, second.bills_usage) == (False, True)

    def test_bills_a_fee_in_arrears_when_the_period_has_ended(self) -> None:
        plan = factories.make_plan(base_fee_cents=2000, base_fee_timing="in_arrears")
        factories.subscribe(factories.TenantFactory.create(), plan)

        drafting.generate_invoices(now=DECEMBER)

        (line,) = LineItem.objects.all()
        assert (line.kind, line.amount_cents, line.period_start, line.period_end) == (
            "base_fee", 2000, NOVEMBER, DECEMBER,
        )  # fmt: skip

    def test_prorates_the_fee_of_a_partial_calendar_period_by_days(self) -> None:
        tenant = factories.TenantFactory.create(currency="JPY")
        plan = factories.make_plan(base_fee_cents=2000, billing_anchor="calendar", currency="JPY")
        factories.subscribe(tenant, plan, starts_at=_utc("2026-10-15"))

        drafting.generate_invoices(now=_utc("2026-10-15"))

        (line,) = LineItem.objects.all()
        assert line.amount_cents == 1097
        assert line.unrounded_amount_cents == "34000/31"
        assert line.description == "Standard (17 of 31 days)"
        assert line.calculation == {
            "fee_cents": 2000, "days": 17, "of_days": 31, "unrounded_amount_cents": "34000/31",
        }  # fmt: skip

    def test_catches_up_with_missed_boundaries(self) -> None:
        factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))

        report = drafting.generate_invoices(now=_utc("2027-03-15"))

        assert report.drafted == 4
        assert list(Invoice.objects.order_by("boundary_at").values_list("boundary_at", flat=True)) == [
            DECEMBER, _utc("2027-01-01"), _utc("2027-02-01"), _utc("2027-03-01"),
        ]  # fmt: skip

    def test_gives_a_back_dated_subscription_its_grace_from_its_making(self) -> None:
        made_at = _utc("2027-02-10T12:00:00")
        factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL), now=made_at)

        drafting.generate_invoices(now=made_at)

        assert set(Invoice.objects.values_list("finalizes_at", flat=True)) == {made_at + timedelta(hours=48)}

    @pytest.mark.parametrize(
        ("tenant_hours", "plan_hours", "hours"),
        [(None, None, 48), (None, 72, 72), (12, 72, 12), (0, 72, 0), (None, 0, 0)],
    )
    def test_takes_the_tenants_grace_before_the_plans(
        self, tenant_hours: int | None, plan_hours: int | None, hours: int
    ) -> None:
        tenant = factories.TenantFactory.create(grace_hours=tenant_hours)
        factories.subscribe(tenant, factories.make_plan(factories.PER_CALL, grace_hours=plan_hours))

        drafting.generate_invoices(now=DECEMBER)

        assert Invoice.objects.get().finalizes_at == DECEMBER + timedelta(hours=hours)

    def test_waits_for_a_start_in_the_future(self) -> None:
        plan = factories.make_plan(factories.PER_CALL, base_fee_cents=100)
        factories.subscribe(factories.TenantFactory.create(), plan, starts_at=DECEMBER, now=NOVEMBER)

        assert drafting.generate_invoices(now=DECEMBER - timedelta(seconds=1)).drafted == 0
        assert drafting.generate_invoices(now=DECEMBER).drafted == 1

    def test_counts_usage_to_the_second_at_midnight_in_kathmandu(self) -> None:
        tenant = factories.TenantFactory.create(time_zone="Asia/Kathmandu")
        factories.subscribe(tenant, factories.make_plan(factories.PER_CALL), starts_at=_utc("2026-11-01T06:00:00"))
        for quantity, at in [
            (1, "2026-10-31T18:14:59"),
            (20, "2026-10-31T18:15:00"),
            (300, "2026-11-30T18:14:59"),
            (4000, "2026-11-30T18:15:00"),
        ]:
            usage.use(tenant.id, "api_call", quantity, _utc(at))

        drafting.generate_invoices(now=_utc("2026-11-30T18:15:00"))

        assert Invoice.objects.get().total_cents == 320

    def test_refreshes_drafts_in_grace_and_keeps_their_lines_ids(self) -> None:
        tenant = factories.TenantFactory.create()
        factories.subscribe(tenant, factories.make_plan(factories.PER_CALL))
        usage.use(tenant.id, "api_call", 40, NOVEMBER)
        drafting.generate_invoices(now=DECEMBER)
        before = LineItem.objects.get()
        usage.use(tenant.id, "api_call", 2, NOVEMBER, now=DECEMBER + timedelta(hours=5))

        report = drafting.generate_invoices(now=DECEMBER + timedelta(hours=6))

        after = LineItem.objects.get()
        assert (report.drafted, report.refreshed) == (0, 1)
        assert (after.id, after.amount_cents, Invoice.objects.get().total_cents) == (before.id, 42, 42)
        assert drafting.generate_invoices(now=DECEMBER + timedelta(hours=7)).refreshed == 0

    def test_leaves_an_outbox_row_for_each_draft(self) -> None:
        factories.make_draft()

        message = OutboxMessage.objects.get(topic="invoice.created")
        assert message.reference_id == Invoice.objects.get().id

    def test_is_not_stopped_by_one_tenants_failure(self) -> None:
        broken, sound = factories.TenantFactory.create(), factories.TenantFactory.create()
        dear = {**factories.PER_CALL, "unit_amount_cents": "1" + "0" * 15}
        factories.subscribe(broken, factories.make_plan(dear))
        factories.subscribe(sound, factories.make_plan(factories.PER_CALL))
        usage.use(broken.id, "api_call", 2, NOVEMBER)
        usage.use(sound.id, "api_call", 2, NOVEMBER)

        report = drafting.generate_invoices(now=DECEMBER)

        assert (report.drafted, report.failed, report.needs_person) == (1, 1, True)
        assert report.failures[0].code == "amount_too_large"
        assert Invoice.objects.get().tenant == sound

    def test_bills_nobody_who_is_paused_or_cancelled(self) -> None:
        for status in ("paused", "cancelled", "trialing"):
            factories.SubscriptionFactory.create(status=status)

        assert drafting.generate_invoices(now=DECEMBER).drafted == 0

    def test_asks_for_a_bounded_number_of_rows(self, django_assert_max_num_queries: pytest.FixtureRequest) -> None:
        for _ in range(5):
            factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))
        drafting.generate_invoices(now=NOVEMBER)

        # Per draft: savepoint, lock, prices, meters, usage, invoice, lines, due row, outbox, subscription, end; then
        # the look that finds nothing more due. Once: what changed since the last sweep.
        with django_assert_max_num_queries(9 + 5 * 14):  # type: ignore[operator]
            assert drafting.generate_invoices(now=DECEMBER).drafted == 5


class TestGenerateInvoicesAtOnce:
    def test_makes_one_draft_when_run_twice_at_once(self, committed_db: str) -> None:
        for _ in range(8):
            factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))

        reports = threads.run_together([lambda: drafting.generate_invoices(now=_utc("2027-02-01"))] * 4)

        assert not [report for report in reports if isinstance(report, BaseException)]
        assert sum(report.drafted for report in reports if not isinstance(report, BaseException)) == 24
        assert Invoice.objects.count() == 24
        assert set(Subscription.objects.values_list("next_boundary_at", flat=True)) == {_utc("2027-03-01")}


@pytest.mark.django_db
class TestFollowUsage:
    def test_leaves_a_finalized_invoice_alone_that_billed_no_usage(self) -> None:
        invoice = factories.make_open_invoice()

        assert drafting.follow_usage(invoice_id=invoice.id, now=DECEMBER) == "same"

    def test_answers_none_where_there_is_no_invoice(self) -> None:
        assert drafting.follow_usage(invoice_id="inv_x", now=DECEMBER) is None
