"""Fields that several queries have."""

import base64
import binascii
import re
from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import clock
from billing_site.kernel import serializers as kernel
from metering import models


class EventTypeField(kernel.TextField):
    """1 to 100 of ``[a-z0-9_.-]``."""

    def to_internal_value(self, data: Any) -> str:
        """The type as sent."""
        text = super().to_internal_value(data)
        if not re.fullmatch(models.EVENT_TYPE_PATTERN, text):
            raise serializers.ValidationError("must be 1 to 100 of [a-z0-9_.-]", code="invalid_event_type")
        return text


@extend_schema_field(OpenApiTypes.STR)
class CursorField(serializers.Field[tuple[datetime, str], str, str, Any]):
    """Where the next page goes on: a moment and a text that tells rows of that moment apart. Opaque to callers."""

    def to_internal_value(self, data: Any) -> tuple[datetime, str]:
        """The place behind a cursor that we gave out."""
        try:
            moment, _, mark = base64.urlsafe_b64decode(str(data).encode()).decode().partition("|")
            return clock.parse_instant(moment), self.read_mark(mark)
        except (binascii.Error, ValueError) as error:
            raise serializers.ValidationError(
                "is not a cursor that this list gave out", code="invalid_cursor"
            ) from error

    def read_mark(self, mark: str) -> str:
        """Check the part that tells rows of one moment apart."""
        if not re.fullmatch(models.EVENT_TYPE_PATTERN, mark):
            raise ValueError(mark)
        return mark

    def to_representation(self, value: tuple[datetime, str]) -> str:
        """The cursor of a place."""
        return write_cursor(*value)


@extend_schema_field(OpenApiTypes.STR)
class EventCursorField(CursorField):
    """A cursor whose mark is an event's key hash."""

    def read_mark(self, mark: str) -> str:
        """Check that it is one."""
        return str(UUID(mark))


def write_cursor(moment: datetime, mark: str) -> str:
    """The cursor that follows a row."""
    return base64.urlsafe_b64encode(f"{clock.format_instant(moment)}|{mark}".encode()).decode()
