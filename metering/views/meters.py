"""Meters: made, read, never changed."""

from http import HTTPStatus
from typing import Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, clock, idempotency
from metering import errors, meters, models
from metering.serializers import meters as serializers


class MeterFilter(django_filters.FilterSet):
    """Which meters."""

    event_type = django_filters.CharFilter(max_length=100)
    aggregation = django_filters.ChoiceFilter(choices=models.Aggregation.choices)

    class Meta:
        model = models.Meter
        fields: ClassVar[list[str]] = []


class MeterListEndpoint(api.ListEndpoint):
    """``/v1/meters``: they count for all tenants, so a key that is bound to one may read and not write."""

    scopes = {"GET": "usage:read", "POST": "billing:write"}
    queryset = models.Meter.objects.prefetch_related("backfills")
    serializer_class = serializers.MeterSerializer
    filterset_class = MeterFilter
    tenant_field = None

    @extend_schema(
        summary="List meters",
        description="Those that were made. Each event type has, without being made, a meter of its own name that sums "
        "`quantity`.",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Make a meter",
        description="It never changes. It also counts the events that are there, as far as their month is on line; "
        "`backfilled` tells when it has. Groups of `group_by` are counted beside the whole.",
        request=serializers.NewMeter,
        responses={201: serializers.MeterSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """409 where the code is taken, by a meter or by an event type in use."""
        if self.bound_tenant_id() is not None:
            raise errors.MetersAreShared("the API key is bound to a tenant, and meters count for all tenants")
        body = self.body(serializers.NewMeter)
        meter = meters.create_meter(
            code=body["code"],
            event_type=body["event_type"],
            aggregation_kind=body["aggregation"],
            property_name=body.get("property", ""),
            filters=body.get("filters", {}),
            group_by=body.get("group_by", []),
            now=clock.now(),
        )
        return Response(serializers.MeterSerializer(meter).data, HTTPStatus.CREATED)


class MeterEndpoint(api.Endpoint):
    """``/v1/meters/{code}``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(summary="Read a meter", responses=serializers.MeterSerializer)
    def get(self, request: Request, code: str) -> Response:
        """One meter."""
        self.query()
        return Response(serializers.MeterSerializer(meters.get_meter(code)).data)
