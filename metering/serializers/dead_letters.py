"""Dead letters."""

import json
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import serializers as kernel
from metering import models


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
