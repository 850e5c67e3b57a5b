"""The Stripe adapter against a process that speaks Stripe's protocol."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from marketplaces import errors
from marketplaces.channels import base
from marketplaces.channels.stripe import API_VERSION, StripeChannel
from tests.stand_ins.stripe import launch
from tests.stand_ins.test_stripe import drive

CREATE = ("POST", "/v1/payment_intents")


@pytest.fixture
def channel(stripe: launch.StandIn) -> StripeChannel:
    return StripeChannel(api_key=stripe.api_key, api_base=stripe.url, environment="test")


def onboard(channel: StripeChannel, tenant: str = "acme-corp") -> base.ExternalCustomer:
    registration = base.Registration(
        tenant_id=tenant, name="Acme", email="pay@acme.test", idempotency_key=f"customer:{tenant}:create"
    )
    return channel.onboard_customer(registration)


def save(channel: StripeChannel, customer: base.ExternalCustomer, card: str = "pm_card_visa") -> base.SavedMethod:
    request = base.SaveMethodRequest(customer=customer, external_id=card, idempotency_key=f"attach:{card}")
    return channel.save_payment_method(request)


def charge_of(customer: base.ExternalCustomer, method: str, number: int = 1) -> base.ChargeRequest:
    return base.ChargeRequest(
        idempotency_key=f"payment:inv_1:{number}",
        attempt_id=f"pat_{number}",
        invoice_id="inv_1",
        tenant_id="acme-corp",
        customer=customer,
        payment_method=method,
        amount_cents=5787,
        currency="USD",
        description="Invoice INV-2026-000001: 57.87 USD",
    )


@pytest.fixture
def request_(channel: StripeChannel) -> base.ChargeRequest:
    customer = onboard(channel)
    return charge_of(customer, save(channel, customer).external_id)


class TestCharge:
    def test_it_charges_and_tells_what_was_received(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        outcome = channel.charge(request_)
        assert (outcome.status, outcome.amount_cents, outcome.currency) == ("succeeded", 5787, "USD")
        assert outcome.attempt_id == "pat_1"
        assert [intent["id"] for intent in stripe.charged()] == [outcome.external_id]

    def test_it_sends_the_key_and_the_version_and_who_is_charged_for_what(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        channel.charge(request_)
        sent = stripe.requests(*CREATE)[0]
        assert (sent["idempotency_key"], sent["stripe_version"]) == ("payment:inv_1:1", API_VERSION)
        assert stripe.charged()[0]["metadata"] == {
            "tenant_id": "acme-corp",
            "invoice_id": "inv_1",
            "attempt_id": "pat_1",
            "environment": "test",
        }

    def test_it_charges_once_for_the_same_key(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        assert channel.charge(request_) == channel.charge(request_)
        assert len(stripe.charged()) == 1

    def test_it_knows_nothing_when_the_key_was_used_for_another_charge(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        channel.charge(request_)
        outcome = channel.charge(replace(request_, amount_cents=1))
        assert (outcome.status, outcome.code) == ("unknown", "idempotency_conflict")
        assert len(stripe.charged()) == 1

    @pytest.mark.parametrize(
        ("card", "said"),
        [
            ("pm_card_visa_chargeDeclinedInsufficientFunds", ("insufficient_funds", True)),
            ("pm_card_visa_chargeDeclined", ("generic_decline", True)),
            ("pm_card_visa_chargeDeclinedLostCard", ("lost_card", False)),
            ("pm_card_visa_chargeDeclinedStolenCard", ("stolen_card", False)),
            ("pm_card_chargeDeclinedExpiredCard", ("expired_card", False)),
            ("pm_card_chargeDeclinedIncorrectCvc", ("incorrect_cvc", False)),
            ("pm_card_chargeDeclinedProcessingError", ("processing_error", True)),
        ],
    )
    def test_it_tells_a_decline_after_one_request(
        self, channel: StripeChannel, stripe: launch.StandIn, card: str, said: tuple[str, bool]
    ) -> None:
        outcome = channel.charge(charge_of(onboard(channel), card))
        assert outcome.status == "failed"
        assert (outcome.decline_code, outcome.retryable) == said
        assert outcome.external_id.startswith("pi_")
        assert outcome.attempt_id == "pat_1"
        assert len(stripe.requests(*CREATE)) == 1

    def test_it_asks_for_the_customer_when_the_bank_does(self, channel: StripeChannel, stripe: launch.StandIn) -> None:
        customer = onboard(channel)
        method = save(channel, customer, "pm_card_authenticationRequired").external_id
        outcome = channel.charge(charge_of(customer, method))
        assert (outcome.status, outcome.code) == ("requires_action", "authentication_required")

    def test_it_gets_through_two_503s_under_one_key(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.fault("refuse", status=503, html=True, times=2)
        assert channel.charge(request_).status == "succeeded"
        assert {sent["idempotency_key"] for sent in stripe.requests(*CREATE)} == {"payment:inv_1:1"}
        assert len(stripe.charged()) == 1

    @pytest.mark.parametrize(
        ("fault", "seen"),
        [
            ({"kind": "refuse", "status": 409, "times": 3}, (3, "no_answer")),
            ({"kind": "refuse", "status": 500, "headers": {"Stripe-Should-Retry": "false"}}, (1, "no_answer")),
            ({"kind": "refuse", "status": 429}, (1, "rate_limited")),
            ({"kind": "refuse", "status": 200, "html": True}, (1, "no_answer")),
            ({"kind": "cut_before", "times": 3}, (3, "no_connection")),
            ({"kind": "refuse", "status": 401}, (1, "credentials_refused")),
        ],
    )
    def test_it_knows_nothing_without_an_answer(
        self,
        channel: StripeChannel,
        stripe: launch.StandIn,
        request_: base.ChargeRequest,
        fault: dict[str, Any],
        seen: tuple[int, str],
    ) -> None:
        stripe.fault(**fault)
        outcome = channel.charge(request_)
        assert outcome.status == "unknown"
        assert (len(stripe.requests(*CREATE)), outcome.code) == seen

    def test_it_tries_a_429_again_only_when_told(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.fault("refuse", status=429, headers={"Stripe-Should-Retry": "true"})
        assert channel.charge(request_).status == "succeeded"

    def test_it_tells_how_long_a_429_wants_it_to_wait(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.fault("refuse", status=429, headers={"Retry-After": "7"})
        assert channel.charge(request_).retry_after == timedelta(seconds=7)

    def test_it_knows_nothing_after_a_time_out_though_the_charge_was_made(
        self, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        hasty = StripeChannel(api_key=stripe.api_key, api_base=stripe.url, environment="test", read_timeout_seconds=0.2)
        stripe.fault("hang_after", seconds=1.0, times=3)
        assert hasty.charge(request_).status == "unknown"
        found = hasty.find_charge(request_)
        assert found is not None
        assert (found.status, len(stripe.charged())) == ("succeeded", 1)

    def test_it_hears_the_500_again_that_came_after_the_charge_and_finds_it(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.fault("fail_after")
        assert channel.charge(request_).status == "unknown"  # the library's own repetitions hear the stored 500
        found = channel.find_charge(request_)
        assert found is not None
        assert (found.status, len(stripe.charged())) == ("succeeded", 1)

    def test_it_fails_for_good_when_the_customer_is_gone(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.control("customers/delete", customer=request_.customer.external_id)
        outcome = channel.charge(request_)
        assert (outcome.status, outcome.code, outcome.retryable) == ("failed", "resource_missing", False)

    @pytest.mark.parametrize(
        ("currency", "amounts"),
        [
            ("JPY", (500, 500)),
            ("ISK", (500, 50000)),
            ("MGA", (50000, 500)),
            ("KWD", (1050, 1050)),
            ("USD", (105, 105)),
        ],
    )
    def test_it_speaks_stripes_units(
        self,
        channel: StripeChannel,
        stripe: launch.StandIn,
        request_: base.ChargeRequest,
        currency: str,
        amounts: tuple[int, int],
    ) -> None:
        ours, theirs = amounts
        outcome = channel.charge(replace(request_, currency=currency, amount_cents=ours))
        assert (outcome.status, outcome.amount_cents) == ("succeeded", ours)
        assert stripe.charged()[0]["amount"] == theirs

    @pytest.mark.parametrize(("currency", "amount_cents"), [("KWD", 1051), ("MGA", 50001), ("USD", 49)])
    def test_it_fails_what_stripe_cannot_charge(
        self, channel: StripeChannel, request_: base.ChargeRequest, currency: str, amount_cents: int
    ) -> None:
        outcome = channel.charge(replace(request_, currency=currency, amount_cents=amount_cents))
        assert (outcome.status, outcome.retryable) == ("failed", False)


class TestFindCharge:
    def test_it_finds_none_before_the_call(self, channel: StripeChannel, request_: base.ChargeRequest) -> None:
        assert channel.find_charge(request_) is None

    def test_it_finds_one_among_many_pages(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        first = channel.charge(request_)
        for number in range(2, 105):
            channel.charge(charge_of(request_.customer, request_.payment_method, number))
        assert channel.find_charge(request_) == first

    def test_it_knows_nothing_when_nobody_answers(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        stripe.fault("cut_before", method="GET", times=3)
        found = channel.find_charge(request_)
        assert found is not None
        assert found.status == "unknown"

    def test_it_knows_nothing_when_the_question_is_refused(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        channel.charge(request_)
        stripe.fault("refuse", method="GET", status=400)
        found = channel.find_charge(request_)
        assert found is not None
        assert found.status == "unknown"

    def test_it_leaves_one_that_was_never_confirmed_to_be_sent_again(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        drive(stripe).v1.payment_intents.create(
            {
                "amount": 5787,
                "currency": "usd",
                "customer": request_.customer.external_id,
                "metadata": {"attempt_id": "pat_1", "environment": "test"},
            }
        )
        assert channel.find_charge(request_) is None

    def test_it_leaves_another_installations_charge_alone(
        self, channel: StripeChannel, stripe: launch.StandIn, request_: base.ChargeRequest
    ) -> None:
        live = StripeChannel(api_key=stripe.api_key, api_base=stripe.url, environment="live")
        live.charge(request_)
        assert channel.find_charge(request_) is None


class TestGetCharge:
    def test_it_tells_how_it_stands(self, channel: StripeChannel, request_: base.ChargeRequest) -> None:
        made = channel.charge(request_)
        assert channel.get_charge(made.external_id) == made

    def test_it_knows_no_other(self, channel: StripeChannel) -> None:
        assert channel.get_charge("pi_none") is None


class TestSavePaymentMethod:
    def test_it_saves_a_card_by_its_last_digits(self, channel: StripeChannel) -> None:
        saved = save(channel, onboard(channel))
        assert (saved.kind, saved.brand, saved.last4, saved.expires_year) == ("card", "visa", "4242", 2034)
        assert saved.external_id.startswith("pm_")

    def test_it_saves_one_that_is_the_customers_already(self, channel: StripeChannel) -> None:
        customer = onboard(channel)
        saved = save(channel, customer)
        assert save(channel, customer, saved.external_id) == saved

    def test_it_tells_the_issuers_refusal(self, channel: StripeChannel) -> None:
        with pytest.raises(errors.PaymentMethodRefused) as refused:
            save(channel, onboard(channel), "pm_card_visa_chargeDeclined")
        assert refused.value.extra == {"processor_code": "card_declined", "decline_code": "generic_decline"}

    def test_it_knows_neither_an_unknown_nor_anothers_card(self, channel: StripeChannel) -> None:
        anothers = save(channel, onboard(channel, "globex")).external_id
        for card in ("pm_none", anothers):
            with pytest.raises(errors.PaymentMethodNotFound):
                save(channel, onboard(channel), card)

    def test_it_says_when_nobody_answers(self, channel: StripeChannel, stripe: launch.StandIn) -> None:
        customer = onboard(channel)
        stripe.fault("cut_before", path="/v1/payment_methods/pm_card_visa/attach", times=3)
        with pytest.raises(errors.ChannelUnavailable):
            save(channel, customer)


class TestGetExternalState:
    def test_it_sees_that_a_customer_was_deleted(self, channel: StripeChannel, stripe: launch.StandIn) -> None:
        customer = onboard(channel)
        stripe.control("customers/delete", customer=customer.external_id)
        assert channel.get_external_state(customer).status == "deleted"

    def test_it_sees_that_there_never_was_one(self, channel: StripeChannel) -> None:
        nobody = base.ExternalCustomer(channel="stripe", external_id="cus_none")
        assert channel.get_external_state(nobody).status == "unknown"


class TestOnboardCustomer:
    def test_it_says_when_nobody_answers(self, channel: StripeChannel, stripe: launch.StandIn) -> None:
        stripe.fault("cut_before", path="/v1/customers", times=3)
        with pytest.raises(errors.ChannelUnavailable):
            onboard(channel)
        assert onboard(channel).external_id
        assert stripe.state()["counts"]["customers"] == 1
