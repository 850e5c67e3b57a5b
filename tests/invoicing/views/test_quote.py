"""Prices tried over HTTP, by the function that rates invoices."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.factories import kernel
from tests.invoicing.views import bodies
from tests.invoicing.views.bodies import TIERS

pytestmark = pytest.mark.django_db


class TestQuote:
    def _quote(self, api: APIClient, price: object, quantity: object) -> Any:
        return api.post("/v1/pricing/quote", {"currency": "USD", "price": price, "quantity": quantity}, format="json")

    def test_rates_one_price(self, api: APIClient) -> None:
        answer = self._quote(api, {"model": "per_unit", "unit_amount_cents": "512.345"}, 10)

        assert answer.status_code == 200, answer.json()
        assert answer.json() == {
            "amount_cents": 5123,
            "unrounded_amount_cents": "5123.45",
            "tiers": [
                {
                    "from": 0,
                    "up_to": None,
                    "quantity": 10,
                    "unit_amount_cents": "512.345",
                    "flat_amount_cents": 0,
                    "amount_cents": 5123,
                }
            ],
        }

    @pytest.mark.parametrize(
        ("quantity", "amount_cents"), [(0, 0), ("100.5", 1), ("100", 0), (101, 1), ("1e2", None), (10**38, None)]
    )
    def test_takes_integers_and_decimal_strings(
        self, api: APIClient, quantity: object, amount_cents: int | None
    ) -> None:
        price = {"meter": "m", "model": "per_unit", "unit_amount_cents": "1", "included_quantity": 100}

        answer = self._quote(api, price, quantity)

        assert answer.json().get("amount_cents") == amount_cents

    @pytest.mark.parametrize("quantity", [-1, "-1", 1.5, True, None, [], "ten", "", 10**39])
    def test_refuses_what_is_no_quantity(self, api: APIClient, quantity: object) -> None:
        price = {"model": "per_unit", "unit_amount_cents": "1"}

        assert list(bodies.faults(self._quote(api, price, quantity))) == ["/quantity"]

    @pytest.mark.parametrize(
        ("price", "faults"),
        [
            ("cheap", {"/price": "wrong_type"}),
            ({"model": "volume", "tiers": TIERS}, {"/price/model": "invalid_choice"}),
            ({"model": "per_unit"}, {"/price/unit_amount_cents": "required"}),
            ({"model": "per_unit", "unit_amount_cents": "-1"}, {"/price/unit_amount_cents": "negative"}),
            (
                {"model": "graduated", "tiers": [{"up_to": 5, "unit_amount_cents": "1"}]},
                {"/price/tiers/0/up_to": "last_tier_bounded"},
            ),
        ],
    )
    def test_refuses_a_price_that_makes_no_sense(self, api: APIClient, price: object, faults: dict[str, str]) -> None:
        assert bodies.faults(self._quote(api, price, 1)) == faults

    def test_refuses_what_no_invoice_could_hold(self, api: APIClient) -> None:
        price = {"model": "per_unit", "unit_amount_cents": "1"}

        assert bodies.faults(self._quote(api, price, 10**16), 422) == {"/quantity": "amount_too_large"}

    def test_needs_no_more_than_to_read(self) -> None:
        reader = kernel.client("billing:read")

        assert self._quote(reader, {"model": "per_unit", "unit_amount_cents": "1"}, 1).status_code == 200
