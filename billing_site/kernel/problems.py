"""
Errors on the wire: RFC 9457 ``application/problem+json``.

Members: ``type``, ``title``, ``status``, ``detail``, ``code`` (stable), ``request_id``, and for a bad body ``errors``
with an RFC 6901 pointer each. DRF's own exceptions, our ``DomainError`` and Django's handlers all end here.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, JsonResponse
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import ErrorResponse
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import errors, middleware

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = "5"
_log = logging.getLogger(__name__)
_TITLES: Final = {
    400: ("invalid_request", "Invalid request"),
    401: ("unauthenticated", "Unauthenticated"),
    403: ("forbidden", "Forbidden"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    406: ("not_acceptable", "Not acceptable"),
    413: ("body_too_large", "Body too large"),
    415: ("unsupported_media_type", "Unsupported media type"),
    429: ("rate_limited", "Too many requests"),
    500: ("internal_error", "Internal error"),
}


class Refused(exceptions.APIException):
    """A ``DomainError`` on its way through DRF."""

    def __init__(self, error: errors.DomainError) -> None:
        super().__init__(detail=error.detail, code=error.code)
        self.status_code = error.status
        self.error = error


class ProblemHandler(ExceptionHandler):
    """Let our own refusals pass as API exceptions with their status."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        """Wrap a ``DomainError``; Django's own 404 and 403 are converted by the library."""
        if isinstance(exc, errors.DomainError):
            return Refused(exc)
        if isinstance(exc, OperationalError | InterfaceError):
            _log.error("the database does not answer", exc_info=exc)
            return Refused(database_away())
        if isinstance(exc, RequestDataTooBig):
            limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
            return Refused(errors.TooLarge(f"the body is over {limit} bytes"))
        return super().convert_known_exceptions(exc)

    def get_response(self, exc: exceptions.APIException, data: dict[Any, Any]) -> Response:
        """The formatter's document, typed as a problem."""
        response = super().get_response(exc, data)
        response.content_type = CONTENT_TYPE
        if response.status_code == errors.Unavailable.status:
            response["Retry-After"] = RETRY_AFTER_SECONDS
        return response


class ProblemFormatter(ExceptionFormatter):
    """Write the library's flattened errors as one problem document."""

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        """One document, whatever was raised."""
        request = self.context["request"]
        assert request is not None  # noqa: S101  (DRF always hands the request on)
        if isinstance(self.exc, Refused):
            refused = self.exc.error
            return document(
                request,
                status=refused.status,
                code=refused.code,
                title=refused.title,
                detail=refused.detail,
                field_errors=refused.errors,
                extra=refused.extra,
            )
        status = self.exc.status_code
        field_errors: list[errors.FieldError] = []
        detail = error_response.errors[0].detail
        if isinstance(self.exc, exceptions.ValidationError):
            field_errors = [
                errors.FieldError(pointer=_pointer(error.attr), code=error.code, detail=error.detail)
                for error in error_response.errors
            ]
            first = field_errors[0]
            detail = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
        code, title = _TITLES.get(status, (error_response.errors[0].code, "Error"))
        return document(request, status=status, code=code, title=title, detail=detail, field_errors=field_errors)


def database_away() -> errors.Unavailable:
    """The refusal while PostgreSQL is away: nothing was done, and the same request may be sent again."""
    return errors.Unavailable("the database does not answer at this moment; send the same request again")


def document(
    request: HttpRequest | Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    field_errors: Sequence[errors.FieldError] = (),
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The members of one problem, in the order in which people read them."""
    body: dict[str, Any] = {
        "type": f"urn:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": middleware.request_id(request),
    }
    if field_errors:
        body["errors"] = [{"pointer": e.pointer, "code": e.code, "detail": e.detail} for e in field_errors]
    body.update({name: value for name, value in (extra or {}).items() if name not in body})
    return body


def respond(request: HttpRequest, error: errors.DomainError) -> JsonResponse:
    """The response of a plain view that refuses."""
    body = document(
        request,
        status=error.status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        field_errors=error.errors,
        extra=error.extra,
    )
    response = JsonResponse(body, status=error.status, content_type=CONTENT_TYPE)
    if error.status == errors.Unavailable.status:
        response["Retry-After"] = RETRY_AFTER_SECONDS
    if error.status == errors.Unauthenticated.status:
        response["WWW-Authenticate"] = 'Bearer realm="api"'
    return response


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's own 400: a request that it would not even read."""
    return _plain(request, 400, "the request could not be read")


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Django's own 403."""
    return _plain(request, 403, "this is not allowed")


def page_not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """No such address."""
    return _plain(request, 404, f"there is nothing at {request.path}")


def method_not_allowed(request: HttpRequest, *, allowed: str) -> JsonResponse:
    """Another method than those that a plain view has."""
    response = _plain(request, 405, f"{request.method} is not allowed here; it takes {allowed}")
    response["Allow"] = allowed
    return response


def server_error(request: HttpRequest) -> JsonResponse:
    """A fault of ours: told as one, with nothing of the inside."""
    return _plain(request, 500, "the request failed on our side; it can be sent again with the same Idempotency-Key")


def _plain(request: HttpRequest, status: int, detail: str) -> JsonResponse:
    code, title = _TITLES[status]
    body = document(request, status=status, code=code, title=title, detail=detail)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE)


def _pointer(attribute: str | None) -> str:
    """The library's path (``prices/0/tiers/1/up_to``, or None for the whole body) as an RFC 6901 pointer."""
    if attribute is None or attribute == "non_field_errors":
        return ""
    path = attribute.removesuffix("/non_field_errors")
    return path if path.startswith("?") else f"/{path}"
