"""Workers and callers that reach for the same invoice at the same moment; real connections, real commits."""

import pytest
from django.db import connection

from marketplaces.channels import base
from marketplaces.channels.stripe import StripeChannel
from payments import collection, errors
from tests.factories import payments as factories
from tests.payments.support import NOW, assert_paid_once, clearing, received, status_of
from tests.stand_ins.stripe import launch
from tests.support.threads import run_together


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
