"""Raw events. They come in by ``schemas``."""

from typing import Any

from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering.serializers import fields


class EventQuery(kernel.StrictSerializer):
    """Which raw events."""

    tenant_id = kernel.CodeField()
    event_type = fields.EventTypeField(required=False)
    event_timestamp_gte = kernel.InstantField(required=False)
    event_timestamp_lt = kernel.InstantField(required=False)
    limit = serializers.IntegerField(required=False, default=20, min_value=1, max_value=100)
    cursor = fields.EventCursorField(required=False)


class RawEventSerializer(serializers.Serializer[Any]):
    """One event as it was stored."""

    tenant_id = serializers.CharField()
    event_type = serializers.CharField()
    quantity = serializers.IntegerField()
    idempotency_key = serializers.CharField()
    event_timestamp = kernel.InstantField()
    source = serializers.CharField()  # type: ignore[assignment]  # the contract's name, and no option of the field
    properties = serializers.DictField()
    corrects = serializers.CharField(allow_null=True)
    void = serializers.BooleanField()
    created_at = kernel.InstantField()


class RawEventPageSerializer(serializers.Serializer[Any]):
    """A page of events, newest first."""

    data = RawEventSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
