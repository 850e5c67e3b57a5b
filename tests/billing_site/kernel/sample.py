"""Views over the kernel's own rows, to try what every view of the API stands on."""

import threading
from typing import Any

import django_filters
from django.db import connection
from django.urls import path
from rest_framework import serializers as drf
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, clock, errors, health, idempotency, models, outbox, problems, serializers


class TierBody(serializers.StrictSerializer):
    up_to = serializers.StrictIntegerField(min_value=1, allow_null=True)
    unit_amount_cents = serializers.RateField(required=False)


class MessageBody(serializers.StrictSerializer):
    tenant_id = serializers.CodeField()
    topic = serializers.TextField(max_length=20)
    amount_cents = serializers.CentsField(required=False)
    currency = serializers.CurrencyField(required=False)
    at = serializers.InstantField(required=False)
    tiers = TierBody(many=True, required=False)
    metadata = serializers.MetadataField(required=False)
    urgent = serializers.StrictBooleanField(required=False)


class MessageAnswer(drf.ModelSerializer[models.OutboxMessage]):
    created_at = serializers.InstantField()

    class Meta:
        model = models.OutboxMessage
        fields = ("id", "tenant_id", "topic", "created_at")


class MessageFilter(django_filters.FilterSet):
    topic = django_filters.CharFilter()
    created_at_gte = api.InstantFilter("created_at", "gte")
    created_at_lt = api.InstantFilter("created_at", "lt")


class Messages(api.ListEndpoint):
    queryset = models.OutboxMessage.objects.all()
    serializer_class = MessageAnswer
    filterset_class = MessageFilter
    started = threading.Event()
    go_on = threading.Event()

    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        body = self.body(MessageBody)
        self.require_tenant(body["tenant_id"])
        message = outbox.leave(
            topic=body["topic"],
            tenant_id=body["tenant_id"],
            reference_id="x",
            payload={},
            now=clock.now(),
        )
        if body["topic"] == "slow":
            self.started.set()
            self.go_on.wait(10)
        if body["topic"] == "refused":
            raise errors.Conflict("it is paid already", extra={"state": "paid"})
        if body["topic"] == "broken":
            raise RuntimeError("a fault of ours")
        if body["topic"] == "deadlock" and not self.started.is_set():
            self.started.set()
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$")
        return Response(MessageAnswer(message).data, status=201)


class Query(serializers.StrictSerializer):
    tenant_id = serializers.CodeField()
    at = serializers.InstantField(required=False)


class Figures(api.Endpoint):
    scopes = {"GET": "ledger:read"}

    def get(self, request: Request, **kwargs: Any) -> Response:
        return Response({name: str(value) for name, value in self.query(Query).items()})


urlpatterns = [
    path("v1/messages", Messages.as_view()),
    path("v1/figures", Figures.as_view()),
    path("healthz", health.alive),
    path("readyz", health.ready),
]
handler404, handler500 = problems.page_not_found, problems.server_error
