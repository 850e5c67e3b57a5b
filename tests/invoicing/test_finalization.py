"""Finalization: numbered, frozen and in the books, once."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from billing_site.kernel.models import OutboxMessage
from invoicing import drafting, errors, finalization
from invoicing.models import Invoice, LineItem, NumberSeries, Tenant
from ledger import balances
from ledger.models import Transaction
from tests.factories import invoicing as factories
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.support import threads

GRACE_OVER = DECEMBER + timedelta(hours=48)


def _balance(account_type: str, tenant: Tenant | None = None) -> int:
    return balances.balance_cents(
        book="main", account_type=account_type, currency="USD", tenant_id=tenant.id if tenant else ""
    )


def _drafted_usage(quantity: int = 42) -> Tenant:
    """A tenant with a draft over its usage of November, a cent a call."""
    tenant: Tenant = factories.TenantFactory.create(net_terms_days=14)
    factories.subscribe(tenant, factories.make_plan(factories.PER_CALL))
    if quantity:
        usage.use(tenant.id, "api_call", quantity, NOVEMBER)
    drafting.generate_invoices(now=DECEMBER)
    return tenant


@pytest.mark.django_db
class TestFinalizeInvoices:
    def test_numbers_freezes_posts_and_tells(self) -> None:
        tenant = _drafted_usage()

        report = finalization.finalize_invoices(now=GRACE_OVER)

        invoice = Invoice.objects.get()
        posted = Transaction.objects.get()
        message = OutboxMessage.objects.get(topic="invoice.finalized")
        assert (report.finalized, report.waiting, report.failed) == (1, 0, 0)
        assert (invoice.status, invoice.number) == ("open", "INV-2026-000001")
        assert (invoice.finalized_at, invoice.due_at) == (GRACE_OVER, GRACE_OVER + timedelta(days=14))
        assert (posted.idempotency_key, posted.amount_cents) == (f"invoice:{invoice.id}:finalized", 42)
        assert (message.reference_id, message.payload["number"]) == (invoice.id, invoice.number)
        assert (_balance("accounts_receivable", tenant), _balance("usage_revenue")) == (42, 42)

    def test_waits_for_the_end_of_grace(self) -> None:
        _drafted_usage()

        report = finalization.finalize_invoices(now=GRACE_OVER - timedelta(microseconds=1))

        assert (report.finalized, Invoice.objects.get().status) == (0, "draft")

    def test_counts_events_that_came_after_the_draft(self) -> None:
        tenant = _drafted_usage()
        usage.use(tenant.id, "api_call", 58, NOVEMBER, now=GRACE_OVER - timedelta(hours=1))

        finalization.finalize_invoices(now=GRACE_OVER)

        invoice = Invoice.objects.get()
        assert (invoice.total_cents, LineItem.objects.get().amount_cents) == (100, 100)
        assert _balance("accounts_receivable", tenant) == 100

    def test_waits_while_events_of_the_period_are_not_summarised(self) -> None:
        tenant = _drafted_usage()
        usage.send(tenant.id, "api_call", 58, NOVEMBER, now=GRACE_OVER)

        waiting = finalization.finalize_invoices(now=GRACE_OVER)
        usage.summarise(GRACE_OVER)
        done = finalization.finalize_invoices(now=GRACE_OVER)

        assert (waiting.finalized, waiting.waiting, waiting.needs_person) == (0, 1, False)
        assert (done.finalized, Invoice.objects.get().total_cents) == (1, 100)

    def test_does_not_wait_for_other_tenants_or_later_usage(self) -> None:
        tenant = _drafted_usage()
        usage.send("somebody-else", "api_call", 1, NOVEMBER, now=GRACE_OVER)
        usage.send(tenant.id, "api_call", 1, DECEMBER, now=GRACE_OVER)

        assert finalization.finalize_invoices(now=GRACE_OVER).finalized == 1

    def test_never_changes_an_invoice_for_late_events(self) -> None:
        tenant = _drafted_usage()
        finalization.finalize_invoices(now=GRACE_OVER)
        frozen = Invoice.objects.values().get(), LineItem.objects.values().get()
        usage.use(tenant.id, "api_call", 1000, NOVEMBER, now=GRACE_OVER + timedelta(hours=1))

        drafting.generate_invoices(now=GRACE_OVER + timedelta(hours=2))
        finalization.finalize_invoices(now=GRACE_OVER + timedelta(days=2))

        assert (Invoice.objects.values().get(), LineItem.objects.values().get()) == frozen
        assert Transaction.objects.count() == 1

    def test_pays_a_zero_invoice_at_once_and_posts_nothing(self) -> None:
        _drafted_usage(quantity=0)

        finalization.finalize_invoices(now=GRACE_OVER)

        invoice = Invoice.objects.get()
        assert (invoice.status, invoice.paid_at, invoice.number) == ("paid", GRACE_OVER, "INV-2026-000001")
        assert not Transaction.objects.exists()
        assert OutboxMessage.objects.filter(topic="invoice.paid", reference_id=invoice.id).count() == 1

    def test_defers_a_fee_billed_in_advance(self) -> None:
        invoice = factories.make_open_invoice(amount_cents=2000)

        assert _balance("deferred_revenue", invoice.tenant) == 2000
        assert (_balance("usage_revenue"), _balance("subscription_revenue")) == (0, 0)

    def test_earns_a_fee_billed_in_arrears(self) -> None:
        plan = factories.make_plan(base_fee_cents=2000, base_fee_timing="in_arrears")
        tenant = factories.TenantFactory.create()
        factories.subscribe(tenant, plan)
        drafting.generate_invoices(now=DECEMBER)

        finalization.finalize_invoices(now=GRACE_OVER)

        assert (_balance("subscription_revenue"), _balance("deferred_revenue", tenant)) == (2000, 0)

    def test_numbers_without_gap_through_the_year_and_anew_in_the_next(self) -> None:
        _drafted_usage()
        _drafted_usage()
        drafting.generate_invoices(now=datetime(2027, 1, 1, tzinfo=UTC))

        for day in range(1, 10):
            finalization.finalize_invoices(now=datetime(2026, 12, 28, tzinfo=UTC) + timedelta(days=day))

        assert list(Invoice.objects.order_by("number").values_list("number", flat=True)) == [
            "INV-2026-000001", "INV-2026-000002", "INV-2027-000001", "INV-2027-000002",
        ]  # fmt: skip

    def test_gives_the_number_back_when_the_transaction_fails(self) -> None:
        broken, sound = _drafted_usage(), _drafted_usage()
        # A book that the ledger does not have: posting is refused, whatever was done before it is undone.
        Invoice.objects.filter(tenant=broken).update(book="nowhere")

        report = finalization.finalize_invoices(now=GRACE_OVER)

        assert (report.finalized, report.failed, report.needs_person) == (1, 1, True)
        assert Invoice.objects.get(tenant=sound).number == "INV-2026-000001"
        assert Invoice.objects.get(tenant=broken).status == "draft"

    def test_asks_for_a_bounded_number_of_rows(self, django_assert_max_num_queries: pytest.FixtureRequest) -> None:
        for _ in range(5):
            factories.subscribe(factories.TenantFactory.create(), factories.make_plan(factories.PER_CALL))
        drafting.generate_invoices(now=DECEMBER)

        with django_assert_max_num_queries(1 + 5 * 14):  # type: ignore[operator]
            assert finalization.finalize_invoices(now=GRACE_OVER).finalized == 5


@pytest.mark.django_db
class TestFinalizeInvoice:
    def test_ends_the_grace_period_early(self) -> None:
        draft = factories.make_draft()

        with transaction.atomic():
            invoice = finalization.finalize_invoice(invoice_id=draft.id, now=NOVEMBER)

        assert (invoice.status, invoice.finalized_at) == ("open", NOVEMBER)

    def test_refuses_what_is_finalized_and_tells_its_state(self) -> None:
        invoice = factories.make_open_invoice()

        with pytest.raises(errors.InvoiceNotDraft) as refused, transaction.atomic():
            finalization.finalize_invoice(invoice_id=invoice.id, now=DECEMBER)

        assert refused.value.extra == {"invoice_status": "open", "number": "INV-2026-000001"}

    def test_refuses_while_usage_is_pending(self) -> None:
        tenant = _drafted_usage()
        usage.send(tenant.id, "api_call", 1, NOVEMBER, now=DECEMBER)

        with pytest.raises(errors.UsagePending), transaction.atomic():
            finalization.finalize_invoice(invoice_id=Invoice.objects.get().id, now=GRACE_OVER)

    def test_knows_no_unknown_invoice(self) -> None:
        with pytest.raises(errors.InvoiceNotFound), transaction.atomic():
            finalization.finalize_invoice(invoice_id="inv_nobody", now=NOVEMBER)


class TestFinalizersAtOnce:
    def test_makes_one_invoice_number_and_transaction_under_32_finalizers(self, committed_db: str) -> None:
        draft = factories.make_draft()

        def finalize() -> Invoice:
            with transaction.atomic():
                return finalization.finalize_invoice(invoice_id=draft.id, now=NOVEMBER)

        outcomes = threads.run_together([finalize] * 32)

        assert Counter(type(outcome).__name__ for outcome in outcomes) == {"Invoice": 1, "InvoiceNotDraft": 31}
        assert Invoice.objects.get().number == "INV-2026-000001"
        assert Transaction.objects.count() == 1
        assert NumberSeries.objects.get().last_number == 1
        assert OutboxMessage.objects.filter(topic="invoice.finalized").count() == 1

    def test_leaves_no_gap_when_32_sweeps_run_over_40_drafts(self, committed_db: str) -> None:
        for _ in range(40):
            factories.make_draft(grace_hours=0)

        reports = threads.run_together([lambda: finalization.finalize_invoices(now=NOVEMBER)] * 32)

        assert [report for report in reports if isinstance(report, BaseException)] == []
        assert sum(report.finalized for report in reports if not isinstance(report, BaseException)) == 40
        assert sum(report.failed for report in reports if not isinstance(report, BaseException)) == 0
        numbers = sorted(map(str, Invoice.objects.values_list("number", flat=True)))
        assert numbers == [f"INV-2026-{number:06d}" for number in range(1, 41)]
        assert Transaction.objects.count() == 40
        assert _balance("deferred_revenue", Invoice.objects.first().tenant) == 1000  # type: ignore[union-attr]
