"""
``POST /v1/events`` the way Django REST framework is mostly used, for ``benchmarks.metering`` to be held against.

The same checks of the key, the same store; only reading and validating the body is a serializer's work.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.parsers import JSONParser  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from billing_site.kernel import clock, keys  # noqa: E402
from metering import ingestion, schemas  # noqa: E402


class EventSerializer(serializers.Serializer[Any]):
    """One event."""

    tenant_id = serializers.RegexField(r"^[A-Za-z0-9._:-]{1,64}$")
    event_type = serializers.RegexField(r"^[a-z0-9_.-]{1,100}$")
    idempotency_key = serializers.CharField(max_length=255, trim_whitespace=False)
    quantity = serializers.IntegerField(min_value=0, max_value=10**15, default=1)
    event_timestamp = serializers.DateTimeField(required=False)
    source = serializers.CharField(max_length=100, default="api")  # type: ignore[assignment]
    properties = serializers.DictField(default=dict)
    corrects = serializers.CharField(max_length=255, required=False, allow_null=True)
    void = serializers.BooleanField(default=False)


class BatchSerializer(serializers.Serializer[Any]):
    """Many events."""

    events = EventSerializer(many=True, allow_empty=False)


class EventsView(APIView):
    """``POST /v1/events``."""

    authentication_classes = ()
    permission_classes = ()
    parser_classes = (JSONParser,)

    def post(self, request: Request) -> Response:
        """Validate, store, answer."""
        keys.require_scope(keys.authenticate(request.headers.get("Authorization")), "events:write")
        batch = BatchSerializer(data=request.data)
        batch.is_valid(raise_exception=True)
        valid: list[Mapping[str, Any]] = batch.validated_data["events"]
        report = ingestion.ingest(events=[schemas.EventIn(**event) for event in valid], now=clock.now())
        return Response(
            {
                "accepted": report.accepted,
                "duplicates": report.duplicates,
                "rejected": report.rejected,
                "errors": [vars(error) for error in report.errors],
            }
        )


def alive(request: HttpRequest) -> HttpResponse:
    """That it serves."""
    return HttpResponse("ok")


urlpatterns = [path("v1/events", EventsView.as_view()), path("healthz", alive)]
settings.ROOT_URLCONF = __name__
application: Callable[..., Any] = get_wsgi_application()
