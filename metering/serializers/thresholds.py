"""Usage thresholds and their firings."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering import models

_NOT_A_QUANTITY: Final = re.compile(r"amount|cents|percent|share|commitment|quota", re.IGNORECASE)


class ChoiceField(serializers.ChoiceField):
    """One of a few words; numbers and objects are not taken for one."""

    def to_internal_value(self, data: Any) -> Any:
        """The word as sent."""
        if not isinstance(data, str):
            raise serializers.ValidationError(f"must be a string, not {data!r}"[:200], code="wrong_type")
        return super().to_internal_value(data)


class NewThreshold(kernel.StrictSerializer):
    """A quantity of a tenant's meter, and what happens when it is reached."""

    tenant_id = kernel.CodeField()
    meter = kernel.TextField(max_length=100, help_text="A meter's code; each event type has a meter of its own name.")
    quantity = kernel.StrictIntegerField(min_value=1, max_value=models.MAX_THRESHOLD_QUANTITY)
    period = ChoiceField(models.Granularity.choices, help_text="Counted per hour, day or month of the UTC calendar.")
    action = ChoiceField(
        models.ThresholdAction.choices,
        help_text="`refuse` also refuses events of the meter's type until the period ends.",
    )

    def to_internal_value(self, data: Any) -> Any:
        """Say of amounts and shares what is wrong with them, rather than that they are unknown."""
        if isinstance(data, Mapping):
            known = set(self.fields)
            beyond = [name for name in data if name not in known and _NOT_A_QUANTITY.search(str(name))]
            if beyond:
                fault = "a threshold is a quantity of a meter; amounts of money and shares are not taken"
                raise serializers.ValidationError(
                    {str(name): [serializers.ErrorDetail(fault, "threshold_kind_not_taken")] for name in beyond},
                )
        return super().to_internal_value(data)


class NoBody(kernel.StrictSerializer):
    """Nothing, or an empty object."""


class UsageThresholdSerializer(serializers.ModelSerializer[models.UsageThreshold]):
    """A quantity that is watched; it counts while ``active``."""

    active = serializers.SerializerMethodField()
    created_at = kernel.InstantField()
    deactivated_at = kernel.InstantField(allow_null=True)

    class Meta:
        model = models.UsageThreshold
        fields: ClassVar[list[str]] = [
            "id",
            "tenant_id",
            "meter",
            "event_type",
            "quantity",
            "period",
            "action",
            "active",
            "created_at",
            "deactivated_at",
        ]

    @extend_schema_field({"type": "boolean"})
    def get_active(self, threshold: models.UsageThreshold) -> bool:
        """Whether it was not deactivated."""
        return threshold.deactivated_at is None


class ThresholdFiringSerializer(serializers.Serializer[models.ThresholdFiring]):
    """That a threshold was reached in a period."""

    id = serializers.CharField()
    threshold_id = serializers.CharField()
    tenant_id = serializers.CharField()
    period_start = kernel.InstantField()
    period_end = kernel.InstantField()
    reached_quantity = serializers.IntegerField(help_text="Where the meter stood when this was seen.")
    fired_at = kernel.InstantField()
