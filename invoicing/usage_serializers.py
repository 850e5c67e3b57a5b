"""The JSON of usage as billing sees it: what came late to an invoice, and what the running period has used."""

from fractions import Fraction
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel.serializers import CentsField, CodeField, InstantField, StrictSerializer
from invoicing import current_usage, late_usage
from invoicing.pricing import exact


@extend_schema_field({"type": ["integer", "string"], "example": 1_200_000})
class QuantityField(serializers.Field[Any, Any, Any, Any]):
    """A quantity: an integer where it is whole, else a decimal string."""

    def to_representation(self, value: Any) -> int | str:
        """Exactly."""
        return exact.json_quantity(Fraction(value))


@extend_schema_field({"type": ["string", "null"], "example": "12.5"})
class MillisecondsField(serializers.Field[Any, Any, Any, Any]):
    """A duration as a decimal string."""

    def to_representation(self, value: Any) -> str:
        """Without exponent or trailing zeros."""
        return exact.decimal_text(Fraction(value))


class LateMeterSerializer(serializers.Serializer[late_usage.LateMeter]):
    """
    What an invoice billed of a meter, and what came after; negative where a correction took usage back.

    Counts of events are null for invoices that were finalized before these were kept.
    """

    meter = serializers.CharField()
    billed_quantity = QuantityField()
    billed_event_count = serializers.IntegerField(allow_null=True)
    late_quantity = QuantityField()
    late_event_count = serializers.IntegerField(allow_null=True)
    changed_at = InstantField(allow_null=True)


class LateUsageSerializer(serializers.Serializer[Any]):
    """Late usage of one invoice; a draft has none, since its usage is still followed."""

    invoice_id = serializers.CharField()
    tenant_id = serializers.CharField()
    period_start = InstantField()
    period_end = InstantField()
    finalized_at = InstantField(allow_null=True)
    meters = LateMeterSerializer(many=True)


class CurrentUsageQuery(StrictSerializer):
    """Whose usage."""

    tenant_id = CodeField()


class CurrentMeterSerializer(serializers.Serializer[current_usage.CurrentMeter]):
    """What a meter says so far, and what that costs."""

    meter = serializers.CharField()
    quantity = QuantityField()
    event_count = serializers.IntegerField()
    amount_cents = CentsField(read_only=True)


class CurrentPeriodSerializer(serializers.Serializer[current_usage.CurrentPeriod]):
    """The running period of a subscription; its amount is for usage alone, fees are not in it."""

    subscription_id = serializers.CharField()
    plan_code = serializers.CharField()
    plan_version = serializers.IntegerField()
    period_start = InstantField()
    period_end = InstantField()
    meters = CurrentMeterSerializer(many=True)
    request_count = serializers.IntegerField()
    billable_units = serializers.IntegerField()
    average_response_time_ms = MillisecondsField(allow_null=True)
    amount_cents = CentsField(read_only=True)


class CurrentUsageSerializer(serializers.Serializer[current_usage.CurrentUsage]):
    """A tenant's running periods. Every event accepted before ``fresh_as_of`` is counted."""

    tenant_id = serializers.CharField()
    currency = serializers.CharField()
    periods = CurrentPeriodSerializer(many=True)
    amount_cents = CentsField(read_only=True)
    fresh_as_of = InstantField()
