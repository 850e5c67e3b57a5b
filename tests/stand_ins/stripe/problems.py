"""Errors in Stripe's shape."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class StripeProblem(Exception):
    """One refused request: its status and the members of ``error`` in the body."""

    def __init__(self, status: int, message: str, *, kind: str = "invalid_request_error", **members: object) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, object] = {"message": message, "type": kind}
        self.error.update({name: value for name, value in members.items() if value is not None})

    @property
    def body(self) -> Mapping[str, object]:
        """The JSON body."""
        return {"error": self.error}


def invalid(message: str, *, param: str | None = None, code: str | None = None, **members: Any) -> StripeProblem:
    """Answer 400 for a request that cannot be done as asked."""
    return StripeProblem(HTTPStatus.BAD_REQUEST, message, param=param, code=code, **members)


def missing_parameter(name: str) -> StripeProblem:
    """Answer 400 for a parameter that must be there."""
    return invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")


def unknown_parameter(name: str) -> StripeProblem:
    """Answer 400 for a parameter this endpoint does not have."""
    return invalid(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")


def no_such(noun: str, object_id: str, *, param: str = "id") -> StripeProblem:
    """Answer for an object nobody knows: 404 when the path names it, 400 when the body does."""
    status = HTTPStatus.NOT_FOUND if param == "id" else HTTPStatus.BAD_REQUEST
    return StripeProblem(status, f"No such {noun}: '{object_id}'", param=param, code="resource_missing")


def card_error(
    message: str, *, code: str, decline_code: str | None, advice_code: str | None, **objects: object
) -> StripeProblem:
    """Answer 402 for what the card's issuer refused."""
    return StripeProblem(
        HTTPStatus.PAYMENT_REQUIRED,
        message,
        kind="card_error",
        code=code,
        decline_code=decline_code,
        advice_code=advice_code,
        doc_url=f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        **objects,
    )
