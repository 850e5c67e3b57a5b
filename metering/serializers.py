"""Metering on the wire: what queries may ask, and how rows are answered. Events come in by ``schemas``."""

import base64
import binascii
import json
import re
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import clock
from billing_site.kernel import serializers as kernel
from metering import models

MAX_USAGE_ROWS: Final = 1_000


class EventTypeField(kernel.TextField):
    """1 to 100 of ``[a-z0-9_.-]``."""

    def to_internal_value(self, data: Any) -> str:
        """The type as sent."""
        text = super().to_internal_value(data)
        if not re.fullmatch(models.EVENT_TYPE_PATTERN, text):
            raise serializers.ValidationError("must be 1 to 100 of [a-z0-9_.-]", code="invalid_event_type")
        return text


@extend_schema_field(OpenApiTypes.STR)
class CursorField(serializers.Field[tuple[datetime, str], str, str, Any]):
    """Where the next page goes on: a moment and a text that tells rows of that moment apart. Opaque to callers."""

    def to_internal_value(self, data: Any) -> tuple[datetime, str]:
        """The place behind a cursor that we gave out."""
        try:
            moment, _, mark = base64.urlsafe_b64decode(str(data).encode()).decode().partition("|")
            return clock.parse_instant(moment), self.read_mark(mark)
        except (binascii.Error, ValueError) as error:
            raise serializers.ValidationError(
                "is not a cursor that this list gave out", code="invalid_cursor"
            ) from error

    def read_mark(self, mark: str) -> str:
        """Check the part that tells rows of one moment apart."""
        if not re.fullmatch(models.EVENT_TYPE_PATTERN, mark):
            raise ValueError(mark)
        return mark

    def to_representation(self, value: tuple[datetime, str]) -> str:
        """The cursor of a place."""
        return write_cursor(*value)


@extend_schema_field(OpenApiTypes.STR)
class EventCursorField(CursorField):
    """A cursor whose mark is an event's key hash."""

    def read_mark(self, mark: str) -> str:
        """Check that it is one."""
        return str(UUID(mark))


def write_cursor(moment: datetime, mark: str) -> str:
    """The cursor that follows a row."""
    return base64.urlsafe_b64encode(f"{clock.format_instant(moment)}|{mark}".encode()).decode()


class EventQuery(kernel.StrictSerializer):
    """Which raw events."""

    tenant_id = kernel.CodeField()
    event_type = EventTypeField(required=False)
    event_timestamp_gte = kernel.InstantField(required=False)
    event_timestamp_lt = kernel.InstantField(required=False)
    limit = serializers.IntegerField(required=False, default=20, min_value=1, max_value=100)
    cursor = EventCursorField(required=False)


class UsageQuery(kernel.StrictSerializer):
    """Which usage, over which time, in which steps."""

    tenant_id = kernel.CodeField()
    event_type = EventTypeField(required=False, help_text="One event type; all when neither this nor meter is given.")
    meter = EventTypeField(required=False, help_text="One meter; each event type has a meter of its own name.")
    granularity = serializers.ChoiceField(models.Granularity.choices, required=False, default=models.Granularity.HOUR)
    limit = serializers.IntegerField(required=False, default=MAX_USAGE_ROWS, min_value=1, max_value=MAX_USAGE_ROWS)
    cursor = CursorField(required=False)

    def get_fields(self) -> dict[str, Any]:
        """``from`` and ``to``, which Python would not let us declare."""
        return {**super().get_fields(), "from": kernel.InstantField(), "to": kernel.InstantField()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One way to name a meter, and time that runs forward."""
        if "event_type" in attrs and "meter" in attrs:
            raise serializers.ValidationError(
                {"meter": serializers.ErrorDetail("give event_type or meter", "excluded")}
            )
        if attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": serializers.ErrorDetail("must be after from", "invalid_period")})
        return attrs


class RawEventSerializer(serializers.Serializer[Any]):
    """One event as it was stored."""

    tenant_id = serializers.CharField()
    event_type = serializers.CharField()
    quantity = serializers.IntegerField()
    idempotency_key = serializers.CharField()
    event_timestamp = kernel.InstantField()
    source = serializers.CharField()  # type: ignore[assignment]  # the contract's name, and no option of the field
    properties = serializers.DictField()
    created_at = kernel.InstantField()


class RawEventPageSerializer(serializers.Serializer[Any]):
    """A page of events, newest first."""

    data = RawEventSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class UsageRowSerializer(serializers.Serializer[Any]):
    """What one meter adds up to in one period."""

    tenant_id = serializers.CharField()
    event_type = serializers.CharField(source="meter")
    period_start = kernel.InstantField()
    period_end = kernel.InstantField()
    total_quantity = serializers.IntegerField()
    event_count = serializers.IntegerField()


class UsagePageSerializer(serializers.Serializer[Any]):
    """Usage in time order. Every event accepted before ``fresh_as_of`` is counted."""

    data = UsageRowSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    fresh_as_of = kernel.InstantField()


class DeadLetterSerializer(serializers.ModelSerializer[models.DeadLetter]):
    """An event that was not taken, with the reason."""

    payload = serializers.SerializerMethodField()
    first_seen_at = kernel.InstantField()
    last_seen_at = kernel.InstantField()

    class Meta:
        model = models.DeadLetter
        fields: ClassVar[list[str]] = [
            "id",
            "tenant_id",
            "code",
            "detail",
            "source",
            "count",
            "state",
            "payload",
            "first_seen_at",
            "last_seen_at",
        ]

    @extend_schema_field({"description": "The event as it was sent; a text where that is not JSON."})
    def get_payload(self, letter: models.DeadLetter) -> Any:
        """As JSON where it is JSON."""
        try:
            return json.loads(letter.payload, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return letter.payload


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
