"""The JSON of revenue recognition; the rest of invoicing's is in ``serializers``."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel.serializers import CentsField
from invoicing import models, recognition


class RecognitionMonthSerializer(serializers.Serializer[Any]):
    """What a line earns in a calendar month."""

    month = serializers.CharField(help_text="Such as 2026-11.")
    days = serializers.IntegerField()
    amount_cents = CentsField(read_only=True)


class RecognitionScheduleSerializer(serializers.Serializer[models.RecognitionSchedule]):
    """A line that is earned by the day, `starts_on <= day < ends_on` in its time zone."""

    line_id = serializers.CharField()
    description = serializers.CharField(source="line.description")
    time_zone = serializers.CharField()
    starts_on = serializers.DateField()
    ends_on = serializers.DateField()
    days = serializers.IntegerField()
    amount_cents = serializers.IntegerField()
    recognized_cents = serializers.IntegerField(source="earned_cents")
    deferred_cents = serializers.IntegerField()
    fully_recognized_on = serializers.DateField(source="closed_on", allow_null=True)
    months = serializers.SerializerMethodField()

    @extend_schema_field(RecognitionMonthSerializer(many=True))
    def get_months(self, schedule: models.RecognitionSchedule) -> Any:
        """The plan, month by month."""
        return RecognitionMonthSerializer(recognition.planned_months(schedule), many=True).data


class RecognitionSerializer(serializers.Serializer[Any]):
    """The lines of an invoice that were billed in advance, and how much of each is earned."""

    invoice_id = serializers.CharField()
    currency = serializers.CharField()
    recognized_through_on = serializers.DateField(allow_null=True)
    recognized_cents = serializers.IntegerField()
    deferred_cents = serializers.IntegerField()
    lines = RecognitionScheduleSerializer(many=True)
