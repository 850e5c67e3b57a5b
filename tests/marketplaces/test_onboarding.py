"""Making a tenant known to its channel: the row first, then the call, once."""

import pytest

from marketplaces import errors, onboarding
from marketplaces.models import ChannelCustomer, CustomerStatus
from tests.factories import invoicing as invoicing_factories
from tests.factories.marketplaces import NOVEMBER, ChannelCustomerFactory
from tests.stand_ins.stripe import launch
from tests.support.threads import run_together


@pytest.mark.django_db
class TestOnboardCustomer:
    def test_it_makes_a_customer_once(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        first = onboarding.onboard_customer(tenant=tenant, now=NOVEMBER)
        assert (first.status, first.external_id[:4]) == (CustomerStatus.ACTIVE, "cus_")
        assert onboarding.onboard_customer(tenant=tenant, now=NOVEMBER) == first
        assert onboarding.find_customer(tenant_id=tenant.pk, channel="stripe") == first
        assert stripe.state()["counts"]["customers"] == 1

    def test_it_says_the_same_again_after_an_answer_was_lost(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe", name="First name")
        stripe.fault("cut_after", path="/v1/customers", times=3)
        with pytest.raises(errors.ChannelUnavailable):
            onboarding.onboard_customer(tenant=tenant, now=NOVEMBER)
        assert ChannelCustomer.objects.get().status == CustomerStatus.PENDING
        assert onboarding.find_customer(tenant_id=tenant.pk, channel="stripe") is None
        tenant.name = "Second name"
        tenant.save()
        customer = onboarding.onboard_customer(tenant=tenant, now=NOVEMBER)
        assert stripe.get(f"/v1/customers/{customer.external_id}")["name"] == "First name"
        assert stripe.state()["counts"]["customers"] == 1

    def test_it_needs_nobody_outside_for_a_manual_tenant(self) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="manual")
        assert onboarding.onboard_customer(tenant=tenant, now=NOVEMBER).external_id == tenant.pk

    def test_it_refuses_a_channel_without_an_adapter(self) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="aws_marketplace")
        with pytest.raises(errors.ChannelNotConfigured):
            onboarding.onboard_customer(tenant=tenant, now=NOVEMBER)
        assert not ChannelCustomer.objects.exists()

    def test_it_knows_the_customer_as_adapters_do(self) -> None:
        customer = ChannelCustomerFactory.create()
        external = onboarding.as_external(customer)
        assert (external.channel, external.external_id) == ("stripe", customer.external_id)


@pytest.mark.usefixtures("committed_db")
def test_it_makes_one_customer_for_many_who_ask_at_once(stripe: launch.StandIn) -> None:
    tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
    work = [lambda: onboarding.onboard_customer(tenant=tenant, now=NOVEMBER).external_id] * 4
    outcomes = run_together(work)
    found = {outcome for outcome in outcomes if isinstance(outcome, str)}
    # Who comes while the first is at it may be told to come again, never given another customer.
    assert all(isinstance(one, str | errors.ChannelUnavailable) for one in outcomes), outcomes
    assert len(found) == 1
    assert stripe.state()["counts"]["customers"] == 1
