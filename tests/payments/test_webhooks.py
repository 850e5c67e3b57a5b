"""Messages from Stripe: verified, stored once, worked off in any order to the same end."""

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from billing_site.kernel import clock
from invoicing.models import Invoice
from marketplaces import errors as channel_errors
from marketplaces.channels.stripe import StripeChannel
from payments import collection, models, stripe_events, webhooks
from payments.models import CollectionStatus, MessageStatus, Payment, ProviderMessage
from tests.factories import payments as factories
from tests.payments.support import (
    LATER,
    NOW,
    assert_paid_once,
    attempts_of,
    collecting,
    deliver,
    events_of,
    receivable,
    received,
    sign,
    status_of,
)
from tests.payments.test_collection import killing
from tests.stand_ins.stripe import launch
from tests.stand_ins.test_stripe import drive

pytestmark = pytest.mark.django_db

SUCCEEDED = "payment_intent.succeeded"
FAILED = "payment_intent.payment_failed"
EVENT = b'{"id": "evt_1", "object": "event", "type": "customer.created", "data": {"object": {"id": "cus_1"}}}'


def work_off(*, now: Any = None) -> webhooks.WebhookReport:
    return webhooks.process_webhooks(now=now or clock.now())


class TestReceive:
    def test_it_stores_the_body_as_it_came_and_answers(self, stripe: launch.StandIn) -> None:
        response = deliver(EVENT, stripe)
        assert (response.status_code, response.json()) == (200, {"received": True})
        message = ProviderMessage.objects.get()
        assert message.body == EVENT.decode()
        assert (message.event_id, message.event_type, message.object_id) == ("evt_1", "customer.created", "cus_1")
        assert message.status == MessageStatus.RECEIVED

    def test_it_answers_200_to_a_repeated_one_and_stores_nothing_more(self, stripe: launch.StandIn) -> None:
        deliver(EVENT, stripe)
        work_off()
        assert deliver(EVENT, stripe).status_code == 200
        assert ProviderMessage.objects.count() == 1
        assert work_off().worked == 0

    def test_it_takes_either_secret_while_one_is_rolled(self, stripe: launch.StandIn, settings: Settings) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_new", stripe.webhook_secret]
        assert deliver(EVENT, stripe).status_code == 200

    def test_it_needs_no_key_and_no_csrf_token(self, stripe: launch.StandIn) -> None:
        assert deliver(EVENT, stripe, Authorization="Bearer nonsense").status_code == 200

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "t=1,v1=00",
            sign(EVENT, "whsec_another"),
            sign(EVENT, launch.WEBHOOK_SECRET, seconds=-305),
            sign(EVENT, launch.WEBHOOK_SECRET, seconds=+900),
            sign(EVENT + b" ", launch.WEBHOOK_SECRET),
        ],
        ids=["no header", "no signature", "another secret", "too old", "too far ahead", "another body"],
    )
    def test_it_refuses_what_is_not_signed_or_not_fresh(self, stripe: launch.StandIn, header: str) -> None:
        response = deliver(EVENT, stripe, **{"Stripe-Signature": header})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_signature")
        assert response["Content-Type"] == "application/problem+json"
        assert not ProviderMessage.objects.exists()

    def test_it_refuses_everything_without_a_secret(self, stripe: launch.StandIn, settings: Settings) -> None:
        settings.STRIPE_WEBHOOK_SECRETS = []
        assert deliver(EVENT, stripe).status_code == 400

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            b'{"id": "evt_1"}',
            b'{"id": 5, "type": "a"}',
            b'{"id": "evt_\\u0000", "type": "a"}',
            json.dumps({"id": "evt_1", "type": "x" * 101}).encode(),
        ],
    )
    def test_it_refuses_what_is_signed_and_no_event(self, stripe: launch.StandIn, body: bytes) -> None:
        response = deliver(body, stripe)
        assert (response.status_code, response.json()["code"]) == (400, "malformed_event")
        assert not ProviderMessage.objects.exists()

    def test_it_refuses_a_body_that_is_too_large(self, stripe: launch.StandIn) -> None:
        response = deliver(EVENT[:-1] + b" " * webhooks.LARGEST_BODY_BYTES + b"}", stripe)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert not ProviderMessage.objects.exists()

    def test_it_answers_after_one_statement_and_no_call(
        self, stripe: launch.StandIn, django_assert_num_queries: Any
    ) -> None:
        before = len(stripe.state()["requests"])
        with django_assert_num_queries(1):
            deliver(EVENT, stripe)
        assert len(stripe.state()["requests"]) == before

    def test_it_answers_other_methods_with_405(self, stripe: launch.StandIn, client: Any) -> None:
        assert client.get("/webhooks/stripe").status_code == 405


