"""Payments over HTTP."""

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from billing_site.kernel import clock
from payments.models import Collection, Payment, PaymentAttempt, PaymentMethod, ProviderMessage
from tests.factories import invoicing as invoicing_factories
from tests.factories import kernel
from tests.factories import payments as factories
from tests.payments.support import assert_paid_once, attempts_of, balance, receivable, received, status_of
from tests.stand_ins.stripe import launch

pytestmark = pytest.mark.django_db

YESTERDAY = "2026-11-02T00:00:00Z"


@pytest.fixture
def api() -> APIClient:
    return kernel.client()


def transfer(tenant_id: str, **changes: Any) -> dict[str, Any]:
    body = {
        "tenant_id": tenant_id,
        "amount_cents": 1000,
        "currency": "USD",
        "received_at": YESTERDAY,
        "reference": "RF18 5390",
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


def pointers(response: Any) -> set[str]:
    return {error["pointer"] for error in response.json().get("errors", [])}


def nothing_stored() -> bool:
    tables = (Payment, PaymentAttempt, PaymentMethod, ProviderMessage, Collection)
    return not received() and not any(table.objects.exists() for table in tables)


class TestPayments:
    def test_it_records_a_transfer_for_an_invoice(self, api: APIClient) -> None:
        invoice = invoicing_factories.make_open_invoice()
        response = api.post("/v1/payments", transfer(invoice.tenant_id, invoice_id=invoice.pk), format="json")
        assert response.status_code == 201
        body = response.json()
        assert body["id"].startswith("pay_")
        assert {name: body[name] for name in ("tenant_id", "invoice_id", "channel", "amount_cents", "currency")} == {
            "tenant_id": invoice.tenant_id,
            "invoice_id": invoice.pk,
            "channel": "manual",
            "amount_cents": 1000,
            "currency": "USD",
        }
        assert (body["received_at"], body["reference"]) == (YESTERDAY, "RF18 5390")
        assert (status_of(invoice), receivable(invoice), balance("cash")) == ("paid", 0, 1000)
        assert api.get(f"/v1/payments?invoice_id={invoice.pk}").json()["data"] == [body]

    def test_it_records_it_once_for_the_same_key(self, api: APIClient) -> None:
        invoice = invoicing_factories.make_open_invoice()
        body = transfer(invoice.tenant_id, invoice_id=invoice.pk)
        first = api.post("/v1/payments", body, format="json", headers={"Idempotency-Key": "a"})
        second = api.post("/v1/payments", body, format="json", headers={"Idempotency-Key": "a"})
        assert second.json() == first.json()
        assert second["Idempotent-Replayed"] == "true"
        assert len(received()) == 1

    def test_it_parks_a_transfer_without_an_invoice(self, api: APIClient) -> None:
        tenant = invoicing_factories.TenantFactory.create()
        body = api.post("/v1/payments", transfer(tenant.pk, invoice_id=None), format="json").json()
        assert (body["unapplied_cents"], balance("unapplied_receipts")) == (1000, 1000)

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"amount_cents": 0}, "/amount_cents"),
            ({"amount_cents": -1}, "/amount_cents"),
            ({"amount_cents": "1000"}, "/amount_cents"),
            ({"amount_cents": 10.0}, "/amount_cents"),
            ({"amount_cents": True}, "/amount_cents"),
            ({"amount_cents": 10**15 + 1}, "/amount_cents"),
            ({"amount_cents": ...}, "/amount_cents"),
            ({"currency": "usd"}, "/currency"),
            ({"currency": "XXX1"}, "/currency"),
            ({"received_at": "2026-11-02"}, "/received_at"),
            ({"received_at": "2026-11-02T00:00:00"}, "/received_at"),
            ({"received_at": "2999-01-01T00:00:00Z"}, "/received_at"),
            ({"received_at": "1999-12-31T23:59:59Z"}, "/received_at"),
            ({"reference": ""}, "/reference"),
            ({"reference": "x" * 201}, "/reference"),
            ({"reference": "a\x00b"}, "/reference"),
            ({"tenant_id": "no tenant"}, "/tenant_id"),
            ({"invoice_id": 5}, "/invoice_id"),
            ({"metadata": {"a": 1}}, "/metadata"),
            ({"colour": "red"}, "/colour"),
        ],
    )
    def test_it_refuses_a_bad_body(self, api: APIClient, changes: dict[str, Any], pointer: str) -> None:
        tenant = invoicing_factories.TenantFactory.create()
        response = api.post("/v1/payments", transfer(**{"tenant_id": tenant.pk, **changes}), format="json")
        assert response.status_code == 400
        assert pointers(response) == {pointer}
        assert nothing_stored()

    def test_it_refuses_a_state_that_takes_no_payment(self, api: APIClient) -> None:
        draft = invoicing_factories.make_draft()
        response = api.post("/v1/payments", transfer(draft.tenant_id, invoice_id=draft.pk), format="json")
        assert (response.status_code, response.json()["invoice_status"]) == (409, "draft")
        invoice = invoicing_factories.make_open_invoice()
        response = api.post(
            "/v1/payments", transfer(invoice.tenant_id, invoice_id=invoice.pk, currency="EUR"), format="json"
        )
        assert (response.status_code, response.json()["code"]) == (422, "currency_mismatch")
        assert pointers(response) == {"/currency"}
        assert not Payment.objects.exists()

    def test_it_knows_no_unknown_tenant_and_no_other_tenants_invoice(self, api: APIClient) -> None:
        response = api.post("/v1/payments", transfer("nobody"), format="json")
        assert (response.status_code, response.json()["code"]) == (404, "tenant_not_found")
        assert pointers(response) == {"/tenant_id"}
        invoice = invoicing_factories.make_open_invoice()
        other = invoicing_factories.TenantFactory.create()
        for invoice_id in (invoice.pk, "inv_none"):
            response = api.post("/v1/payments", transfer(other.pk, invoice_id=invoice_id), format="json")
            assert (response.status_code, response.json()["code"]) == (404, "invoice_not_found")
            assert pointers(response) == {"/invoice_id"}
        assert not Payment.objects.exists()

    def test_it_shows_a_bound_key_its_own_tenant_alone(self, api: APIClient) -> None:
        mine, others = factories.PaymentFactory.create(), factories.PaymentFactory.create()
        bound = kernel.client(tenant_id=mine.tenant_id)
        assert [one["id"] for one in bound.get("/v1/payments").json()["data"]] == [mine.pk]
        assert bound.get(f"/v1/payments?tenant_id={others.tenant_id}").json()["data"] == []
        assert bound.post("/v1/payments", transfer(others.tenant_id), format="json").status_code == 404
        assert Payment.objects.count() == 2

    def test_it_pages_and_filters(self, api: APIClient) -> None:
        made = [factories.PaymentFactory.create() for _ in range(3)]
        page = api.get("/v1/payments?limit=2").json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([made[2].pk, made[1].pk], True)
        rest = api.get(f"/v1/payments?limit=2&cursor={page['next_cursor']}").json()
        assert [one["id"] for one in rest["data"]] == [made[0].pk]
        assert api.get(f"/v1/payments?received_at_gte={YESTERDAY}").json()["data"] == []


