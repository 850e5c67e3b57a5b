"""Invoices over HTTP, in the shape of the contract."""

import pytest
from django.db import transaction
from rest_framework.test import APIClient

from invoicing import drafting, models, settlement
from tests.factories import invoicing as factories
from tests.factories import kernel
from tests.factories.invoicing import DECEMBER, NOVEMBER
from tests.invoicing import usage
from tests.invoicing.views import bodies
from tests.invoicing.views.bodies import TIERS

pytestmark = pytest.mark.django_db


class TestInvoices:
    def test_are_shown_as_the_contract_says(self, api: APIClient) -> None:
        tenant = factories.TenantFactory.create()
        tiered = {"meter": "api_call", "model": "graduated", "tiers": TIERS}
        subscription = factories.subscribe(tenant, factories.make_plan(tiered))
        usage.use(tenant.id, "api_call", 1_200_000, NOVEMBER)
        drafting.generate_invoices(now=DECEMBER)

        (listed,) = api.get(f"/v1/invoices?tenant_id={tenant.id}").json()["data"]
        shown = api.get(f"/v1/invoices/{listed['id']}").json()

        assert shown == listed
        (line,) = shown.pop("lines")
        assert {name: value for name, value in shown.items() if name not in ("id", "created_at")} == {
            "number": None,
            "tenant_id": tenant.id,
            "subscription_id": subscription.id,
            "status": "draft",
            "currency": "USD",
            "period_start": "2026-11-01T00:00:00Z",
            "period_end": "2026-12-01T00:00:00Z",
            "finalizes_at": "2026-12-03T00:00:00Z",
            "finalized_at": None,
            "due_at": None,
            "paid_at": None,
            "subtotal_cents": 2900,
            "discount_cents": 0,
            "tax_cents": 0,
            "total_cents": 2900,
            "discounts": [],
            "taxes": [],
            "credits_applied_cents": 0,
            "amount_credited_cents": 0,
            "amount_paid_cents": 0,
            "amount_due_cents": 2900,
            "metadata": {},
        }
        assert line.pop("id").startswith("li_")
        assert line == {
            "kind": "usage",
            "meter": "api_call",
            "description": "api_call",
            "quantity": 1_200_000,
            "unit_amount_cents": None,
            "amount_cents": 2900,
            "period_start": "2026-11-01T00:00:00Z",
            "period_end": "2026-12-01T00:00:00Z",
            "tiers": [
                {
                    "from": 0,
                    "up_to": 1_000_000,
                    "quantity": 1_000_000,
                    "unit_amount_cents": "0.0025",
                    "flat_amount_cents": 0,
                    "amount_cents": 2500,
                },
                {
                    "from": 1_000_000,
                    "up_to": None,
                    "quantity": 200_000,
                    "unit_amount_cents": "0.002",
                    "flat_amount_cents": 0,
                    "amount_cents": 400,
                },
            ],
        }

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("status=open", 1),
            ("status=draft", 0),
            ("period_start_gte=2026-11-01T00:00:00Z&period_start_lt=2026-11-02T00:00:00Z", 1),
            ("period_start_gte=2026-11-02T00:00:00Z", 0),
            ("due_at_lt=2026-11-02T00:00:00Z", 1),
            ("due_at_gte=2026-11-02T00:00:00%2B00:00", 0),
            ("tenant_id=nobody", 0),
        ],
    )
    def test_are_filtered(self, api: APIClient, query: str, found: int) -> None:
        factories.make_open_invoice()

        assert len(api.get(f"/v1/invoices?{query}").json()["data"]) == found

    @pytest.mark.parametrize(
        "query", ["colour=red", "status=lost", "due_at_gte=yesterday", "limit=0", "limit=101", "cursor=x", "expand=all"]
    )
    def test_are_not_listed_by_what_nobody_knows(self, api: APIClient, query: str) -> None:
        assert api.get(f"/v1/invoices?{query}").status_code == 400

    def test_are_not_shown_with_parameters_that_nobody_knows(self, api: APIClient) -> None:
        invoice = factories.make_open_invoice()

        assert bodies.faults(api.get(f"/v1/invoices/{invoice.id}?colour=red")) == {"?colour": "unknown_parameter"}

    def test_of_others_are_not_there_for_a_bound_key(self) -> None:
        invoice = factories.make_draft()
        bound = kernel.client("billing:read", "billing:write", tenant_id="somebody-else")

        assert bound.get(f"/v1/invoices/{invoice.id}").json()["code"] == "invoice_not_found"
        assert bound.post(f"/v1/invoices/{invoice.id}/finalize").json()["code"] == "invoice_not_found"
        assert bound.get("/v1/invoices").json()["data"] == []
        assert models.Invoice.objects.get().status == "draft"

    def test_are_finalized_on_demand_and_once(self, api: APIClient) -> None:
        draft = factories.make_draft()

        first = api.post(f"/v1/invoices/{draft.id}/finalize")
        second = api.post(f"/v1/invoices/{draft.id}/finalize")

        assert first.status_code == 200, first.json()
        assert (first.json()["status"], first.json()["number"][:4]) == ("open", "INV-")
        assert (second.status_code, second.json()["code"]) == (409, "invoice_not_draft")
        assert second.json()["invoice_status"] == "open"

    def test_show_when_they_were_paid(self, api: APIClient) -> None:
        invoice = factories.make_open_invoice(amount_cents=1000)
        with transaction.atomic():
            settlement.apply_payment(invoice_id=invoice.id, amount_cents=1000, now=DECEMBER)

        shown = api.get(f"/v1/invoices/{invoice.id}").json()

        assert (shown["status"], shown["paid_at"], shown["amount_due_cents"]) == ("paid", "2026-12-01T00:00:00Z", 0)

    def test_are_listed_in_a_bounded_number_of_queries(
        self, api: APIClient, django_assert_max_num_queries: pytest.FixtureRequest
    ) -> None:
        for _ in range(5):
            factories.make_open_invoice()

        with django_assert_max_num_queries(4):  # type: ignore[operator]
            assert len(api.get("/v1/invoices").json()["data"]) == 5


class TestKeys:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/tenants",
            "/v1/plans",
            "/v1/subscriptions",
            "/v1/invoices",
            "/v1/tenants/a/balance",
            "/v1/invoices/inv_x",
        ],
    )
    def test_are_asked_for_and_looked_at_when_reading(self, path: str) -> None:
        assert APIClient().get(path).status_code == 401
        assert kernel.client("usage:read").get(path).status_code == 403

    @pytest.mark.parametrize("path", ["/v1/tenants", "/v1/plans", "/v1/subscriptions", "/v1/invoices/inv_x/finalize"])
    def test_are_looked_at_when_writing(self, path: str) -> None:
        assert kernel.client("billing:read").post(path, {}, format="json").status_code == 403
