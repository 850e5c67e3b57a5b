"""Collecting open invoices: once, whatever happens on the way."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from pytest_django.fixtures import Settings

from billing_site.kernel.models import OutboxMessage
from invoicing.models import Invoice
from marketplaces.channels import base
from marketplaces.channels.stripe import StripeChannel
from payments import attempts, collection, errors, models
from payments.models import CollectionStatus, Payment, PaymentAttempt
from tests.factories import invoicing as invoicing_factories
from tests.factories import payments as factories
from tests.payments.support import (
    LATER,
    NOW,
    assert_paid_once,
    attempts_of,
    balance,
    clearing,
    collecting,
    receivable,
    received,
    status_of,
)
from tests.stand_ins.stripe import launch

pytestmark = pytest.mark.django_db


class Killed(BaseException):
    """The worker's death: nothing catches it."""


def killing(where: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the worker die before or after the processor charges; answers how to let it live again."""
    charge = StripeChannel.charge

    def die(self: StripeChannel, request: base.ChargeRequest) -> base.ChargeOutcome:
        if where == "after the call":
            charge(self, request)
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(StripeChannel, "charge", die)
        with pytest.raises(Killed):
            collection.collect_payments(now=NOW)
    return monkeypatch.undo


class TestCollectPayments:
    def test_it_collects_an_open_invoice(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(amount_cents=5787)
        report = collection.collect_payments(now=NOW)
        assert (report.enrolled, report.worked, report.paid, report.due) == (1, 1, 1, 0)
        assert_paid_once(invoice, stripe)
        payment = Payment.objects.get()
        attempt = PaymentAttempt.objects.get()
        assert payment.external_id == attempt.external_id == stripe.charged()[0]["id"]
        assert (payment.applied_cents, payment.credited_cents, payment.unapplied_cents) == (5787, 0, 0)
        assert attempt.idempotency_key == f"payment:{invoice.pk}:1"
        assert stripe.charged()[0]["description"] == f"Invoice {invoice.number}: 57.87 USD"

    def test_it_has_nothing_left_to_do_the_second_time(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        again = collection.collect_payments(now=LATER)
        assert (again.enrolled, again.worked) == (0, 0)
        assert_paid_once(invoice, stripe)

    def test_it_leaves_drafts_and_other_channels_alone(self, stripe: launch.StandIn) -> None:
        invoicing_factories.make_open_invoice(billing_channel="manual")
        invoicing_factories.make_open_invoice(billing_channel="aws_marketplace")
        invoicing_factories.make_draft(billing_channel="stripe")
        assert collection.collect_payments(now=NOW).enrolled == 0
        assert not models.Collection.objects.exists()

    def test_it_collects_in_every_currency(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(amount_cents=500, currency="ISK")
        collection.collect_payments(now=NOW)
        assert status_of(invoice) == "paid"
        assert stripe.charged()[0]["amount"] == 50000
        assert (receivable(invoice), clearing("ISK")) == (0, 500)

    def test_it_waits_for_a_payment_method_and_then_collects(self, stripe: launch.StandIn) -> None:
        invoice = invoicing_factories.make_open_invoice(billing_channel="stripe")
        assert collection.collect_payments(now=NOW).awaiting_method == 1
        assert collection.collect_payments(now=LATER).worked == 0  # nothing to do until there is a method
        factories.save_card(invoice.tenant)
        collection.collect_payments(now=LATER)
        assert_paid_once(invoice, stripe)

    def test_it_tells_a_decline_and_does_not_try_again_by_itself(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        assert collection.collect_payments(now=NOW).declined == 1
        assert collection.collect_payments(now=LATER).worked == 0
        attempt = PaymentAttempt.objects.get()
        assert (attempt.status, attempt.failure_code, attempt.decline_code) == (
            "failed",
            "card_declined",
            "generic_decline",
        )
        assert attempt.is_retryable
        assert attempt.external_id.startswith("pi_")
        assert (status_of(invoice), receivable(invoice), received()) == ("open", invoice.total_cents, [])
        assert OutboxMessage.objects.filter(topic="invoice.payment_failed", reference_id=invoice.pk).count() == 1

    def test_it_collects_from_a_new_method_under_a_new_number(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        collection.collect_payments(now=NOW)
        factories.save_card(invoice.tenant, is_default=True)
        collection.collect_payments(now=LATER)
        assert attempts_of(invoice) == [(1, "failed"), (2, "succeeded")]
        assert_paid_once(invoice, stripe)

    def test_it_collects_from_a_method_that_came_during_the_declined_charge(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        charge = StripeChannel.charge

        def change_card_meanwhile(self: StripeChannel, request: base.ChargeRequest) -> base.ChargeOutcome:
            if request.idempotency_key.endswith(":1"):
                factories.save_card(invoice.tenant, is_default=True)
            return charge(self, request)

        monkeypatch.setattr(StripeChannel, "charge", change_card_meanwhile)
        collection.collect_payments(now=NOW)
        assert attempts_of(invoice) == [(1, "failed"), (2, "succeeded")]
        assert_paid_once(invoice, stripe)

    def test_it_collects_from_a_new_method_though_news_of_the_old_decline_come_after_it(
        self, stripe: launch.StandIn
    ) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        collection.collect_payments(now=NOW)
        factories.save_card(invoice.tenant, is_default=True)
        with transaction.atomic():
            collection.follow_attempt(attempt=PaymentAttempt.objects.get(), now=NOW)
        collection.collect_payments(now=LATER)
        assert_paid_once(invoice, stripe)

    def test_it_waits_for_the_customer_when_the_bank_wants_him(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_authenticationRequired")
        assert collection.collect_payments(now=NOW).requires_action == 1
        assert attempts_of(invoice) == [(1, "requires_action")]
        assert collecting(invoice).status == CollectionStatus.REQUIRES_ACTION

    def test_it_needs_a_person_when_there_is_no_key(self, stripe: launch.StandIn, settings: Settings) -> None:
        factories.make_chargeable_invoice()
        settings.STRIPE_API_KEY = ""
        report = collection.collect_payments(now=NOW)
        assert (report.worked, report.due, report.needs_person) == (0, 1, True)

    def test_it_settles_what_was_paid_otherwise_meanwhile(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        factories.CollectionFactory.create(invoice=invoice)
        Invoice.objects.filter(pk=invoice.pk).update(
            status="paid", amount_paid_cents=invoice.total_cents, amount_due_cents=0, paid_at=NOW
        )
        collection.collect_payments(now=NOW)
        assert collecting(invoice).status == CollectionStatus.SETTLED
        assert (attempts_of(invoice), stripe.charged()) == ([], [])

    def test_it_works_on_open_invoices_not_on_history(
        self, stripe: launch.StandIn, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(3):
            factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        with django_assert_max_num_queries(10):
            collection.collect_payments(now=LATER)


class TestWithoutAnAnswer:
    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "cut_after", "times": 3},
            {"kind": "cut_before", "times": 3},
            {"kind": "fail_after", "times": 1},
            {"kind": "refuse", "status": 503, "html": True, "times": 3},
            {"kind": "refuse", "status": 409, "times": 3},
            {"kind": "refuse", "status": 200, "html": True, "times": 1},
        ],
    )
    def test_it_finds_out_later_and_charges_once(self, stripe: launch.StandIn, fault: dict[str, Any]) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault(**fault)
        report = collection.collect_payments(now=NOW)
        assert (report.unresolved, attempts_of(invoice)) == (1, [(1, "pending")])
        assert collecting(invoice).last_error
        assert collection.collect_payments(now=NOW).worked == 0  # not before its time
        assert collection.collect_payments(now=LATER).paid == 1
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)

    def test_it_asks_again_under_the_same_number_after_a_429(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("refuse", status=429, headers={"Retry-After": "60"})
        assert collection.collect_payments(now=NOW).unresolved == 1
        waiting = collecting(invoice)
        assert waiting.next_attempt_at == NOW + timedelta(seconds=60)
        assert waiting.attempts == 0
        assert collection.collect_payments(now=NOW + timedelta(seconds=61)).paid == 1
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)

    def test_it_stops_asking_a_processor_that_is_down(self, stripe: launch.StandIn) -> None:
        for _ in range(5):
            factories.make_chargeable_invoice()
        stripe.fault("refuse", status=503, times=100)
        report = collection.collect_payments(now=NOW)
        assert (report.worked, report.due) == (3, 2)
        stripe.control("faults/clear")
        assert collection.collect_payments(now=LATER).paid == 5

    def test_it_hands_over_to_a_person_in_the_end(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("refuse", status=401, times=1000)
        stripe.fault("refuse", method="GET", status=401, times=1000)
        now = NOW
        for _ in range(collection.POLICY.attempts):
            collection.collect_payments(now=now)
            now += timedelta(hours=2)
        report = collection.collect_payments(now=now)
        assert (report.worked, report.quarantined, report.needs_person) == (0, 1, True)
        stripe.control("faults/clear")
        attempt = collection.pay_invoice(invoice=invoice, request_key="", now=now)
        assert (attempt.number, attempt.status) == (1, "succeeded")
        assert_paid_once(invoice, stripe)


class TestAfterACrash:
    @pytest.mark.parametrize("where", ["before the call", "after the call"])
    def test_it_drives_the_same_attempt_to_one_charge(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing(where, monkeypatch)
        assert attempts_of(invoice) == [(1, "pending")]
        assert len(stripe.charged()) == (where == "after the call")
        assert collection.collect_payments(now=NOW).worked == 0  # the dead worker's claim still holds
        assert collection.collect_payments(now=LATER).paid == 1
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)

    def test_it_repeats_the_call_to_the_letter(self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        invoice.tenant.name = "Renamed"
        invoice.tenant.save()
        factories.save_card(invoice.tenant, "pm_card_mastercard", is_default=True)
        monkeypatch.setattr(StripeChannel, "find_charge", lambda *_: None)
        collection.collect_payments(now=LATER)
        first, second = stripe.requests("POST", "/v1/payment_intents")
        assert first["form"] == second["form"]
        assert first["idempotency_key"] == second["idempotency_key"]
        assert_paid_once(invoice, stripe)

    @pytest.mark.parametrize("card", ["pm_card_chargeCustomerFail", "pm_card_authenticationRequired"])
    def test_it_finds_a_decline_and_does_not_ask_twice(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch, card: str
    ) -> None:
        invoice = factories.make_chargeable_invoice(card=card)
        killing("after the call", monkeypatch)
        collection.collect_payments(now=LATER)
        assert attempts_of(invoice)[0][1] in {"failed", "requires_action"}
        assert stripe.state()["counts"]["charges"] == 1

    def test_it_writes_nothing_when_it_wakes_after_its_claim_was_taken(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        charge = StripeChannel.charge

        def oversleep(self: StripeChannel, request: base.ChargeRequest) -> base.ChargeOutcome:
            outcome = charge(self, request)
            monkeypatch.setattr(StripeChannel, "charge", charge)
            collection.collect_payments(now=LATER)  # the other worker
            return outcome

        monkeypatch.setattr(StripeChannel, "charge", oversleep)
        collection.collect_payments(now=NOW)
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)


class TestAfterTheCharge:
    @pytest.mark.parametrize("status", ["refunded", "disputed"])
    def test_it_keeps_what_became_of_the_money_when_the_success_is_told_again(
        self, stripe: launch.StandIn, status: str
    ) -> None:
        factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        attempt = PaymentAttempt.objects.get()
        PaymentAttempt.objects.update(status=status)
        told = base.ChargeOutcome(
            status="succeeded", external_id=attempt.external_id, amount_cents=attempt.amount_cents, currency="USD"
        )
        with transaction.atomic():
            attempts.apply_outcome(attempt_id=attempt.pk, outcome=told, now=LATER)
        attempt.refresh_from_db()
        assert attempt.status == status

    def test_it_credits_a_second_charge_of_the_same_attempt(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        attempt = PaymentAttempt.objects.get()
        again = base.ChargeOutcome(
            status="succeeded", external_id="pi_again", amount_cents=attempt.amount_cents, currency="USD"
        )
        for _ in range(2):
            with transaction.atomic():
                attempts.apply_outcome(attempt_id=attempt.pk, outcome=again, now=LATER)
        second = Payment.objects.get(external_id="pi_again")
        assert (second.applied_cents, second.credited_cents) == (0, invoice.total_cents)
        assert balance("customer_credit", tenant_id=invoice.tenant_id) == invoice.total_cents
        assert (status_of(invoice), attempts_of(invoice)) == ("paid", [(1, "succeeded")])


class TestPayInvoice:
    def test_it_answers_the_attempt_again_for_the_same_request(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        first = collection.pay_invoice(invoice=invoice, request_key="key_1:a", now=NOW)
        second = collection.pay_invoice(invoice=invoice, request_key="key_1:a", now=LATER)
        assert (first.pk, first.status) == (second.pk, "failed")
        assert collection.pay_invoice(invoice=invoice, request_key="key_1:b", now=LATER).number == 2

    def test_it_goes_on_with_an_attempt_in_flight(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        with pytest.raises(errors.PaymentInProgress):
            collection.pay_invoice(invoice=invoice, request_key="", now=NOW)
        attempt = collection.pay_invoice(invoice=invoice, request_key="", now=LATER)
        assert (attempt.number, attempt.status) == (1, "succeeded")
        assert_paid_once(invoice, stripe)

    def test_it_refuses_what_cannot_be_collected(self, stripe: launch.StandIn) -> None:
        draft = invoicing_factories.make_draft(billing_channel="stripe")
        by_transfer = invoicing_factories.make_open_invoice(billing_channel="manual")
        without_card = invoicing_factories.make_open_invoice(billing_channel="stripe")
        for invoice, error in [
            (draft, errors.InvoiceNotOpen),
            (by_transfer, errors.ChannelDoesNotCharge),
            (without_card, errors.NoPaymentMethod),
        ]:
            with pytest.raises(error):
                collection.pay_invoice(invoice=invoice, request_key="", now=NOW)
        assert not models.Collection.objects.exists()
        assert not PaymentAttempt.objects.exists()
