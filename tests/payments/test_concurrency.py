"""Workers and callers that reach for the same invoice at the same moment; real connections, real commits."""

import threading

import psycopg
import pytest
from django.db import connection, transaction

from marketplaces.channels import base
from marketplaces.channels.stripe import StripeChannel
from payments import collection, errors, webhooks
from payments.models import Collection, CollectionStatus, ProviderMessage
from tests.factories import payments as factories
from tests.payments.support import NOW, assert_paid_once, clearing, deliver, events_of, received, status_of
from tests.payments.test_collection import killing
from tests.stand_ins.stripe import launch
from tests.support import deadlocks
from tests.support.threads import PATIENCE_SECONDS, results, run_together


@pytest.mark.usefixtures("committed_db")
class TestCollectPayments:
    def test_it_charges_each_invoice_once_under_many_workers(self, stripe: launch.StandIn) -> None:
        invoices = [factories.make_chargeable_invoice() for _ in range(6)]
        reports = run_together([lambda: collection.collect_payments(now=NOW) for _ in range(4)])
        assert all(isinstance(report, collection.CollectionReport) for report in reports), reports
        assert sum(report.paid for report in reports if isinstance(report, collection.CollectionReport)) == 6
        assert len(stripe.charged()) == len(received()) == 6
        assert {status_of(invoice) for invoice in invoices} == {"paid"}
        assert clearing() == 6000

    def test_it_lets_one_of_many_callers_pay(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()

        def pay() -> str:
            return collection.pay_invoice(invoice=invoice, request_key="", now=NOW).status

        outcomes = run_together([pay] * 4)
        assert "succeeded" in outcomes
        refusals = [outcome for outcome in outcomes if outcome != "succeeded"]
        assert all(isinstance(one, errors.PaymentInProgress | errors.InvoiceNotOpen) for one in refusals), outcomes
        assert_paid_once(invoice, stripe)

    def test_it_holds_no_transaction_open_during_a_call(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_during_calls = []
        charge = StripeChannel.charge

        def watch(self: StripeChannel, request: base.ChargeRequest) -> base.ChargeOutcome:
            open_during_calls.append(connection.in_atomic_block)
            return charge(self, request)

        monkeypatch.setattr(StripeChannel, "charge", watch)
        factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        assert open_during_calls == [False]


@pytest.mark.usefixtures("committed_db")
class TestWake:
    def test_it_wakes_what_is_just_put_to_rest_for_want_of_a_method(self) -> None:
        row = factories.CollectionFactory.create()
        resting, woken = threading.Event(), threading.Event()

        def rest() -> int:
            with transaction.atomic():
                held = Collection.objects.select_for_update().get(pk=row.pk)
                held.status, held.next_attempt_at = CollectionStatus.AWAITING_METHOD, None
                held.save()
                resting.set()
                woken.wait(1)  # who waits for this row's lock is not done before this one commits
            return 0

        def wake() -> int:
            resting.wait(PATIENCE_SECONDS)
            with transaction.atomic():
                count = collection.wake(tenant_id=row.tenant_id, now=NOW)
            woken.set()
            return count

        assert results(run_together([rest, wake])) == [0, 1]
        row.refresh_from_db()
        assert (row.status, row.next_attempt_at) == (CollectionStatus.DUE, NOW)


@pytest.mark.usefixtures("committed_db")
class TestDeadlock:
    """The transaction that PostgreSQL undoes is run again at once, as a whole."""

    def test_it_does_not_keep_a_charge_from_being_recorded(
        self, stripe: launch.StandIn, superuser_cursor: psycopg.Cursor
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        with deadlocks.provoked(superuser_cursor, held=deadlocks.POSTINGS_OF_MAIN, wanted=deadlocks.INVOICES):
            report = collection.collect_payments(now=NOW)
        assert (report.worked, report.paid) == (1, 1)
        assert_paid_once(invoice, stripe)

    def test_it_does_not_keep_a_message_waiting(
        self, stripe: launch.StandIn, superuser_cursor: psycopg.Cursor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        deliver(events_of(stripe, "payment_intent.succeeded")[0], stripe)
        with deadlocks.provoked(superuser_cursor, held=deadlocks.POSTINGS_OF_MAIN, wanted=deadlocks.INVOICES):
            report = webhooks.process_webhooks(now=ProviderMessage.objects.get().received_at)
        assert (report.processed, report.failed) == (1, 0)
        assert_paid_once(invoice, stripe)
