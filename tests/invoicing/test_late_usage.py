"""Late usage: counted for each closed period, and what was billed stays."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from invoicing import drafting, finalization, late_usage, models
from ledger.models import Entry
from metering import aggregation
from metering.models import ChangedWindow, Event, Series
from tests.factories import invoicing as factories
from tests.factories import kernel
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.support import threads, waiting

GRACE_OVER = DECEMBER + timedelta(hours=48)
LATER = GRACE_OVER + timedelta(hours=1)
NOON = NOVEMBER + timedelta(hours=12)


def _bill(*prices: Any, quantity: int = 40, **tenant: Any) -> models.Invoice:
    """A finalized invoice for November, over calls at noon of the first."""
    customer = factories.TenantFactory.create(**tenant)
    factories.subscribe(customer, factories.make_plan(*(prices or [factories.PER_CALL])))
    usage.use(customer.id, "api_call", quantity, NOON)
    _finalize()
    return models.Invoice.objects.get(tenant=customer, status="open")


def _finalize() -> None:
    drafting.generate_invoices(now=DECEMBER)
    assert finalization.finalize_invoices(now=GRACE_OVER).failed == 0


def _late(invoice: models.Invoice) -> dict[str, tuple[Decimal, int | None]]:
    return {late.meter: (late.quantity, late.event_count) for late in invoice.late_usage.all()}


def _document(invoice: models.Invoice) -> tuple[Any, ...]:
    """All that an invoice says, and what stands in the books."""
    return (
        models.Invoice.objects.filter(pk=invoice.pk).values().get(),
        list(invoice.lines.values()),
        list(Entry.objects.order_by("transaction_id", "line_no").values()),
    )


@pytest.mark.django_db
class TestLateUsage:
    def test_is_counted_and_changes_nothing_that_was_billed(self) -> None:
        invoice = _bill()
        before = _document(invoice)
        usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)
        usage.use(invoice.tenant_id, "api_call", 5, DECEMBER - timedelta(seconds=1), now=LATER)
        usage.use(invoice.tenant_id, "api_call", 100, DECEMBER, now=LATER)

        report = drafting.generate_invoices(now=LATER)

        assert (report.late, report.refreshed, report.failed) == (1, 0, 0)
        assert _late(invoice) == {"api_call": (Decimal(7), 2)}
        assert _document(invoice) == before

    def test_is_not_what_came_in_the_grace_period(self) -> None:
        customer = factories.TenantFactory.create()
        factories.subscribe(customer, factories.make_plan(factories.PER_CALL))
        usage.use(customer.id, "api_call", 40, NOON)
        drafting.generate_invoices(now=DECEMBER)
        usage.use(customer.id, "api_call", 2, NOON, now=DECEMBER + timedelta(hours=47))
        finalization.finalize_invoices(now=GRACE_OVER)
        drafting.generate_invoices(now=LATER)

        invoice = models.Invoice.objects.get()
        assert invoice.total_cents == 42
        assert [(billed.quantity, billed.event_count) for billed in invoice.billed_usage.all()] == [(Decimal(42), 2)]
        assert _late(invoice) == {}

    def test_is_told_by_meter(self) -> None:
        invoice = _bill(factories.PER_CALL, {**factories.PER_CALL, "meter": "tokens"})
        usage.use(invoice.tenant_id, "tokens", 9, NOON, now=LATER)
        usage.use(invoice.tenant_id, "not_priced", 9, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)

        assert _late(invoice) == {"tokens": (Decimal(9), 1)}

    def test_leaves_other_tenants_alone(self) -> None:
        invoice, other = _bill(), factories.TenantFactory.create()
        usage.use(other.id, "api_call", 9, NOON, now=LATER)

        assert drafting.generate_invoices(now=LATER).late == 0
        assert _late(invoice) == {}

    def test_counts_an_event_that_counts_for_nothing(self) -> None:
        invoice = _bill()
        usage.use(invoice.tenant_id, "api_call", 0, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)

        assert _late(invoice) == {"api_call": (Decimal(0), 1)}

    def test_is_less_than_nothing_where_usage_was_taken_back(self) -> None:
        customer = factories.TenantFactory.create()
        factories.subscribe(customer, factories.make_plan(factories.PER_CALL))
        voided = usage.use(customer.id, "api_call", 30, NOON)
        amended = usage.use(customer.id, "api_call", 10, NOON)
        _finalize()
        invoice = models.Invoice.objects.get()
        usage.use(customer.id, "api_call", 0, LATER, now=LATER, corrects=voided, void=True)
        usage.use(customer.id, "api_call", 6, LATER, now=LATER, corrects=amended)
        drafting.generate_invoices(now=LATER)

        assert invoice.total_cents == 40
        assert _late(invoice) == {"api_call": (Decimal(-34), -1)}

    def test_is_nothing_again_once_it_is_taken_back(self) -> None:
        invoice = _bill()
        late = usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)
        usage.use(invoice.tenant_id, "api_call", 0, LATER, now=LATER, corrects=late, void=True)
        drafting.generate_invoices(now=LATER + timedelta(hours=1))

        (row,) = invoice.late_usage.all()
        assert (row.quantity, row.event_count) == (Decimal(0), 0)
        assert (row.first_noticed_at, row.changed_at) == (LATER, LATER + timedelta(hours=1))

    def test_is_the_same_however_often_a_window_is_read(self) -> None:
        invoice = _bill()
        usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)
        models.UsageCursor.objects.update(window_id=0)

        assert drafting.generate_invoices(now=LATER).late == 0
        assert _late(invoice) == {"api_call": (Decimal(2), 1)}

    def test_is_noticed_in_slices(self) -> None:
        invoice = _bill()
        for hour in range(7):
            usage.use(invoice.tenant_id, "api_call", 1, NOON + timedelta(hours=hour), now=LATER)
        unread = ChangedWindow.objects.filter(id__gt=models.UsageCursor.objects.get().window_id).count()

        assert late_usage.notice_changed_usage(now=LATER, slice_windows=2) == unread >= 7
        assert late_usage.list_changed() == [invoice.id]

    def test_is_looked_for_everywhere_after_a_long_silence(self) -> None:
        invoice = _bill()
        usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)
        much_later = LATER + timedelta(days=20)
        aggregation.aggregate_usage(now=much_later)
        assert not ChangedWindow.objects.filter(changed_at__lte=LATER).exists()

        drafting.generate_invoices(now=much_later)

        assert _late(invoice) == {"api_call": (Decimal(2), 1)}

    def test_is_not_counted_for_a_voided_invoice(self) -> None:
        invoice = _bill()
        models.Invoice.objects.filter(pk=invoice.pk).update(status="void")
        usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)

        assert drafting.generate_invoices(now=LATER).late == 0
        assert _late(invoice) == {}

    def test_is_told_apart_to_the_second_in_kathmandu(self) -> None:
        customer = factories.TenantFactory.create(time_zone="Asia/Kathmandu")
        factories.subscribe(customer, factories.make_plan(factories.PER_CALL), starts_at=NOVEMBER + timedelta(hours=6))
        usage.use(customer.id, "api_call", 1, NOVEMBER)
        ends_at = datetime(2026, 11, 30, 18, 15, tzinfo=UTC)
        drafting.generate_invoices(now=ends_at)
        finalization.finalize_invoices(now=ends_at + timedelta(hours=48))
        (invoice,) = models.Invoice.objects.all()
        usage.use(customer.id, "api_call", 20, ends_at - timedelta(seconds=1), now=LATER)
        usage.use(customer.id, "api_call", 300, ends_at, now=LATER)
        drafting.generate_invoices(now=LATER)

        assert (invoice.period_end, invoice.total_cents) == (ends_at, 1)
        assert _late(invoice) == {"api_call": (Decimal(20), 1)}


@pytest.mark.django_db
class TestDrafts:
    def test_are_refreshed_only_when_their_usage_changed(self) -> None:
        customers = [factories.TenantFactory.create() for _ in range(20)]
        plan = factories.make_plan(factories.PER_CALL)
        for customer in customers:
            factories.subscribe(customer, plan)
            usage.send(customer.id, "api_call", 1, NOON)
        usage.summarise(NOON)
        drafting.generate_invoices(now=DECEMBER)
        drafting.generate_invoices(now=DECEMBER)
        with CaptureQueriesContext(connection) as idle:
            drafting.generate_invoices(now=DECEMBER)
        usage.use(customers[7].id, "api_call", 1, NOON, now=DECEMBER)

        assert drafting.generate_invoices(now=DECEMBER).refreshed == 1
        assert len(idle) < 20
        assert sorted(models.Invoice.objects.values_list("total_cents", flat=True)) == [1] * 19 + [2]


class TestAtOnce:
    """The races that the module's docstring speaks of, with two connections."""

    @pytest.fixture
    def customer(self, committed_db: str) -> models.Tenant:
        customer: models.Tenant = factories.TenantFactory.create()
        factories.subscribe(customer, factories.make_plan(factories.PER_CALL))
        usage.use(customer.id, "api_call", 40, NOON)
        return customer

    def test_a_window_that_changes_while_a_draft_is_made_is_followed(self, customer: models.Tenant) -> None:
        drafting.generate_invoices(now=NOVEMBER)
        subscription = models.Subscription.objects.get()
        with transaction.atomic():
            drafting.draft_next_boundary(subscription_id=subscription.id, now=DECEMBER)
            _elsewhere(lambda: usage.use(customer.id, "api_call", 2, NOON, now=DECEMBER))
            _elsewhere(lambda: late_usage.notice_changed_usage(now=DECEMBER))
            assert models.Invoice.objects.get().total_cents == 40

        assert drafting.generate_invoices(now=DECEMBER).refreshed == 1
        assert models.Invoice.objects.get().total_cents == 42

    def test_a_window_that_changes_while_an_invoice_is_finalized_is_late(self, customer: models.Tenant) -> None:
        drafting.generate_invoices(now=DECEMBER)
        drafting.generate_invoices(now=DECEMBER)
        invoice = models.Invoice.objects.get()
        with transaction.atomic():
            finalization.finalize_invoice(invoice_id=invoice.id, now=GRACE_OVER)
            _elsewhere(lambda: usage.use(customer.id, "api_call", 2, NOON, now=GRACE_OVER))
            # Held by the finalization: the sweep leaves the invoice, and its due row with it.
            _elsewhere(lambda: drafting.generate_invoices(now=GRACE_OVER))
            _elsewhere(lambda: drafting.generate_invoices(now=GRACE_OVER))
        assert _late(invoice) == {}

        assert drafting.generate_invoices(now=LATER).late == 1
        assert _late(invoice) == {"api_call": (Decimal(2), 1)}
        assert models.Invoice.objects.get().total_cents == 40

    def test_a_window_that_changes_while_its_invoice_is_worked_waits_for_that(
        self, customer: models.Tenant, superuser_cursor: psycopg.Cursor
    ) -> None:
        drafting.generate_invoices(now=DECEMBER)
        invoice = models.Invoice.objects.get()
        usage.use(customer.id, "api_call", 2, NOON, now=DECEMBER)

        def notice() -> None:
            try:
                late_usage.notice_changed_usage(now=DECEMBER)
            finally:
                connections.close_all()

        with transaction.atomic():
            assert drafting.follow_usage(invoice_id=invoice.id, now=DECEMBER) == "refreshed"
            _elsewhere(lambda: usage.use(customer.id, "api_call", 3, NOON, now=DECEMBER))
            noticing = threading.Thread(target=notice, daemon=True)
            noticing.start()
            waiting.until(lambda: _waits_for_a_lock(superuser_cursor), seconds=30, what="the one who notices")
        noticing.join(60)

        assert late_usage.list_changed() == [invoice.id]
        drafting.generate_invoices(now=DECEMBER)
        assert models.Invoice.objects.get().total_cents == 45

    def test_many_sweeps_count_once(self, customer: models.Tenant) -> None:
        _finalize()
        invoice = models.Invoice.objects.get()
        for hour in range(5):
            usage.use(customer.id, "api_call", 1, NOON + timedelta(hours=hour), now=LATER)

        reports = threads.results(threads.run_together([lambda: drafting.generate_invoices(now=LATER)] * 4))
        drafting.generate_invoices(now=LATER)

        assert sum(report.late for report in reports) <= 1
        assert not [failure for report in reports for failure in report.failures]
        assert _late(invoice) == {"api_call": (Decimal(5), 5)}