class TestProcessWebhooks:
    def test_it_records_a_payment_whose_answer_never_came(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        deliver(events_of(stripe, SUCCEEDED)[0], stripe)
        assert work_off().processed == 1
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)
        assert collection.collect_payments(now=LATER).worked == 0
        assert_paid_once(invoice, stripe)

    def test_it_records_a_payment_before_the_answer_comes(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        charge = StripeChannel.charge

        def slowly(self: StripeChannel, request: Any) -> Any:
            outcome = charge(self, request)
            deliver(events_of(stripe, SUCCEEDED)[0], stripe)
            assert work_off().processed == 1
            assert status_of(invoice) == "paid"
            return outcome

        monkeypatch.setattr(StripeChannel, "charge", slowly)
        assert collection.collect_payments(now=NOW).paid == 1
        assert_paid_once(invoice, stripe)

    def test_it_changes_nothing_after_the_answer(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        collection.collect_payments(now=NOW)
        for event in events_of(stripe) * 2:
            deliver(event, stripe)
        report = work_off()
        assert (report.processed, report.failed) == (1, 0)
        assert_paid_once(invoice, stripe)

    def test_it_dates_the_payment_by_its_attempt_whoever_tells(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        deliver(events_of(stripe, SUCCEEDED)[0], stripe)
        work_off()
        assert Payment.objects.get().received_at == NOW
        assert received()[0].occurred_at == NOW

    def test_it_does_not_let_a_told_decline_be_tried_again(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        killing("after the call", monkeypatch)
        deliver(events_of(stripe, FAILED)[0], stripe)
        work_off()
        assert collecting(invoice).status == CollectionStatus.DECLINED
        assert collection.collect_payments(now=LATER).worked == 0
        assert stripe.state()["counts"]["charges"] == 1

    @pytest.mark.parametrize("order", list(itertools.permutations([FAILED, SUCCEEDED, FAILED + " again"])))
    @pytest.mark.parametrize("worked_off", ["one by one", "together"])
    def test_it_ends_the_same_in_any_order(
        self, stripe: launch.StandIn, order: tuple[str, ...], worked_off: str
    ) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        collection.collect_payments(now=NOW)
        self.confirm_outside(invoice, stripe)
        told = {event["type"]: event for event in events_of(stripe, FAILED, SUCCEEDED)}
        told[FAILED + " again"] = {**told[FAILED], "id": "evt_again"}
        for name in order:
            deliver(told[name], stripe)
            if worked_off == "one by one":
                work_off()
        work_off()
        assert attempts_of(invoice) == [(1, "succeeded")]
        assert_paid_once(invoice, stripe)
        assert set(ProviderMessage.objects.values_list("status", flat=True)) == {MessageStatus.PROCESSED}

    def confirm_outside(self, invoice: Invoice, stripe: launch.StandIn) -> None:
        """The customer pays the same payment intent with another card, without us."""
        attempt = models.PaymentAttempt.objects.get(invoice=invoice)
        card = drive(stripe).v1.payment_methods.attach("pm_card_visa", {"customer": attempt.customer_external_id})
        drive(stripe).v1.payment_intents.confirm(attempt.external_id, {"payment_method": card.id})

    @pytest.mark.parametrize(
        ("event_type", "reason"),
        [
            ("charge.succeeded", "are not used"),
            ("invoice.paid", "are not used"),
            ("nobody.knows.this", "are not used"),
            (SUCCEEDED, "Stripe knows no payment intent"),
        ],
    )
    def test_it_keeps_what_is_not_needed_with_the_reason(
        self, stripe: launch.StandIn, event_type: str, reason: str
    ) -> None:
        deliver({"id": "evt_1", "type": event_type, "data": {"object": {"id": "pi_none"}}}, stripe)
        assert work_off().ignored == 1
        message = ProviderMessage.objects.get()
        assert (message.status, reason in message.ignored_reason) == (MessageStatus.IGNORED, True)

    @pytest.mark.parametrize("metadata", [{}, {"environment": "live", "attempt_id": "pat_1"}, {"attempt_id": "pat_x"}])
    def test_it_leaves_charges_alone_that_are_not_ours(self, stripe: launch.StandIn, metadata: dict[str, str]) -> None:
        if metadata == {"attempt_id": "pat_x"}:
            metadata = {**metadata, "environment": "test"}
        drive(stripe).v1.payment_intents.create(
            {
                "amount": 1000,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "allowed_payment_method_types": ["card"],
                "metadata": metadata,
            }
        )
        deliver(events_of(stripe, SUCCEEDED)[0], stripe)
        assert work_off().ignored == 1
        assert received() == []

    def test_it_tries_again_while_stripe_does_not_answer(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        intent = stripe.charged()[0]["id"]
        deliver(events_of(stripe, SUCCEEDED)[0], stripe)
        stripe.fault("refuse", method="GET", path=f"/v1/payment_intents/{intent}", status=503, times=3)
        now = clock.now()
        assert work_off(now=now).failed == 1
        assert "no_answer" in ProviderMessage.objects.get().last_error
        assert work_off(now=now + timedelta(seconds=6)).processed == 1
        assert_paid_once(invoice, stripe)

    def test_it_quarantines_a_message_that_always_fails_and_works_off_the_others(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = stripe_events.read

        def stumble(message: ProviderMessage) -> stripe_events.Reading:
            if message.event_id == "evt_poison":
                raise channel_errors.ChannelRefused("no")
            return read(message)

        monkeypatch.setattr(stripe_events, "read", stumble)
        deliver({"id": "evt_poison", "type": "customer.created"}, stripe)
        now = clock.now() + timedelta(minutes=1)
        for number in range(webhooks.POLICY.attempts):
            deliver({"id": f"evt_{number}", "type": "customer.created"}, stripe)
            assert work_off(now=now).ignored == 1
            now += timedelta(hours=2)
        report = work_off(now=now)
        assert (report.quarantined, report.needs_person) == (1, True)
        poison = ProviderMessage.objects.get(event_id="evt_poison")
        assert (poison.status, poison.last_error) == (MessageStatus.RECEIVED, "ChannelRefused: no")

    def test_it_leaves_the_invoice_as_it_is_when_it_cannot_be_recorded(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        invoice = factories.make_chargeable_invoice()
        killing("after the call", monkeypatch)
        deliver(events_of(stripe, SUCCEEDED)[0], stripe)

        def fail(**_: object) -> None:
            raise RuntimeError("the books are shut")

        with monkeypatch.context() as context:
            context.setattr("ledger.posting.post", fail)
            now = clock.now()
            assert work_off(now=now).failed == 1
        assert (attempts_of(invoice), status_of(invoice)) == ([(1, "pending")], "open")
        assert (receivable(invoice), Payment.objects.count()) == (1000, 0)
        assert work_off(now=now + timedelta(seconds=6)).processed == 1
        assert_paid_once(invoice, stripe)
