"""Every response carries ``X-Request-Id``; the same id stands in each log line and error of the request."""

import re
import uuid
from collections.abc import Callable
from typing import Final

import structlog
from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request

_ACCEPTABLE: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestIdMiddleware:
    """Take the caller's ``X-Request-Id`` where it is well formed, else make one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on and mark the answer."""
        sent = request.headers.get("X-Request-Id", "")
        request_id = sent if _ACCEPTABLE.fullmatch(sent) else f"req_{uuid.uuid4().hex}"
        request.META["billing.request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


def request_id(request: HttpRequest | Request) -> str:
    """The id of this request."""
    return str(request.META.get("billing.request_id", ""))
