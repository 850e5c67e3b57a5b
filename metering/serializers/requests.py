"""The request roll-up."""

import base64
import binascii
from datetime import datetime
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import clock
from billing_site.kernel import serializers as kernel

MAX_HOURS: Final = 1_000
_MAX_COUNT: Final = 2**63 - 1


@extend_schema_field(OpenApiTypes.STR)
class EndpointCursorField(serializers.Field[tuple[int, str], str, str, Any]):
    """Where the next page of endpoints goes on: the last one's count and name. Opaque to callers."""

    def to_internal_value(self, data: Any) -> tuple[int, str]:
        """The place behind a cursor that we gave out."""
        try:
            count, separator, name = base64.urlsafe_b64decode(str(data).encode()).decode().partition("|")
            place = int(count)
        except (binascii.Error, ValueError) as error:
            raise _not_a_cursor() from error
        if not separator or "\x00" in name or not 0 <= place <= _MAX_COUNT:
            raise _not_a_cursor()
        return place, name

    def to_representation(self, value: tuple[int, str]) -> str:
        """The cursor of a place."""
        return base64.urlsafe_b64encode(f"{value[0]}|{value[1]}".encode()).decode()


@extend_schema_field(OpenApiTypes.STR)
class HourCursorField(serializers.Field[datetime, str, str, Any]):
    """Where the next page of hours goes on: the last one's start. Opaque to callers."""

    def to_internal_value(self, data: Any) -> datetime:
        """The place behind a cursor that we gave out."""
        try:
            return clock.parse_instant(base64.urlsafe_b64decode(str(data).encode()).decode())
        except (binascii.Error, ValueError) as error:
            raise _not_a_cursor() from error

    def to_representation(self, value: datetime) -> str:
        """The cursor of a place."""
        return base64.urlsafe_b64encode(clock.format_instant(value).encode()).decode()


class PeriodQuery(kernel.StrictSerializer):
    """Whose requests, over which time; this month (in UTC) so far where it is not said."""

    tenant_id = kernel.CodeField()

    def get_fields(self) -> dict[str, Any]:
        """``from`` and ``to``, which Python would not let us declare."""
        return {
            **super().get_fields(),
            "from": kernel.InstantField(required=False, help_text="Default: the start of this month, in UTC."),
            "to": kernel.InstantField(required=False, help_text="Default: now."),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Time that runs forward."""
        now = clock.now()
        period_to = attrs.setdefault("to", now)
        period_from = attrs.setdefault("from", now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
        if period_from >= period_to:
            raise serializers.ValidationError({"to": serializers.ErrorDetail("must be after from", "invalid_period")})
        return attrs


class TopQuery(PeriodQuery):
    """Which endpoints."""

    limit = serializers.IntegerField(required=False, default=20, min_value=1, max_value=100)
    cursor = EndpointCursorField(required=False)


class ErrorRateQuery(PeriodQuery):
    """Which hours."""

    limit = serializers.IntegerField(required=False, default=MAX_HOURS, min_value=1, max_value=MAX_HOURS)
    cursor = HourCursorField(required=False)


class EndpointRowSerializer(serializers.Serializer[Any]):
    """What requests of one endpoint add up to. ``endpoint`` is null for requests that have no row of their own."""

    tenant_id = serializers.CharField()
    endpoint = serializers.CharField(allow_null=True)
    request_count = serializers.IntegerField()
    average_response_time_ms = serializers.DecimalField(
        max_digits=20, decimal_places=3, allow_null=True, help_text="Over the requests that told a time."
    )
    error_count = serializers.IntegerField(help_text="4xx and 5xx together.")
    client_error_count = serializers.IntegerField(help_text="4xx.")
    server_error_count = serializers.IntegerField(help_text="5xx.")


class EndpointPageSerializer(serializers.Serializer[Any]):
    """Endpoints, most requests first. Every request accepted before ``fresh_as_of`` is counted."""

    data = EndpointRowSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    fresh_as_of = kernel.InstantField()


class ErrorRateRowSerializer(serializers.Serializer[Any]):
    """How many of an hour's requests failed, and which share of all that is, from 0 to 1."""

    tenant_id = serializers.CharField()
    period_start = kernel.InstantField()
    period_end = kernel.InstantField()
    request_count = serializers.IntegerField()
    client_error_count = serializers.IntegerField(help_text="4xx.")
    server_error_count = serializers.IntegerField(help_text="5xx.")
    client_error_rate = serializers.DecimalField(max_digits=7, decimal_places=6)
    server_error_rate = serializers.DecimalField(max_digits=7, decimal_places=6)


class ErrorRatePageSerializer(serializers.Serializer[Any]):
    """Hours in time order. Every request accepted before ``fresh_as_of`` is counted."""

    data = ErrorRateRowSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    fresh_as_of = kernel.InstantField()


def _not_a_cursor() -> serializers.ValidationError:
    return serializers.ValidationError("is not a cursor that this list gave out", code="invalid_cursor")
