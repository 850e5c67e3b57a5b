"""Usage that stood out."""

from typing import Any

from rest_framework import serializers

from billing_site.kernel import serializers as kernel


class UsageAnomalySerializer(serializers.Serializer[Any]):
    """
    A UTC day on which the usage of an event type stood out, by its total or by one hour of it.

    `z_score` is null where all days before were the same.
    """

    id = serializers.CharField()
    tenant_id = serializers.CharField()
    event_type = serializers.CharField()
    day = serializers.DateField()
    kind = serializers.CharField(help_text="`day_total` or `hour_spike`.")
    window_start = kernel.InstantField()
    window_end = kernel.InstantField()
    observed_quantity = serializers.IntegerField()
    expected_quantity = serializers.CharField(help_text="The mean of the days before, a decimal string.")
    deviation = serializers.CharField(help_text="Their sample standard deviation, a decimal string.")
    z_score = serializers.CharField(allow_null=True, help_text="Deviations from the mean, below zero for a drop.")
    history_days = serializers.IntegerField()
    detected_at = kernel.InstantField()
    state = serializers.CharField(help_text="`open` or `acknowledged`.")
    acknowledged_at = kernel.InstantField(allow_null=True)
    acknowledged_by = serializers.CharField()
