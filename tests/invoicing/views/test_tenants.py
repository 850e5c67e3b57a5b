"""Tenants over HTTP: bad input is refused with its place, and nothing stored."""

import pytest
from rest_framework.test import APIClient

from invoicing import models
from tests.factories import invoicing as factories
from tests.factories import kernel
from tests.invoicing.views import bodies
from tests.invoicing.views.bodies import TENANT

pytestmark = pytest.mark.django_db


class TestTenants:
    def test_are_made_with_every_field(self, api: APIClient) -> None:
        sent = {
            **TENANT,
            "email": "billing@acme.example",
            "billing_channel": "stripe",
            "country": "DE",
            "address": {"line1": "Main Street 1", "city": "Berlin", "postal_code": "10115"},
            "tax_id": "DE123456789",
            "net_terms_days": 30,
            "time_zone": "Europe/Berlin",
            "grace_hours": 24,
            "book": "main",
            "metadata": {"crm": "42"},
        }

        answer = api.post("/v1/tenants", sent, format="json")

        assert answer.status_code == 201, answer.json()
        made = answer.json()
        assert {name: made[name] for name in sent} == sent
        assert made["created_at"].endswith("Z")
        assert api.get("/v1/tenants/acme-corp").json() == made

    def test_need_little(self, api: APIClient) -> None:
        made = api.post("/v1/tenants", TENANT, format="json").json()

        assert (made["billing_channel"], made["time_zone"], made["book"]) == ("manual", "UTC", "main")
        assert (made["net_terms_days"], made["grace_hours"], made["address"], made["metadata"]) == (0, None, {}, {})

    def test_are_made_once_from_the_same_body(self, api: APIClient) -> None:
        first, second = (api.post("/v1/tenants", TENANT, format="json") for _ in range(2))

        assert first.json() == second.json()

    def test_are_not_made_over_one_that_says_something_else(self, api: APIClient) -> None:
        api.post("/v1/tenants", TENANT, format="json")

        answer = api.post("/v1/tenants", {**TENANT, "name": "Other"}, format="json")

        assert (answer.status_code, answer.json()["code"]) == (409, "tenant_exists")
        assert models.Tenant.objects.get().name == "Acme"

    @pytest.mark.parametrize(
        ("field", "value", "code"),
        [
            ("id", "has space", "invalid_code"),
            ("id", "x" * 65, "invalid_code"),
            ("id", 5, "wrong_type"),
            ("name", 5, "wrong_type"),
            ("name", "x" * 201, "max_length"),
            ("name", "", "blank"),
            ("currency", "usd", "unknown_currency"),
            ("currency", "XAU", "unknown_currency"),
            ("email", "nobody", "invalid_email"),
            ("billing_channel", "barter", "invalid_choice"),
            ("billing_channel", 5, "invalid_choice"),
            ("country", "Germany", "max_length"),
            ("country", "de", "invalid_country"),
            ("address", "Main Street", "wrong_type"),
            ("net_terms_days", "30", "wrong_type"),
            ("net_terms_days", True, "wrong_type"),
            ("net_terms_days", -1, "min_value"),
            ("net_terms_days", 366, "max_value"),
            ("time_zone", "Mars/Olympus", "unknown_time_zone"),
            ("grace_hours", 2161, "max_value"),
            ("metadata", {"a": 1}, "invalid_pair"),
            ("metadata", [], "wrong_type"),
            ("colour", "red", "unknown_field"),
        ],
    )
    def test_are_refused_with_the_place_of_the_fault(
        self, api: APIClient, field: str, value: object, code: str
    ) -> None:
        faults = bodies.faults(api.post("/v1/tenants", {**TENANT, field: value}, format="json"))

        assert list(faults.values()) == [code]
        assert next(iter(faults)).startswith(f"/{field}")
        assert not models.Tenant.objects.exists()

    def test_are_refused_with_the_place_of_every_missing_field(self, api: APIClient) -> None:
        faults = bodies.faults(api.post("/v1/tenants", {}, format="json"))

        assert faults == {"/id": "required", "/name": "required", "/currency": "required"}

    def test_are_refused_in_a_book_that_nobody_opened(self, api: APIClient) -> None:
        answer = api.post("/v1/tenants", {**TENANT, "book": "nowhere"}, format="json")

        assert (answer.status_code, answer.json()["code"]) == (404, "book_not_found")

    def test_are_changed(self, api: APIClient) -> None:
        api.post("/v1/tenants", {**TENANT, "metadata": {"crm": "42", "tier": "gold"}}, format="json")

        changed = api.patch(
            "/v1/tenants/acme-corp",
            {"name": "Acme Inc", "net_terms_days": 14, "metadata": {"crm": "43", "tier": ""}},
            format="json",
        ).json()

        assert (changed["name"], changed["net_terms_days"]) == ("Acme Inc", 14)
        assert changed["metadata"] == {"crm": "43"}

    @pytest.mark.parametrize("field", ["id", "currency", "book", "created_at"])
    def test_keep_what_does_not_change(self, api: APIClient, field: str) -> None:
        api.post("/v1/tenants", TENANT, format="json")

        faults = bodies.faults(api.patch("/v1/tenants/acme-corp", {field: "EUR"}, format="json"))

        assert faults == {f"/{field}": "unknown_field"}

    def test_have_at_most_fifty_pairs_of_metadata_after_merging(self, api: APIClient) -> None:
        api.post("/v1/tenants", {**TENANT, "metadata": {f"a{n}": "x" for n in range(30)}}, format="json")

        more = {"metadata": {f"b{n}": "x" for n in range(21)}}
        assert bodies.faults(api.patch("/v1/tenants/acme-corp", more, format="json")) == {"/metadata": "too_many"}
        assert len(models.Tenant.objects.get().metadata) == 30

    def test_are_listed_newest_first_in_pages(self, api: APIClient) -> None:
        for code in ("a", "b", "c"):
            api.post("/v1/tenants", {**TENANT, "id": code}, format="json")

        first = api.get("/v1/tenants?limit=2").json()
        second = api.get("/v1/tenants", {"limit": 2, "cursor": first["next_cursor"]}).json()

        assert [tenant["id"] for tenant in first["data"] + second["data"]] == ["c", "b", "a"]
        assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)

    def test_of_others_are_not_there_for_a_bound_key(self, api: APIClient) -> None:
        for code in ("a", "b"):
            api.post("/v1/tenants", {**TENANT, "id": code}, format="json")
        bound = kernel.client("billing:read", "billing:write", tenant_id="a")

        answers = [
            bound.get("/v1/tenants/b"),
            bound.patch("/v1/tenants/b", {"name": "Mine"}, format="json"),
            bound.get("/v1/tenants/b/balance"),
            bound.post("/v1/tenants", {**TENANT, "id": "c"}, format="json"),
        ]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "tenant_not_found")] * 4
        assert [tenant["id"] for tenant in bound.get("/v1/tenants").json()["data"]] == ["a"]
        assert not models.Tenant.objects.filter(name="Mine").exists()


class TestBalance:
    def test_is_what_the_ledger_says(self, api: APIClient) -> None:
        invoice = factories.make_open_invoice(amount_cents=2000)

        assert api.get(f"/v1/tenants/{invoice.tenant_id}/balance").json() == {
            "tenant_id": invoice.tenant_id,
            "currency": "USD",
            "receivable_cents": 2000,
            "prepaid_credit_cents": 0,
            "customer_credit_cents": 0,
            "deferred_revenue_cents": 2000,
        }

    def test_is_404_for_nobody(self, api: APIClient) -> None:
        assert api.get("/v1/tenants/nobody/balance").json()["code"] == "tenant_not_found"
