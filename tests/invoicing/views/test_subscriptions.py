"""Subscriptions over HTTP: bad input is refused with its place, and nothing stored."""

import pytest
from rest_framework.test import APIClient

from invoicing import models
from tests.factories import kernel
from tests.invoicing.views import bodies
from tests.invoicing.views.bodies import PLAN, TENANT

pytestmark = pytest.mark.django_db


class TestSubscriptions:
    @pytest.fixture(autouse=True)
    def _customers(self, api: APIClient) -> None:
        api.post("/v1/tenants", {**TENANT, "time_zone": "Asia/Kathmandu"}, format="json")
        api.post("/v1/tenants", {**TENANT, "id": "globex", "currency": "EUR"}, format="json")
        api.post("/v1/plans", PLAN, format="json")

    def test_begin_at_the_local_midnight_on_or_before_the_start(self, api: APIClient) -> None:
        body = {
            "tenant_id": "acme-corp",
            "plan_code": "standard",
            "starts_at": "2026-11-10T15:30:00+01:00",
            "metadata": {"deal": "7"},
        }

        answer = api.post("/v1/subscriptions", body, format="json")

        made = answer.json()
        assert answer.status_code == 201, made
        assert made["id"].startswith("sub_")
        assert {name: value for name, value in made.items() if name not in ("id", "created_at")} == {
            "tenant_id": "acme-corp",
            "plan_code": "standard",
            "plan_version": 1,
            "status": "active",
            "currency": "USD",
            "starts_at": "2026-11-09T18:15:00Z",
            "time_zone": "Asia/Kathmandu",
            "current_period_start": "2026-11-09T18:15:00Z",
            "current_period_end": "2026-12-09T18:15:00Z",
            "metadata": {"deal": "7"},
        }
        assert api.get(f"/v1/subscriptions/{made['id']}").json() == made
        assert api.get("/v1/subscriptions?tenant_id=acme-corp&status=active").json()["data"] == [made]

    def test_bill_nothing_twice(self, api: APIClient) -> None:
        body = {"tenant_id": "acme-corp", "plan_code": "standard"}
        first = api.post("/v1/subscriptions", body, format="json").json()
        api.post("/v1/plans", {**PLAN, "code": "other"}, format="json")

        again = api.post("/v1/subscriptions", body, format="json")
        other = api.post("/v1/subscriptions", {**body, "plan_code": "other"}, format="json")

        for answer in (again, other):
            assert (answer.status_code, answer.json()["code"]) == (409, "subscription_exists")
            assert answer.json()["subscription_id"] == first["id"]
        assert models.Subscription.objects.count() == 1

    def test_may_stand_beside_one_with_other_meters(self, api: APIClient) -> None:
        api.post("/v1/subscriptions", {"tenant_id": "acme-corp", "plan_code": "standard"}, format="json")
        other = [{"meter": "storage", "model": "per_unit", "unit_amount_cents": "1"}]
        api.post("/v1/plans", {**PLAN, "code": "other", "prices": other}, format="json")

        answer = api.post("/v1/subscriptions", {"tenant_id": "acme-corp", "plan_code": "other"}, format="json")

        assert answer.status_code == 201

    @pytest.mark.parametrize(
        ("change", "status", "faults"),
        [
            ({"tenant_id": "nobody"}, 404, {"/tenant_id": "tenant_not_found"}),
            ({"plan_code": "nothing"}, 404, {"/plan_code": "plan_not_found"}),
            ({"tenant_id": "globex"}, 422, {"/plan_code": "currency_mismatch"}),
            ({"tenant_id": 5}, 400, {"/tenant_id": "wrong_type"}),
            ({"starts_at": "tomorrow"}, 400, {"/starts_at": "invalid_time"}),
            ({"starts_at": "2026-11-01T00:00:00"}, 400, {"/starts_at": "invalid_time"}),
            ({"starts_at": 1793491200}, 400, {"/starts_at": "wrong_type"}),
            ({"starts_at": "1999-12-31T23:59:59Z"}, 400, {"/starts_at": "out_of_range"}),
            ({"starts_at": "2100-01-01T00:00:00Z"}, 400, {"/starts_at": "out_of_range"}),
            ({"coupon": "LAUNCH"}, 400, {"/coupon": "unknown_field"}),
            ({"metadata": {"k": None}}, 400, {"/metadata": "invalid_pair"}),
        ],
    )
    def test_are_refused_with_the_place_of_the_fault(
        self, api: APIClient, change: dict[str, object], status: int, faults: dict[str, str]
    ) -> None:
        body = {"tenant_id": "acme-corp", "plan_code": "standard", **change}

        assert bodies.faults(api.post("/v1/subscriptions", body, format="json"), status) == faults
        assert not models.Subscription.objects.exists()

    def test_of_others_are_not_there_for_a_bound_key(self, api: APIClient) -> None:
        body = {"tenant_id": "acme-corp", "plan_code": "standard"}
        made = api.post("/v1/subscriptions", body, format="json").json()
        bound = kernel.client("billing:read", "billing:write", tenant_id="globex")

        assert bound.get(f"/v1/subscriptions/{made['id']}").status_code == 404
        assert bound.get("/v1/subscriptions").json()["data"] == []
        assert bound.post("/v1/subscriptions", body, format="json").json()["code"] == "tenant_not_found"

    def test_are_made_once_per_idempotency_key(self, api: APIClient) -> None:
        body = {"tenant_id": "acme-corp", "plan_code": "standard"}

        first, second = (
            api.post("/v1/subscriptions", body, format="json", headers={"Idempotency-Key": "once"}) for _ in range(2)
        )

        assert (first.json(), second.status_code) == (second.json(), 201)
        assert second["Idempotent-Replayed"] == "true"
        assert models.Subscription.objects.count() == 1
