"""Usage that stood out."""

from typing import Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api
from metering import models
from metering.serializers import anomalies as serializers


class AnomalyFilter(django_filters.FilterSet):
    """Which findings."""

    tenant_id = api.CodeFilter()
    event_type = django_filters.CharFilter(max_length=100)
    kind = django_filters.ChoiceFilter(choices=models.AnomalyKind.choices)
    state = django_filters.ChoiceFilter(choices=models.AnomalyState.choices)
    day_gte = django_filters.DateFilter(field_name="day", lookup_expr="gte", input_formats=["%Y-%m-%d"])
    day_lt = django_filters.DateFilter(field_name="day", lookup_expr="lt", input_formats=["%Y-%m-%d"])
    detected_at_gte = api.InstantFilter(field_name="detected_at", lookup_expr="gte")
    detected_at_lt = api.InstantFilter(field_name="detected_at", lookup_expr="lt")

    class Meta:
        model = models.UsageAnomaly
        fields: ClassVar[list[str]] = []


class AnomalyListEndpoint(api.ListEndpoint):
    """``GET /v1/usage/anomalies``."""

    scopes = {"GET": "usage:read"}
    queryset = models.UsageAnomaly.objects.all()
    serializer_class = serializers.UsageAnomalySerializer
    filterset_class = AnomalyFilter

    @extend_schema(
        summary="List days whose usage stood out",
        description="One finding per tenant, event type and UTC day: its total lies three standard deviations from the "
        "mean of the 30 days before, or one of its hours four above the mean of that hour, at twice that mean and more "
        "than any hour of those days.",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)
