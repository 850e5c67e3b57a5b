"""Meters."""

from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering import meters, models
from metering.serializers import fields

_NAME_LENGTH: Final = 100
_ACCEPTED_LENGTH: Final = 255
_NO_PROPERTY: Final = frozenset({models.Aggregation.COUNT})


@extend_schema_field({"type": "string", "enum": models.Aggregation.values})
class AggregationField(kernel.TextField):
    """One of the six."""

    def to_internal_value(self, data: Any) -> models.Aggregation:
        """As sent."""
        text = super().to_internal_value(data)
        if text not in models.Aggregation.values:
            known = ", ".join(models.Aggregation.values)
            raise serializers.ValidationError(f"must be one of {known}, not {text!r}"[:200], code="invalid_choice")
        return models.Aggregation(text)


class NameField(kernel.TextField):
    """The name of a property of events: 1 to 100 characters, no NUL."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=_NAME_LENGTH, trim_whitespace=False, **options)


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "maxProperties": meters.MAX_FILTERS,
    }
)
class FiltersField(serializers.Field[dict[str, list[str]], Any, Any, Any]):
    """Names of properties, and of each the texts that are accepted."""

    def to_internal_value(self, data: Any) -> dict[str, list[str]]:
        """As sent."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be an object of lists of strings", code="wrong_type")
        if len(data) > meters.MAX_FILTERS:
            raise serializers.ValidationError(f"has {len(data)} members, at most {meters.MAX_FILTERS}", code="too_many")
        for name, accepted in data.items():
            if not 1 <= len(name) <= _NAME_LENGTH or "\x00" in name:
                raise serializers.ValidationError(f"{name[:50]!r}: a name is 1 to {_NAME_LENGTH} characters", "invalid")
            if not isinstance(accepted, list) or not all(isinstance(text, str) for text in accepted):
                raise serializers.ValidationError(f"{name!r}: must be a list of strings", code="wrong_type")
            if not 1 <= len(accepted) <= meters.MAX_ACCEPTED:
                raise serializers.ValidationError(f"{name!r}: 1 to {meters.MAX_ACCEPTED} texts", code="invalid")
            if any(len(text) > _ACCEPTED_LENGTH or "\x00" in text for text in accepted):
                raise serializers.ValidationError(
                    f"{name!r}: a text has at most {_ACCEPTED_LENGTH} characters, and no NUL", code="invalid"
                )
        return data

    def to_representation(self, value: dict[str, list[str]]) -> dict[str, list[str]]:
        """As stored."""
        return value


class NewMeter(kernel.StrictSerializer):
    """What is counted, of which events."""

    code = kernel.CodeField(help_text="Not an event type in use, which has a meter of its own name.")
    event_type = fields.EventTypeField()
    aggregation = AggregationField()
    property = NameField(
        required=False,
        help_text="A property that holds an integer of 0 to 10^15, counted in place of `quantity`; an event without "
        "one is skipped. For `unique_count`, the property whose different values are counted: required.",
    )
    filters = FiltersField(required=False, help_text="Only events whose properties have one of these texts.")
    group_by = serializers.ListField(child=NameField(), required=False, max_length=meters.MAX_GROUPS)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A property where it means something, and each group once."""
        kind = attrs["aggregation"]
        if kind == models.Aggregation.UNIQUE_COUNT and "property" not in attrs:
            raise serializers.ValidationError({"property": serializers.ErrorDetail("is required", "required")})
        if kind in _NO_PROPERTY and "property" in attrs:
            fault = f"{kind} counts events, and takes no property; use filters"
            raise serializers.ValidationError({"property": serializers.ErrorDetail(fault, "excluded")})
        groups = attrs.get("group_by", [])
        if len(set(groups)) < len(groups):
            raise serializers.ValidationError(
                {"group_by": serializers.ErrorDetail("names a property twice", "invalid")}
            )
        return attrs


class MeterSerializer(serializers.ModelSerializer[models.Meter]):
    """A meter. ``backfilled``: it has counted the events that were there before it."""

    property = serializers.SerializerMethodField()
    filters = FiltersField()
    group_by = serializers.ListField(child=serializers.CharField())
    backfilled = serializers.SerializerMethodField()
    created_at = kernel.InstantField()

    class Meta:
        model = models.Meter
        fields: ClassVar[list[str]] = [
            "code",
            "event_type",
            "aggregation",
            "property",
            "filters",
            "group_by",
            "backfilled",
            "created_at",
        ]

    @extend_schema_field({"type": "string", "nullable": True})
    def get_property(self, meter: models.Meter) -> str | None:
        """Null where the quantity is counted."""
        return meter.property or None

    def get_backfilled(self, meter: models.Meter) -> bool:
        """From the rows that were fetched with it, or by a query."""
        return all(backfill.finished_at is not None for backfill in meter.backfills.all())
