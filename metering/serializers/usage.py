"""Usage."""

import base64
import binascii
import json
import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import clock
from billing_site.kernel import serializers as kernel
from metering import models, usage_rows
from metering.serializers import fields

MAX_USAGE_ROWS: Final = 1_000
_METER: Final = r"[A-Za-z0-9._:-]{1,100}"
_GROUP_KEY: Final = r"[^\x00]*"
_LONGEST_CURSOR: Final = 4_000

Place = tuple[datetime, str, str]
"""Where a row stands: its period's start, its meter, its group's key."""


class MeterField(kernel.TextField):
    """A meter's code, or an event type, which has a meter of its own name."""

    def to_internal_value(self, data: Any) -> str:
        """The code as sent."""
        text = super().to_internal_value(data)
        if not re.fullmatch(_METER, text):
            raise serializers.ValidationError("must be 1 to 100 of letters, digits and ._:-", code="invalid_meter")
        return text


class NamesField(kernel.TextField):
    """Names of properties, with commas between them."""

    def to_internal_value(self, data: Any) -> Any:
        """The names, each once."""
        names = super().to_internal_value(data).split(",")
        if not all(names) or len(set(names)) != len(names):
            raise serializers.ValidationError("must be names of properties, each once", code="invalid_names")
        return names


@extend_schema_field(OpenApiTypes.STR)
class UsageCursorField(serializers.Field[Place, str, str, Any]):
    """Where the next page goes on. Opaque to callers."""

    def to_internal_value(self, data: Any) -> Place:
        """The place behind a cursor that we gave out."""
        try:
            text = str(data)[:_LONGEST_CURSOR]
            moment, meter, group_key = json.loads(base64.urlsafe_b64decode(text.encode()).decode())
            place = clock.parse_instant(moment), _require_match(_METER, meter), _require_match(_GROUP_KEY, group_key)
            group_key.encode()  # no database holds half a surrogate pair
        except (binascii.Error, TypeError, ValueError, RecursionError) as error:
            raise serializers.ValidationError(
                "is not a cursor that this list gave out", code="invalid_cursor"
            ) from error
        return place

    def to_representation(self, value: Place) -> str:
        """The cursor of a place."""
        return write_cursor(value)


def _require_match(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError(text)
    return text


def write_cursor(place: Place) -> str:
    """The cursor that follows a row."""
    return base64.urlsafe_b64encode(json.dumps([clock.format_instant(place[0]), *place[1:]]).encode()).decode()


class UsageQuery(kernel.StrictSerializer):
    """Which usage, over which time, in which steps."""

    tenant_id = kernel.CodeField()
    event_type = fields.EventTypeField(
        required=False, help_text="One event type; all when neither this nor meter is given."
    )
    meter = MeterField(required=False, help_text="One meter; each event type has a meter of its own name.")
    granularity = serializers.ChoiceField(models.Granularity.choices, required=False, default=models.Granularity.HOUR)
    group_by = NamesField(
        required=False, help_text="A property by which the meter is grouped, or several with commas between them."
    )
    limit = serializers.IntegerField(required=False, default=MAX_USAGE_ROWS, min_value=1, max_value=MAX_USAGE_ROWS)
    cursor = UsageCursorField(required=False)

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


@extend_schema_field({"type": ["integer", "string", "null"], "example": "12.5"})
class FigureField(serializers.Field[Any, Any, Any, Any]):
    """A meter's figure: an integer, an average as a decimal string, null where there is none."""

    def to_representation(self, value: int | Decimal) -> int | str:
        """Without exponent or trailing zeros."""
        if isinstance(value, int):
            return value
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


class UsageRowSerializer(serializers.Serializer[usage_rows.UsageRow]):
    """
    What one meter adds up to in one period.

    Of a meter that was made, also its code, its figure, and how many events did not hold what it counts. Where usage is
    grouped, ``group``; null stands for a property that the events lack.
    """

    tenant_id = serializers.CharField()
    event_type = serializers.CharField()
    period_start = kernel.InstantField()
    period_end = kernel.InstantField()
    total_quantity = serializers.IntegerField()
    event_count = serializers.IntegerField()
    meter = serializers.CharField(required=False)
    aggregation = serializers.ChoiceField(models.Aggregation.choices, required=False)
    value = FigureField(required=False, allow_null=True)
    skipped_count = serializers.IntegerField(required=False)
    group = serializers.SerializerMethodField(required=False)

    def get_group(self, row: usage_rows.UsageRow) -> dict[str, str | None]:
        """The values that the row is told apart by."""
        return dict(json.loads(row.group_key)) if row.group_key else {}

    def to_representation(self, instance: usage_rows.UsageRow) -> dict[str, Any]:
        """An event type's own meter needs no more than its sum."""
        shown = dict(super().to_representation(instance))
        own = set() if instance.aggregation else {"meter", "aggregation", "value", "skipped_count"}
        hidden = own if instance.group_key else own | {"group"}
        return {name: value for name, value in shown.items() if name not in hidden}


class UsagePageSerializer(serializers.Serializer[Any]):
    """Usage in time order. Every event accepted before ``fresh_as_of`` is counted."""

    data = UsageRowSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
    fresh_as_of = kernel.InstantField()
