"""Usage thresholds: made, read, deactivated, and when they fired."""

from http import HTTPStatus
from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, clock, idempotency
from metering import errors, models, thresholds
from metering.serializers import thresholds as serializers


class ThresholdFilter(django_filters.FilterSet):
    """Which thresholds."""

    tenant_id = api.CodeFilter()
    meter = django_filters.CharFilter(max_length=100)
    period = django_filters.ChoiceFilter(choices=models.Granularity.choices)
    action = django_filters.ChoiceFilter(choices=models.ThresholdAction.choices)
    active = django_filters.ChoiceFilter(choices=[("true", "true"), ("false", "false")], method="by_state")

    class Meta:
        model = models.UsageThreshold
        fields: ClassVar[list[str]] = []

    def by_state(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Those that are watched, or those that are no more."""
        return queryset.filter(deactivated_at__isnull=value == "true")


class ThresholdListEndpoint(api.ListEndpoint):
    """``/v1/usage-thresholds``."""

    scopes = {"GET": "usage:read", "POST": "billing:write"}
    queryset = models.UsageThreshold.objects.all()
    serializer_class = serializers.UsageThresholdSerializer
    filterset_class = ThresholdFilter

    @extend_schema(summary="List usage thresholds")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Watch a tenant's usage, or limit it",
        description="When the meter reaches `quantity` in an hour, a day or a month (UTC), `usage.threshold_reached` "
        "is told, once a period. With `refuse`, events of the meter's type are then refused as `quota_exceeded` until "
        "the period ends, by when they arrive; they are kept as dead letters. The limit is soft: it is seen when usage "
        "is summarised, a minute or two after it came. What was used of the running period before counts too.",
        request=serializers.NewThreshold,
        responses={201: serializers.UsageThresholdSerializer},
    )
    @idempotency.idempotent
    def post(self, request: Request) -> Response:
        """409 where an active threshold says the same."""
        body = self.body(serializers.NewThreshold)
        self.require_tenant(body["tenant_id"])
        threshold = thresholds.create_threshold(
            tenant_id=body["tenant_id"],
            meter=body["meter"],
            quantity=body["quantity"],
            period=models.Granularity(body["period"]),
            action=models.ThresholdAction(body["action"]),
            now=clock.now(),
        )
        return Response(serializers.UsageThresholdSerializer(threshold).data, HTTPStatus.CREATED)


class ThresholdEndpoint(api.Endpoint):
    """``/v1/usage-thresholds/{id}``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(summary="Read a usage threshold", responses=serializers.UsageThresholdSerializer)
    def get(self, request: Request, threshold_id: str) -> Response:
        """One threshold."""
        self.query()
        return Response(serializers.UsageThresholdSerializer(_visible(self, threshold_id)).data)


class DeactivateThresholdEndpoint(api.Endpoint):
    """``/v1/usage-thresholds/{id}/deactivate``."""

    scopes = {"POST": "billing:write"}

    @extend_schema(
        summary="Watch a usage threshold no more",
        description="What it refused is taken again within half a minute. One that was deactivated before stays so.",
        request=None,
        responses=serializers.UsageThresholdSerializer,
    )
    @idempotency.idempotent
    def post(self, request: Request, threshold_id: str) -> Response:
        """The threshold as it is now."""
        self.body(serializers.NoBody)
        threshold = thresholds.deactivate_threshold(threshold=_visible(self, threshold_id), now=clock.now())
        return Response(serializers.UsageThresholdSerializer(threshold).data)


class ThresholdFiringListEndpoint(api.ListEndpoint):
    """``/v1/usage-thresholds/{id}/firings``."""

    scopes = {"GET": "usage:read"}
    queryset = models.ThresholdFiring.objects.all()
    serializer_class = serializers.ThresholdFiringSerializer

    def get_queryset(self) -> QuerySet[models.ThresholdFiring]:
        """Those of one threshold."""
        return super().get_queryset().filter(threshold_id=self.kwargs.get("threshold_id"))

    @extend_schema(summary="List when a usage threshold was reached")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        _visible(self, kwargs["threshold_id"])
        return super().get(request, *args, **kwargs)


def _visible(view: api.Endpoint, threshold_id: str) -> models.UsageThreshold:
    threshold = view.restrict(models.UsageThreshold.objects.filter(pk=threshold_id)).first()
    if threshold is None:
        raise errors.ThresholdNotFound(f"no usage threshold {threshold_id!r}")
    return threshold
