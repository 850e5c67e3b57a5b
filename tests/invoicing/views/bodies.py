"""Bodies that are taken, and how refusals are read."""

from collections.abc import Mapping
from typing import Any, Final

TENANT: Final[Mapping[str, Any]] = {"id": "acme-corp", "name": "Acme", "currency": "USD"}
PRICE: Final[Mapping[str, Any]] = {"meter": "api_call", "model": "per_unit", "unit_amount_cents": "0.0025"}
PLAN: Final[Mapping[str, Any]] = {
    "code": "standard",
    "name": "Standard",
    "currency": "USD",
    "interval": "month",
    "prices": [PRICE],
}
TIERS: Final = [
    {"up_to": 1_000_000, "unit_amount_cents": "0.0025"},
    {"up_to": None, "unit_amount_cents": "0.002", "flat_amount_cents": 0},
]


def faults(response: Any, status: int = 400) -> dict[str, str]:
    """The pointers and codes of a refusal."""
    body = response.json()
    assert response.status_code == status, body
    assert response["Content-Type"] == "application/problem+json"
    return {error["pointer"]: error["code"] for error in body.get("errors", [])}
