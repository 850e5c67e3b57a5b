"""What every channel's adapter must do, whoever is on its other side."""

from datetime import UTC, datetime

import pytest
from pytest_django.fixtures import Settings

from marketplaces import errors
from marketplaces.channels import base, registry
from tests.stand_ins.stripe import launch

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CODES = ("stripe", "manual")


@pytest.fixture(params=CODES)
def code(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def channel(code: str, stripe: launch.StandIn) -> base.BillingChannel:
    return registry.get_channel(code)


def registration(key: str = "customer:1:create") -> base.Registration:
    return base.Registration(tenant_id="acme-corp", name="Acme", email="pay@acme.test", idempotency_key=key)


class TestEveryChannel:
    def test_it_onboards_a_tenant_once_for_each_key(self, channel: base.BillingChannel, code: str) -> None:
        first = channel.onboard_customer(registration())
        second = channel.onboard_customer(registration())
        assert first == second
        assert first.channel == code
        assert first.external_id

    def test_it_knows_whom_it_onboarded(self, channel: base.BillingChannel) -> None:
        customer = channel.onboard_customer(registration())
        assert channel.get_external_state(customer).status == "active"

    def test_it_gives_one_receipt_for_each_record_in_their_order(self, channel: base.BillingChannel) -> None:
        customer = channel.onboard_customer(registration())
        records = [
            base.UsageRecord(record_id=name, customer=customer, dimension="calls", hour_starts_at=NOON, quantity=7)
            for name in ("b", "a")
        ]
        receipts = channel.report_usage(records)
        assert [receipt.record_id for receipt in receipts] == ["b", "a"]
        assert {receipt.status for receipt in receipts} == {"not_applicable"}

    def test_it_answers_a_plan_change(self, channel: base.BillingChannel) -> None:
        customer = channel.onboard_customer(registration())
        change = base.PlanChange(change_id="c", customer=customer, plan_code="pro", effective_at=NOON)
        assert channel.process_plan_change(change).status == "not_applicable"


class TestGetChannel:
    @pytest.mark.parametrize("code", ["aws_marketplace", "gcp_marketplace", "azure_marketplace", "paper"])
    def test_it_refuses_a_channel_without_an_adapter(self, code: str) -> None:
        with pytest.raises(errors.ChannelNotConfigured):
            registry.get_channel(code)

    def test_it_refuses_stripe_without_a_key(self, settings: Settings) -> None:
        settings.STRIPE_API_KEY = ""
        assert not registry.is_configured("stripe")
        with pytest.raises(errors.ChannelNotConfigured):
            registry.get_channel("stripe")


class TestGetPaymentProcessor:
    @pytest.mark.parametrize("code", registry.CHARGING_CHANNELS)
    def test_it_answers_every_channel_that_charges(self, stripe: launch.StandIn, code: str) -> None:
        assert isinstance(registry.get_payment_processor(code), base.PaymentProcessor)

    def test_it_refuses_a_channel_that_charges_nobody(self) -> None:
        with pytest.raises(errors.ChannelNotConfigured):
            registry.get_payment_processor("manual")
