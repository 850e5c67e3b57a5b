"""Dead letters, what was done about each, and the bodies that do something."""

import json
import math
from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering import dead_letters, models, surrogates

_SHOWN_ACTIONS: Final = 100


class DeadLetterSerializer(serializers.ModelSerializer[models.DeadLetter]):
    """An event that was not taken, with the latest reason."""

    payload = serializers.SerializerMethodField()
    first_seen_at = kernel.InstantField()
    last_seen_at = kernel.InstantField()
    resolved_at = serializers.SerializerMethodField()

    class Meta:
        model = models.DeadLetter
        fields: ClassVar[list[str]] = [
            "id",
            "tenant_id",
            "code",
            "detail",
            "source",
            "event_type",
            "count",
            "state",
            "payload",
            "first_seen_at",
            "last_seen_at",
            "resolved_at",
            "resolved_by",
            "reason",
        ]

    @extend_schema_field({"description": "The event as it was sent; a text where that is not JSON."})
    def get_payload(self, letter: models.DeadLetter) -> Any:
        """As JSON where it is JSON."""
        return _as_json(letter.payload)

    @extend_schema_field({"type": ["string", "null"], "format": "date-time"})
    def get_resolved_at(self, letter: models.DeadLetter) -> str | None:
        """When it was replayed or discarded."""
        return kernel.InstantField().to_representation(letter.resolved_at) if letter.resolved_at else None


class DeadLetterActionSerializer(serializers.ModelSerializer[models.DeadLetterAction]):
    """One thing that was done about a dead letter."""

    event = serializers.SerializerMethodField()
    created_at = kernel.InstantField()

    class Meta:
        model = models.DeadLetterAction
        fields: ClassVar[list[str]] = ["step", "actor", "code", "detail", "reason", "event", "created_at"]

    @extend_schema_field({"description": "The corrected event that was replayed, or null."})
    def get_event(self, action: models.DeadLetterAction) -> Any:
        """As JSON."""
        return _as_json(action.event) if action.event else None


class DeadLetterDetailSerializer(DeadLetterSerializer):
    """A dead letter with its trail."""

    actions = serializers.SerializerMethodField()

    class Meta(DeadLetterSerializer.Meta):
        fields: ClassVar[list[str]] = [*DeadLetterSerializer.Meta.fields, "actions"]

    @extend_schema_field(DeadLetterActionSerializer(many=True))
    def get_actions(self, letter: models.DeadLetter) -> Any:
        """What was done about it, the latest 100, newest first."""
        return DeadLetterActionSerializer(letter.actions.order_by("-id")[:_SHOWN_ACTIONS], many=True).data


@extend_schema_field({"$ref": "#/components/schemas/EventIn"})
class EventObjectField(serializers.DictField):
    """An event as ``POST /v1/events`` takes it; its own rules are held by intake, with a verdict."""


class ReplayRequest(kernel.StrictSerializer):
    """The corrected event, where the payload is not to be taken as it is; ``backfill`` lifts the age limit."""

    event = EventObjectField(required=False)
    backfill = kernel.StrictBooleanField(required=False, default=False)


class DiscardRequest(kernel.StrictSerializer):
    """Why the event is given up."""

    reason = kernel.TextField(max_length=dead_letters.MAX_REASON_CHARACTERS)


def _as_json(text: str) -> Any:
    """The value, or the text where there is none that could be sent as JSON again."""
    sent = text.encode()
    if surrogates.replace_halves(sent) != sent:
        return text
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)
    except (ValueError, RecursionError):
        return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is beyond any number that JSON is written with")
    return number
