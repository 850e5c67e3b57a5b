"""Plans over HTTP: bad input is refused with its place, and nothing stored."""

import pytest
from rest_framework.test import APIClient

from invoicing import models
from tests.factories import kernel
from tests.invoicing.views import bodies
from tests.invoicing.views.bodies import PLAN, PRICE, TENANT, TIERS

pytestmark = pytest.mark.django_db


class TestPlans:
    def test_are_made_with_every_default_told(self, api: APIClient) -> None:
        answer = api.post(
            "/v1/plans", {**PLAN, "prices": [{"meter": "m", "model": "graduated", "tiers": TIERS}]}, format="json"
        )

        made = answer.json()
        assert answer.status_code == 201, made
        assert {name: value for name, value in made.items() if name not in ("created_at", "prices")} == {
            "code": "standard",
            "version": 1,
            "name": "Standard",
            "currency": "USD",
            "interval": "month",
            "billing_anchor": "start",
            "grace_hours": None,
            "base_fee_cents": 0,
            "base_fee_timing": "in_advance",
            "trial_days": 0,
            "minimum_commitment_cents": 0,
        }
        assert made["prices"] == [
            {
                "meter": "m",
                "model": "graduated",
                "tiers": [
                    {"up_to": 1_000_000, "unit_amount_cents": "0.0025", "flat_amount_cents": 0},
                    {"up_to": None, "unit_amount_cents": "0.002", "flat_amount_cents": 0},
                ],
                "unit_size": 1,
                "unit_rounding": "none",
                "minimum_cents": None,
                "maximum_cents": None,
            }
        ]
        assert api.get("/v1/plans/standard").json() == made

    def test_are_made_again_from_what_they_answer(self, api: APIClient) -> None:
        made = api.post("/v1/plans", PLAN, format="json").json()
        again = {name: value for name, value in made.items() if name not in ("version", "created_at")}

        assert api.post("/v1/plans", again, format="json").json() == made

    def test_are_not_made_over_one_that_says_something_else(self, api: APIClient) -> None:
        api.post("/v1/plans", PLAN, format="json")

        answers = [
            api.post("/v1/plans", {**PLAN, "base_fee_cents": 1}, format="json"),
            api.post("/v1/plans", {**PLAN, "prices": []}, format="json"),
        ]

        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(409, "plan_exists")] * 2

    def test_get_versions_and_subscriptions_stay_on_theirs(self, api: APIClient) -> None:
        api.post("/v1/plans", PLAN, format="json")
        api.post("/v1/tenants", TENANT, format="json")
        body = {"tenant_id": "acme-corp", "plan_code": "standard"}
        subscription = api.post("/v1/subscriptions", body, format="json").json()
        wording = {name: value for name, value in PLAN.items() if name != "code"}

        second = api.post("/v1/plans/standard/versions", {**wording, "name": "Better"}, format="json")

        assert (second.status_code, second.json()["version"]) == (201, 2)
        assert api.get("/v1/plans/standard").json()["name"] == "Better"
        assert [plan["version"] for plan in api.get("/v1/plans").json()["data"]] == [2]
        assert api.get(f"/v1/subscriptions/{subscription['id']}").json()["plan_version"] == 1

    def test_keep_their_currency_over_versions(self, api: APIClient) -> None:
        api.post("/v1/plans", PLAN, format="json")
        wording = {name: value for name, value in PLAN.items() if name != "code"}

        answer = api.post("/v1/plans/standard/versions", {**wording, "currency": "EUR"}, format="json")

        assert bodies.faults(answer, 422) == {"/currency": "currency_mismatch"}

    def test_have_no_versions_before_they_are_made(self, api: APIClient) -> None:
        wording = {name: value for name, value in PLAN.items() if name != "code"}

        assert api.post("/v1/plans/nothing/versions", wording, format="json").json()["code"] == "plan_not_found"
        assert api.get("/v1/plans/nothing").json()["code"] == "plan_not_found"

    @pytest.mark.parametrize(
        ("field", "value", "faults"),
        [
            ("interval", "week", {"/interval": "invalid_choice"}),
            ("billing_anchor", "moon", {"/billing_anchor": "invalid_choice"}),
            ("base_fee_cents", "100", {"/base_fee_cents": "wrong_type"}),
            ("base_fee_cents", 1.5, {"/base_fee_cents": "wrong_type"}),
            ("base_fee_cents", -1, {"/base_fee_cents": "min_value"}),
            ("trial_days", 14, {"/trial_days": "not_offered"}),
            ("minimum_commitment_cents", 1, {"/minimum_commitment_cents": "not_offered"}),
            ("prices", {}, {"/prices": "not_a_list"}),
            ("prices", [5], {"/prices/0": "wrong_type"}),
            ("prices", [{}], {"/prices/0/meter": "required", "/prices/0/model": "required"}),
            (
                "prices",
                [{"meter": "a b", "model": "per_unit", "unit_amount_cents": "1"}],
                {"/prices/0/meter": "invalid_code"},
            ),
            (
                "prices",
                [{"meter": 5, "model": "volume"}],
                {"/prices/0/meter": "wrong_type", "/prices/0/model": "invalid_choice"},
            ),
            (
                "prices",
                [PRICE, {"meter": "m", "model": "graduated", "tiers": [*TIERS, *TIERS]}],
                {"/prices/1/tiers/1/up_to": "tier_unbounded", "/prices/1/tiers/2/up_to": "not_rising"},
            ),
            ("coupon", "X", {"/coupon": "unknown_field"}),
        ],
    )
    def test_are_refused_with_the_place_of_the_fault(
        self, api: APIClient, field: str, value: object, faults: dict[str, str]
    ) -> None:
        assert bodies.faults(api.post("/v1/plans", {**PLAN, field: value}, format="json")) == faults
        assert not models.Plan.objects.exists()

    def test_are_refused_beyond_a_hundred_prices(self, api: APIClient) -> None:
        prices = [{"meter": f"m{n}", "model": "per_unit", "unit_amount_cents": "1"} for n in range(101)]

        assert bodies.faults(api.post("/v1/plans", {**PLAN, "prices": prices}, format="json")) == {
            "/prices": "out_of_range"
        }

    def test_are_read_and_not_written_by_a_bound_key(self, api: APIClient) -> None:
        api.post("/v1/plans", PLAN, format="json")
        bound = kernel.client("billing:read", "billing:write", tenant_id="acme-corp")

        assert bound.get("/v1/plans/standard").status_code == 200
        answers = [
            bound.post("/v1/plans", PLAN, format="json"),
            bound.post("/v1/plans/standard/versions", {}, format="json"),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "catalog_is_shared")] * 2
