"""Text that no database holds, and numbers that no machine likes: refused, never a fault of ours."""

import json

import pytest
from rest_framework.test import APIClient

from tests.invoicing.views.bodies import PLAN, PRICE, TENANT

pytestmark = pytest.mark.django_db


def _post(api: APIClient, path: str, body: object) -> int:
    """The status of a body whose every character is escaped, as the wire allows."""
    return api.post(path, json.dumps(body), content_type="application/json").status_code


class TestHostileInput:
    @pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
    @pytest.mark.parametrize(
        "field", ["id", "name", "email", "tax_id", "time_zone", "country", "billing_channel", "currency", "book"]
    )
    def test_is_refused_in_texts(self, api: APIClient, field: str, text: str) -> None:
        assert _post(api, "/v1/tenants", {**TENANT, field: text}) == 400

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
    @pytest.mark.parametrize("field", ["metadata", "address"])
    def test_is_refused_in_nested_texts(self, api: APIClient, field: str, text: str) -> None:
        for nested in ({"line1": text}, {text: "x"}):
            assert _post(api, "/v1/tenants", {**TENANT, field: nested}) == 400

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\u0661"])
    @pytest.mark.parametrize("field", ["meter", "model", "unit_amount_cents", "unit_size", "unit_rounding", "a\ud800"])
    def test_is_refused_in_prices(self, api: APIClient, field: str, text: str) -> None:
        body = {**PLAN, "prices": [{**PRICE, field: text}]}

        assert _post(api, "/v1/plans", body) == 400

    @pytest.mark.parametrize("body", ['{"id": "a", "id": "b"}', "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "\xff"])
    def test_is_refused_as_a_whole(self, api: APIClient, body: str) -> None:
        answer = api.post("/v1/tenants", body.encode("latin-1"), content_type="application/json")

        assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")

    @pytest.mark.parametrize(
        "path",
        ["tenants/%00", "tenants/%00/balance", "plans/%00", "subscriptions/%00", "invoices/%00", "invoices/%ED%A0%80"],
    )
    def test_finds_nothing(self, api: APIClient, path: str) -> None:
        assert api.get(f"/v1/{path}").status_code in (400, 404)

    @pytest.mark.parametrize("query", ["tenant_id=%00", "subscription_id=%00", "tenant_id=%ED%A0%80", "due_at_lt=%00"])
    def test_filters_nothing(self, api: APIClient, query: str) -> None:
        assert api.get(f"/v1/invoices?{query}").status_code in (200, 400)

    @pytest.mark.parametrize("number", ["1e400", "1" + "0" * 4000, "1" + "0" * 5000, "-0.0", "Infinity", "NaN"])
    @pytest.mark.parametrize("field", ["base_fee_cents", "grace_hours"])
    def test_is_refused_in_numbers(self, api: APIClient, field: str, number: str) -> None:
        body = f'{{"code": "p", "name": "P", "currency": "USD", "interval": "month", "{field}": {number}}}'

        assert api.post("/v1/plans", body, content_type="application/json").status_code == 400

    @pytest.mark.parametrize("number", ["1e400", "1" + "0" * 4000, "1" + "0" * 5000])
    def test_is_refused_in_quantities(self, api: APIClient, number: str) -> None:
        price = '{"model": "per_unit", "unit_amount_cents": "1"}'
        body = f'{{"currency": "USD", "price": {price}, "quantity": {number}}}'

        assert api.post("/v1/pricing/quote", body, content_type="application/json").status_code == 400