@pytest.mark.django_db
class TestEndpoint:
    def test_tells_what_was_billed_and_what_came_after(self) -> None:
        invoice = _bill(factories.PER_CALL, {**factories.PER_CALL, "meter": "tokens"})
        usage.use(invoice.tenant_id, "api_call", 2, NOON, now=LATER)
        drafting.generate_invoices(now=LATER)

        answer = kernel.client("billing:read").get(f"/v1/invoices/{invoice.id}/late-usage")

        assert answer.status_code == 200
        assert answer.json() == {
            "invoice_id": invoice.id,
            "tenant_id": invoice.tenant_id,
            "period_start": "2026-11-01T00:00:00Z",
            "period_end": "2026-12-01T00:00:00Z",
            "finalized_at": "2026-12-03T00:00:00Z",
            "meters": [
                {
                    "meter": "api_call",
                    "billed_quantity": 40,
                    "billed_event_count": 1,
                    "late_quantity": 2,
                    "late_event_count": 1,
                    "changed_at": "2026-12-03T01:00:00Z",
                },
                {
                    "meter": "tokens",
                    "billed_quantity": 0,
                    "billed_event_count": 0,
                    "late_quantity": 0,
                    "late_event_count": 0,
                    "changed_at": None,
                },
            ],
        }

    def test_shows_nothing_of_a_draft(self) -> None:
        draft = factories.make_draft()

        answer = kernel.client("billing:read").get(f"/v1/invoices/{draft.id}/late-usage").json()

        assert (answer["finalized_at"], answer["meters"]) == (None, [])

    def test_is_not_there_for_anothers_key(self) -> None:
        draft = factories.make_draft()
        bound = kernel.client("billing:read", tenant_id="somebody-else")

        assert bound.get(f"/v1/invoices/{draft.id}/late-usage").status_code == 404


