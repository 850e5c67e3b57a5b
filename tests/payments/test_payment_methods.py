"""Saving a way to charge a tenant: the row first, then each call once."""

from datetime import timedelta

import pytest

from invoicing import errors as invoicing_errors
from marketplaces import errors as channel_errors
from marketplaces.channels import base
from marketplaces.channels.stripe import StripeChannel
from marketplaces.models import ChannelCustomer
from payments import errors, payment_methods
from payments.models import MethodStatus, PaymentMethod
from tests.factories import invoicing as invoicing_factories
from tests.factories import payments as factories
from tests.payments.support import NOW
from tests.stand_ins.stripe import launch
from tests.support.threads import run_together


def offer(tenant_id: str, card: str = "pm_card_visa", **changes: object) -> payment_methods.Offer:
    return payment_methods.Offer(tenant_id=tenant_id, external_id=card, **changes)  # type: ignore[arg-type]


def save(tenant_id: str, card: str = "pm_card_visa", **changes: object) -> PaymentMethod:
    return payment_methods.save_payment_method(offer=offer(tenant_id, card, **changes), now=NOW)


@pytest.mark.django_db
class TestSavePaymentMethod:
    def test_it_onboards_the_tenant_and_saves_the_card(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe", name="Acme", email="a@acme.test")
        method = save(tenant.pk)
        assert (method.status, method.brand, method.last4, method.is_default) == ("active", "visa", "4242", True)
        customer = ChannelCustomer.objects.get(tenant=tenant)
        told = stripe.get(f"/v1/customers/{customer.external_id}")
        assert (told["name"], told["email"], told["metadata"]["tenant_id"]) == ("Acme", "a@acme.test", tenant.pk)
        assert stripe.get(f"/v1/payment_methods/{method.external_id}")["customer"] == customer.external_id

    def test_it_onboards_once_for_all_its_cards(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        first = save(tenant.pk)
        second = save(tenant.pk, "pm_card_mastercard")
        assert stripe.state()["counts"]["customers"] == 1
        assert (first.is_default, second.is_default) == (True, False)

    def test_it_changes_the_default_when_asked(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        first = save(tenant.pk)
        second = save(tenant.pk, "pm_card_mastercard", is_default=True)
        assert list(PaymentMethod.objects.filter(is_default=True)) == [second]
        assert save(tenant.pk, first.external_id, is_default=True) == first
        assert list(PaymentMethod.objects.filter(is_default=True)) == [first]

    def test_it_keeps_the_refusal_and_tells_it_again(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        for _ in range(2):
            with pytest.raises(channel_errors.PaymentMethodRefused) as refused:
                save(tenant.pk, "pm_card_visa_chargeDeclinedLostCard", request_key="key_1:a")
            assert refused.value.extra["decline_code"] == "lost_card"
        assert PaymentMethod.objects.get().status == MethodStatus.REFUSED
        assert len(stripe.requests("POST", "/v1/payment_methods/pm_card_visa_chargeDeclinedLostCard/attach")) == 1

    @pytest.mark.parametrize("path", ["/v1/customers", "/v1/payment_methods/pm_card_visa/attach"])
    def test_it_goes_on_where_it_was_cut_off(self, stripe: launch.StandIn, path: str) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        stripe.fault("cut_after", path=path, times=3)
        with pytest.raises(channel_errors.ChannelUnavailable):
            save(tenant.pk, request_key="key_1:a")
        tenant.name = "Renamed meanwhile"
        tenant.save()
        assert save(tenant.pk, request_key="key_1:a").status == MethodStatus.ACTIVE
        assert PaymentMethod.objects.count() == 1
        counts = stripe.state()["counts"]
        assert (counts["customers"], counts["payment_methods"]) == (1, 1)

    def test_it_survives_the_workers_death_after_the_call(
        self, stripe: launch.StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        attach = StripeChannel.save_payment_method

        def die(self: StripeChannel, request: base.SaveMethodRequest) -> base.SavedMethod:
            attach(self, request)
            raise KeyboardInterrupt

        with monkeypatch.context() as context:
            context.setattr(StripeChannel, "save_payment_method", die)
            with pytest.raises(KeyboardInterrupt):
                save(tenant.pk, request_key="key_1:a")
        assert PaymentMethod.objects.get().status == MethodStatus.PENDING
        save(tenant.pk, request_key="key_1:a")
        assert PaymentMethod.objects.get().status == MethodStatus.ACTIVE
        assert stripe.state()["counts"]["payment_methods"] == 1

    def test_it_refuses_another_tenants_card_as_unknown(self, stripe: launch.StandIn) -> None:
        anothers = save(invoicing_factories.TenantFactory.create(billing_channel="stripe").pk)
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        for card in (anothers.external_id, "pm_none"):
            with pytest.raises(channel_errors.PaymentMethodNotFound):
                save(tenant.pk, card)
        assert not PaymentMethod.objects.filter(tenant=tenant, status=MethodStatus.ACTIVE).exists()

    def test_it_refuses_tenants_that_are_not_charged(self, stripe: launch.StandIn) -> None:
        with pytest.raises(invoicing_errors.TenantNotFound):
            save("nobody")
        for channel in ("manual", "aws_marketplace"):
            with pytest.raises(errors.ChannelDoesNotCharge):
                save(invoicing_factories.TenantFactory.create(billing_channel=channel).pk)
        assert not PaymentMethod.objects.exists()

    def test_it_wakes_what_waited(self, stripe: launch.StandIn) -> None:
        waiting = factories.CollectionFactory.create(status="awaiting_method", next_attempt_at=None)
        declined = factories.CollectionFactory.create(status="declined", next_attempt_at=None)
        save(waiting.tenant_id)
        waiting.refresh_from_db()
        declined.refresh_from_db()
        assert (waiting.status, waiting.next_attempt_at) == ("due", NOW)
        assert declined.next_attempt_at is None  # another tenant's


@pytest.mark.usefixtures("committed_db")
class TestTogether:
    def test_it_saves_one_method_for_one_request_sent_many_times(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        # The processor takes its time, so that all of them are there before the first is done.
        stripe.fault("delay", path="/v1/customers", seconds=0.3)
        outcomes = run_together([lambda: save(tenant.pk, request_key="key_1:a").pk] * 4)
        saved = [outcome for outcome in outcomes if isinstance(outcome, str)]
        others = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        assert len(set(saved)) == 1
        assert all(isinstance(outcome, channel_errors.ChannelUnavailable) for outcome in others), others
        counts = stripe.state()["counts"]
        assert (counts["customers"], counts["payment_methods"]) == (1, 1)

    def test_it_makes_one_the_default(self, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        save(tenant.pk)
        later = NOW + timedelta(hours=1)
        offers = [offer(tenant.pk, "pm_card_mastercard", is_default=True, request_key=f"key_1:{n}") for n in range(4)]
        outcomes = run_together(
            [lambda one=one: payment_methods.save_payment_method(offer=one, now=later) for one in offers]  # type: ignore[misc]
        )
        assert all(isinstance(outcome, PaymentMethod) for outcome in outcomes), outcomes
        assert PaymentMethod.objects.filter(tenant=tenant, is_default=True).count() == 1
