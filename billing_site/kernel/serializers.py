"""Fields and bodies of the API: strict about types, silent about nothing."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import clock, errors, fields, money

_RATE: Final = re.compile(r"\d{1,18}(\.\d{1,12})?", re.ASCII)
_METADATA_PAIRS: Final = 50
_METADATA_KEY: Final = 40
_METADATA_VALUE: Final = 500


class StrictSerializer(serializers.Serializer[Any]):
    """A body whose unknown fields are errors with their pointer."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse what the contract does not name, together with what it names and is wrong."""
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"non_field_errors": ["must be a JSON object"]}, code="wrong_type")
        faults: dict[str, Any] = {
            errors.pointer_token(str(name)): [
                serializers.ErrorDetail(f"unknown field; known are {', '.join(self._known())}", "unknown_field")
            ]
            for name in data
            if name not in self._known()
        }
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            details = error.detail if isinstance(error.detail, dict) else {"non_field_errors": error.detail}
            raise serializers.ValidationError({**details, **faults}) from error
        if faults:
            raise serializers.ValidationError(faults)
        return values

    def _known(self) -> list[str]:
        return [name for name, field in self.fields.items() if not field.read_only]


@extend_schema_field(OpenApiTypes.DATETIME)
class InstantField(serializers.Field[datetime, str, str, Any]):
    """RFC 3339 with an offset; answered in UTC with ``Z``."""

    def to_internal_value(self, data: Any) -> datetime:
        """Aware, in UTC."""
        if not isinstance(data, str):
            raise serializers.ValidationError("must be a string with an RFC 3339 time", code="wrong_type")
        try:
            return clock.parse_instant(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error), code="invalid_time") from error

    def to_representation(self, value: datetime) -> str:
        """In UTC with ``Z``."""
        return clock.format_instant(value)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer: no string, no boolean, no 1.0."""

    def to_internal_value(self, data: Any) -> int:
        """The integer itself, in its bounds (checked by the validators)."""
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError(f"must be an integer, not {data!r}"[:200], code="wrong_type")
        return data


class CentsField(StrictIntegerField):
    """An amount in the minor unit of its currency."""

    def __init__(self, **options: Any) -> None:
        if not options.get("read_only"):
            options.setdefault("min_value", 0)
            options.setdefault("max_value", 10**15)
        super().__init__(**options)


class StrictBooleanField(serializers.BooleanField):
    """A JSON boolean, not a word for one."""

    def to_internal_value(self, data: Any) -> bool:
        """True or False."""
        if not isinstance(data, bool):
            raise serializers.ValidationError(f"must be true or false, not {data!r}"[:200], code="wrong_type")
        return data


class TextField(serializers.CharField):
    """A JSON string; numbers are not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        """The string, trimmed."""
        if not isinstance(data, str):
            raise serializers.ValidationError(f"must be a string, not {data!r}"[:200], code="wrong_type")
        return super().to_internal_value(data)


class CodeField(TextField):
    """The caller's own code: 1 to 64 of letters, digits and ``._:-``."""

    def to_internal_value(self, data: Any) -> str:
        """The code as sent."""
        text = super().to_internal_value(data)
        if not re.fullmatch(fields.CODE_PATTERN, text):
            raise serializers.ValidationError(
                f"must be 1 to 64 of letters, digits and ._:-, not {text!r}"[:200],
                code="invalid_code",
            )
        return text


class CurrencyField(TextField):
    """An ISO 4217 code in upper case."""

    def to_internal_value(self, data: Any) -> str:
        """The code, known to ISO 4217."""
        text = super().to_internal_value(data)
        try:
            return money.require_currency(text)
        except money.UnknownCurrency as error:
            raise serializers.ValidationError(error.detail[:200], code=error.code) from error


@extend_schema_field(OpenApiTypes.STR)
class RateField(serializers.Field[Decimal, str, str, Any]):
    """A price per unit: a decimal string in cents, not negative, up to 12 decimals. Never a JSON number."""

    def to_internal_value(self, data: Any) -> Decimal:
        """The exact decimal."""
        if not isinstance(data, str):
            raise serializers.ValidationError(
                f"must be a decimal string such as '0.0025', not {data!r}"[:200],
                code="wrong_type",
            )
        if not _RATE.fullmatch(data):
            raise serializers.ValidationError(
                f"must be a decimal string, not negative, with up to 12 decimals, not {data!r}"[:200],
                code="invalid_rate",
            )
        return Decimal(data)

    def to_representation(self, value: Decimal) -> str:
        """Without an exponent."""
        return f"{value:f}"


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": _METADATA_PAIRS})
class MetadataField(serializers.Field[dict[str, str], Any, Any, Any]):
    """Up to 50 string pairs: keys of 1 to 40 characters, values of at most 500."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """The pairs as sent."""
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be an object of string pairs", code="wrong_type")
        if len(data) > _METADATA_PAIRS:
            raise serializers.ValidationError(f"has {len(data)} pairs, at most {_METADATA_PAIRS}", code="too_many")
        for key, value in data.items():
            if not isinstance(value, str) or not 1 <= len(key) <= _METADATA_KEY or len(value) > _METADATA_VALUE:
                raise serializers.ValidationError(
                    f"{key[:50]!r}: keys are 1 to {_METADATA_KEY} characters, "
                    f"values strings of at most {_METADATA_VALUE}",
                    code="invalid_pair",
                )
            if "\x00" in key + value:
                raise serializers.ValidationError("null characters are not allowed", code="null_characters_not_allowed")
        return data

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        """The pairs as stored."""
        return dict(value)


class FieldErrorSerializer(serializers.Serializer[Any]):
    """One fault of a body."""

    pointer = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """An RFC 9457 problem, for the OpenAPI document."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # DRF's own property gives way


def as_invalid(pointer: str, code: str, detail: str) -> errors.Invalid:
    """A refusal of one field, for rules that no serializer can know."""
    return errors.Invalid(f"{pointer}: {detail}", errors=[errors.FieldError(pointer, code, detail)])