@pytest.mark.django_db
class TestCountLate:
    def test_counts_invoices_and_the_events_by_which_they_differ(self) -> None:
        more, fewer = _bill(), _bill(factories.PER_CALL)
        usage.use(more.tenant_id, "api_call", 2, NOON, now=LATER)
        usage.use(more.tenant_id, "api_call", 2, NOON, now=LATER)
        first = Event.objects.get(series_id__in=Series.objects.filter(tenant_id=fewer.tenant_id).values("pk"))
        usage.use(fewer.tenant_id, "api_call", 0, NOON, now=LATER, corrects=first.idempotency_key, void=True)
        assert late_usage.count_late() == {"invoices": 0, "events": 0}

        drafting.generate_invoices(now=LATER)

        assert late_usage.count_late() == {"invoices": 2, "events": 3}

    def test_looks_at_nothing_but_what_is_late_now(self) -> None:
        with connection.cursor() as cursor, CaptureQueriesContext(connection) as queries:
            cursor.execute("SET LOCAL enable_seqscan = off")
            late_usage.count_late()
            cursor.execute("EXPLAIN " + queries[-1]["sql"])
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "invoicing_late_usage_open" in plan

    def test_is_shown_with_the_other_figures(self, settings: Any) -> None:
        settings.METRICS_TOKEN = "open sesame"

        text = APIClient().get("/metrics", headers={"Authorization": "Bearer open sesame"}).content.decode()

        assert 'billing_late_usage{of="invoices"} 0.0' in text


@pytest.mark.django_db
class TestBilledUsage:
    def test_is_not_changed_by_the_service(self) -> None:
        invoice = _bill()

        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            invoice.billed_usage.update(quantity=0)
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            invoice.billed_usage.all().delete()


def _elsewhere(work: Any) -> Any:
    """Done by another connection, and committed."""
    (outcome,) = threads.results(threads.run_together([work]))
    return outcome


def _waits_for_a_lock(cursor: psycopg.Cursor) -> bool:
    cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    row = cursor.fetchone()
    return bool(row and row[0])
