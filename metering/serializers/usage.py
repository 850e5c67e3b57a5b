"""Usage."""

from typing import Any, Final

from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering import models
from metering.serializers import fields

MAX_USAGE_ROWS: Final = 1_000


class UsageQuery(kernel.StrictSerializer):
    """Which usage, over which time, in which steps."""

    tenant_id = kernel.CodeField()
    event_type = fields.EventTypeField(
        required=False, help_text="One event type; all when neither this nor meter is given."
    )
    meter = fields.EventTypeField(required=False, help_text="One meter; each event type has a meter of its own name.")
    granularity = serializers.ChoiceField(models.Granularity.choices, required=False, default=models.Granularity.HOUR)
    limit = serializers.IntegerField(required=False, default=MAX_USAGE_ROWS, min_value=1, max_value=MAX_USAGE_ROWS)
    cursor = fields.CursorField(required=False)

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