class TestPaymentMethods:
    def save(self, api: APIClient, tenant_id: str, card: str = "pm_card_visa", **headers: str) -> Any:
        body = {"tenant_id": tenant_id, "processor_payment_method_id": card}
        return api.post("/v1/payment-methods", body, format="json", headers=headers)

    def test_it_saves_a_card(self, api: APIClient, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        response = self.save(api, tenant.pk)
        assert response.status_code == 201
        body = response.json()
        assert (body["status"], body["brand"], body["last4"], body["default"]) == ("active", "visa", "4242", True)
        assert api.get(f"/v1/payment-methods?tenant_id={tenant.pk}").json()["data"] == [body]

    def test_it_answers_a_replay_from_what_it_did(self, api: APIClient, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        first = self.save(api, tenant.pk, **{"Idempotency-Key": "a"})
        second = self.save(api, tenant.pk, **{"Idempotency-Key": "a"})
        assert (second.json(), second["Idempotent-Replayed"]) == (first.json(), "true")
        other = self.save(api, tenant.pk, "pm_card_mastercard", **{"Idempotency-Key": "a"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert PaymentMethod.objects.count() == 1

    def test_it_refuses_another_request_under_a_key_that_was_cut_off(
        self, api: APIClient, stripe: launch.StandIn
    ) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        stripe.fault("cut_before", path="/v1/customers", times=3)
        assert self.save(api, tenant.pk, **{"Idempotency-Key": "a"}).status_code == 503
        other = self.save(api, tenant.pk, "pm_card_mastercard", **{"Idempotency-Key": "a"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert self.save(api, tenant.pk, **{"Idempotency-Key": "a"}).status_code == 201

    def test_it_tells_why_a_card_was_refused(self, api: APIClient, stripe: launch.StandIn) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        response = self.save(api, tenant.pk, "pm_card_visa_chargeDeclinedInsufficientFunds")
        assert (response.status_code, response.json()["code"]) == (422, "payment_method_refused")
        assert response.json()["decline_code"] == "insufficient_funds"

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"processor_payment_method_id": ""}, "/processor_payment_method_id"),
            ({"processor_payment_method_id": "../charges"}, "/processor_payment_method_id"),
            ({"processor_payment_method_id": 5}, "/processor_payment_method_id"),
            ({"tenant_id": "a b"}, "/tenant_id"),
            ({"default": "yes"}, "/default"),
            ({"card": "4242424242424242"}, "/card"),
        ],
    )
    def test_it_refuses_a_bad_body(
        self, api: APIClient, stripe: launch.StandIn, changes: dict[str, Any], pointer: str
    ) -> None:
        tenant = invoicing_factories.TenantFactory.create(billing_channel="stripe")
        body = {"tenant_id": tenant.pk, "processor_payment_method_id": "pm_card_visa", **changes}
        response = api.post("/v1/payment-methods", body, format="json")
        assert response.status_code == 400
        assert pointers(response) == {pointer}
        assert nothing_stored()
        assert stripe.requests("POST", "/v1/customers") == []

    def test_it_refuses_tenants_that_are_unknown_or_not_charged(self, api: APIClient, stripe: launch.StandIn) -> None:
        assert self.save(api, "nobody").status_code == 404
        manual = invoicing_factories.TenantFactory.create()
        assert self.save(api, manual.pk).json()["code"] == "channel_does_not_charge"
        assert nothing_stored()

    def test_it_keeps_tenants_apart(self, stripe: launch.StandIn) -> None:
        mine, others = factories.PaymentMethodFactory.create(), factories.PaymentMethodFactory.create()
        bound = kernel.client(tenant_id=mine.tenant_id)
        assert [one["id"] for one in bound.get("/v1/payment-methods").json()["data"]] == [mine.pk]
        assert self.save(bound, others.tenant_id).status_code == 404
        assert PaymentMethod.objects.count() == 2


class TestPayInvoice:
    def pay(self, api: APIClient, invoice_id: str, key: str = "", body: Any = None) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        return api.post(f"/v1/invoices/{invoice_id}/pay", body, format="json", headers=headers)

    def test_it_collects_now(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        response = self.pay(api, invoice.pk)
        assert response.status_code == 200
        assert (response.json()["status"], response.json()["amount_due_cents"]) == ("paid", 0)
        assert_paid_once(invoice, stripe)

    def test_it_answers_the_same_for_the_same_key(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        first, second = self.pay(api, invoice.pk, "a"), self.pay(api, invoice.pk, "a")
        assert (second.status_code, second.json(), second["Idempotent-Replayed"]) == (200, first.json(), "true")
        assert_paid_once(invoice, stripe)

    def test_it_refuses_a_paid_one_with_its_state(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        self.pay(api, invoice.pk)
        again = self.pay(api, invoice.pk)
        assert (again.status_code, again.json()["code"]) == (409, "invoice_not_open")
        assert again.json()["invoice_status"] == "paid"

    def test_it_tells_a_decline_and_tells_it_again(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        first, second = self.pay(api, invoice.pk, "a"), self.pay(api, invoice.pk, "a")
        assert first["Content-Type"] == "application/problem+json"
        assert (first.status_code, first.json()["code"]) == (402, "payment_declined")
        assert first.json()["decline_code"] == "generic_decline"
        assert second["Idempotent-Replayed"] == "true"
        assert second.json()["payment_attempt"] == first.json()["payment_attempt"]
        assert attempts_of(invoice) == [(1, "failed")]
        assert stripe.state()["counts"]["charges"] == 1

    def test_it_says_when_the_bank_wants_the_customer(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice(card="pm_card_authenticationRequired")
        response = self.pay(api, invoice.pk)
        assert (response.status_code, response.json()["code"]) == (402, "payment_requires_action")

    def test_it_finds_out_with_the_same_key_what_it_did_not_hear(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stripe.fault("cut_after", times=3)
        first = self.pay(api, invoice.pk, "a")
        assert (first.status_code, first.json()["code"]) == (503, "payment_unresolved")
        assert first.json()["payment_attempt"]["status"] == "pending"
        second = self.pay(api, invoice.pk, "a")
        assert (second.status_code, second.json()["status"]) == (200, "paid")
        assert_paid_once(invoice, stripe)

    def test_it_refuses_the_key_of_another_invoice(self, api: APIClient, stripe: launch.StandIn) -> None:
        declined = factories.make_chargeable_invoice(card="pm_card_chargeCustomerFail")
        self.pay(api, declined.pk, "a")
        other = self.pay(api, factories.make_chargeable_invoice().pk, "a")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    def test_it_refuses_what_cannot_be_charged(self, api: APIClient, stripe: launch.StandIn) -> None:
        draft = invoicing_factories.make_draft(billing_channel="stripe")
        assert self.pay(api, draft.pk).json()["invoice_status"] == "draft"
        by_transfer = invoicing_factories.make_open_invoice()
        assert self.pay(api, by_transfer.pk).json()["code"] == "channel_does_not_charge"
        without = invoicing_factories.make_open_invoice(billing_channel="stripe")
        response = self.pay(api, without.pk)
        assert (response.status_code, response.json()["code"]) == (409, "no_payment_method")
        assert nothing_stored()

    def test_it_refuses_a_body_with_fields(self, api: APIClient, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        response = self.pay(api, invoice.pk, body={"amount_cents": 1})
        assert (response.status_code, pointers(response)) == (400, {"/amount_cents"})
        assert attempts_of(invoice) == []

    def test_it_keeps_tenants_apart(self, stripe: launch.StandIn) -> None:
        invoice = factories.make_chargeable_invoice()
        stranger = kernel.client(tenant_id=invoicing_factories.TenantFactory.create().pk)
        assert self.pay(stranger, invoice.pk).status_code == 404
        assert self.pay(kernel.client("billing:read"), invoice.pk).status_code == 403
        assert (status_of(invoice), attempts_of(invoice)) == ("open", [])


def test_it_allows_for_clocks_that_differ(api: APIClient) -> None:
    tenant = invoicing_factories.TenantFactory.create()
    soon = (clock.now() + timedelta(minutes=30)).isoformat()
    assert api.post("/v1/payments", transfer(tenant.pk, received_at=soon), format="json").status_code == 201
