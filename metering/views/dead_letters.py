"""Events that were not taken."""

from typing import Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api
from metering import errors as metering_errors
from metering import models, schemas
from metering.serializers import dead_letters as serializers


class DeadLetterFilter(django_filters.FilterSet):
    """Which dead letters."""

    tenant_id = api.CodeFilter()
    code = django_filters.CharFilter(max_length=64)
    source = django_filters.CharFilter(max_length=schemas.MAX_SOURCE_LENGTH)
    state = django_filters.ChoiceFilter(choices=models.DeadLetterState.choices)
    first_seen_at_gte = api.InstantFilter(field_name="first_seen_at", lookup_expr="gte")
    first_seen_at_lt = api.InstantFilter(field_name="first_seen_at", lookup_expr="lt")
    last_seen_at_gte = api.InstantFilter(field_name="last_seen_at", lookup_expr="gte")
    last_seen_at_lt = api.InstantFilter(field_name="last_seen_at", lookup_expr="lt")

    class Meta:
        model = models.DeadLetter
        fields: ClassVar[list[str]] = []


class DeadLetterListEndpoint(api.ListEndpoint):
    """``GET /v1/dead-letters``."""

    scopes = {"GET": "usage:read"}
    queryset = models.DeadLetter.objects.all()
    serializer_class = serializers.DeadLetterSerializer
    filterset_class = DeadLetterFilter

    @extend_schema(summary="List events that were not taken", responses=serializers.DeadLetterSerializer(many=True))
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page, newest first."""
        return super().get(request, *args, **kwargs)


class DeadLetterEndpoint(api.Endpoint):
    """``GET /v1/dead-letters/{id}``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(summary="Get an event that was not taken", responses=serializers.DeadLetterSerializer)
    def get(self, request: Request, letter_id: str) -> Response:
        """One dead letter with its payload."""
        self.query()
        letter = self.restrict(models.DeadLetter.objects.filter(pk=letter_id)).first()
        if letter is None:
            raise metering_errors.DeadLetterNotFound(f"no dead letter {letter_id!r}")
        return Response(serializers.DeadLetterSerializer(letter).data)
