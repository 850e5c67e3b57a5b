"""The JSON of invoicing: bodies as they are taken, answers as they are given."""

import re
from fractions import Fraction
from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel.serializers import (
    CentsField,
    CodeField,
    CurrencyField,
    InstantField,
    MetadataField,
    StrictIntegerField,
    StrictSerializer,
    TextField,
)
from invoicing import models
from invoicing.models.catalog import BillingAnchor, FeeTiming, Interval
from invoicing.models.invoices import InvoiceStatus, LineKind
from invoicing.models.subscriptions import SubscriptionStatus
from invoicing.models.tenants import MAXIMUM_GRACE_HOURS, MAXIMUM_NET_TERMS_DAYS, BillingChannel
from invoicing.pricing import exact, json_schema, rating, reading

_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+", re.ASCII)
_QUANTITY: Final = re.compile(r"[0-9]{1,38}(\.[0-9]{1,12})?", re.ASCII)
_LARGEST_QUANTITY: Final = 10**38


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


class TimeZoneField(TextField):
    """A name of the IANA time zone database."""

    def to_internal_value(self, data: Any) -> str:
        """The name, known to this machine."""
        text = super().to_internal_value(data)
        if text not in _time_zones():
            raise serializers.ValidationError(
                f"must be an IANA time zone such as Europe/Berlin, not {text!r}"[:200], code="unknown_time_zone"
            )
        return text


class WordField(serializers.ChoiceField):
    """One of some words; nothing else is taken for one."""

    def to_internal_value(self, data: Any) -> Any:
        """The word itself."""
        if not isinstance(data, str) or data not in self.choices:
            words = ", ".join(str(word) for word in self.choices)
            raise serializers.ValidationError(f"must be one of {words}, not {data!r}"[:300], code="invalid_choice")
        return data


class NotYetField(CentsField):
    """An amount or a count of which only 0, the default, is taken so far."""

    def to_internal_value(self, data: Any) -> int:
        """Zero."""
        value = super().to_internal_value(data)
        if value != 0:
            raise serializers.ValidationError(f"only 0 is taken, not {value}", code="not_offered")
        return value


@extend_schema_field(json_schema.PRICE)
class PriceField(serializers.Field[Any, Any, Any, Any]):
    """A price definition; read by ``pricing.definitions``, which knows the rules and tells every fault."""

    def to_internal_value(self, data: Any) -> Any:
        """As sent."""
        return data

    def to_representation(self, value: models.Price) -> dict[str, object]:
        """As stored, every default told."""
        return {"meter": value.meter, "model": value.model, **value.definition}


@extend_schema_field({"type": "array", "items": json_schema.RATED_TIER})
class RatedTiersField(serializers.Field[Any, Any, Any, Any]):
    """The calculation of a line, slice by slice; quantities count priced units."""

    def to_representation(self, value: Any) -> Any:
        """As stored, or as just rated."""
        return [tier.as_json() if isinstance(tier, rating.RatedTier) else tier for tier in value]


@extend_schema_field(json_schema.COUNT)
class AnyQuantityField(serializers.Field[Fraction, Any, Any, Any]):
    """A quantity: a JSON integer or a decimal string, not negative."""

    def to_internal_value(self, data: Any) -> Fraction:
        """The exact quantity."""
        if isinstance(data, int) and not isinstance(data, bool):
            if not 0 <= data <= _LARGEST_QUANTITY:
                raise serializers.ValidationError("must be 0 to 10^38", code="out_of_range")
            return Fraction(data)
        if not isinstance(data, str) or not _QUANTITY.fullmatch(data):
            raise serializers.ValidationError(
                f"must be an integer or a decimal string, not negative, not {data!r}"[:200], code="invalid_quantity"
            )
        return Fraction(data)

    def to_representation(self, value: Any) -> int | str:
        """An integer where it is whole."""
        return exact.json_quantity(Fraction(value))


@extend_schema_field({"type": ["string", "null"], "example": "0.0025"})
class UnitAmountField(serializers.Field[Any, Any, Any, Any]):
    """A line's one rate as a decimal string; null where its tiers have their own."""

    def to_representation(self, value: Any) -> str:
        """Without exponent or trailing zeros."""
        return reading.rate_text(value)


class AddressSerializer(StrictSerializer):
    """Where a tenant is; the country stands beside it."""

    line1 = TextField(required=False, max_length=200, allow_blank=True)
    line2 = TextField(required=False, max_length=200, allow_blank=True)
    city = TextField(required=False, max_length=200, allow_blank=True)
    state = TextField(required=False, max_length=200, allow_blank=True)
    postal_code = TextField(required=False, max_length=32, allow_blank=True)


class TenantChanges(StrictSerializer):
    """What may change of a tenant; ``metadata`` is merged, an empty value removes its pair."""

    name = TextField(max_length=200)
    email = TextField(required=False, max_length=254, allow_blank=True)
    billing_channel = WordField(BillingChannel.choices, required=False)
    country = TextField(required=False, max_length=2, allow_blank=True, help_text="ISO 3166-1 alpha-2")
    address = AddressSerializer(required=False)
    tax_id = TextField(required=False, max_length=64, allow_blank=True)
    net_terms_days = StrictIntegerField(required=False, min_value=0, max_value=MAXIMUM_NET_TERMS_DAYS)
    time_zone = TimeZoneField(required=False)
    grace_hours = StrictIntegerField(
        required=False,
        min_value=0,
        max_value=MAXIMUM_GRACE_HOURS,
        allow_null=True,
        help_text="null: the plan's, or 48",
    )
    metadata = MetadataField(required=False)

    def validate_country(self, value: str) -> str:
        """Two capital letters, or nothing."""
        if value and not _COUNTRY.fullmatch(value):
            raise serializers.ValidationError(f"must be two capital letters, not {value!r}", code="invalid_country")
        return value

    def validate_email(self, value: str) -> str:
        """Something on both sides of one @; only a message that arrives proves more."""
        if value and not _EMAIL.fullmatch(value):
            raise serializers.ValidationError(f"must be an e-mail address, not {value!r}"[:200], code="invalid_email")
        return value


class NewTenant(TenantChanges):
    """A tenant as it is made."""

    id = CodeField()
    currency = CurrencyField()
    book = CodeField(required=False)


class TenantSerializer(serializers.Serializer[models.Tenant]):
    """A tenant."""

    id = serializers.CharField()
    name = serializers.CharField()
    email = serializers.CharField()
    currency = serializers.CharField()
    billing_channel = serializers.ChoiceField(BillingChannel.choices)
    country = serializers.CharField()
    address = AddressSerializer()
    tax_id = serializers.CharField()
    net_terms_days = serializers.IntegerField()
    time_zone = serializers.CharField()
    grace_hours = serializers.IntegerField(allow_null=True)
    book = serializers.CharField()
    metadata = MetadataField()
    created_at = InstantField()
    updated_at = InstantField()


class BalanceSerializer(serializers.Serializer[Any]):
    """What a tenant owes and is owed, each from the ledger."""

    tenant_id = serializers.CharField()
    currency = serializers.CharField()
    receivable_cents = CentsField(read_only=True)
    prepaid_credit_cents = CentsField(read_only=True)
    customer_credit_cents = CentsField(read_only=True)
    deferred_revenue_cents = CentsField(read_only=True)


class NewPlanVersion(StrictSerializer):
    """What a version of a plan says."""

    name = TextField(max_length=200)
    currency = CurrencyField()
    interval = WordField(Interval.choices)
    billing_anchor = WordField(BillingAnchor.choices, required=False)
    grace_hours = StrictIntegerField(required=False, min_value=0, max_value=MAXIMUM_GRACE_HOURS, allow_null=True)
    base_fee_cents = CentsField(required=False)
    base_fee_timing = WordField(FeeTiming.choices, required=False)
    trial_days = NotYetField(required=False)
    minimum_commitment_cents = NotYetField(required=False)
    prices = serializers.ListField(child=PriceField(), required=False)


class NewPlan(NewPlanVersion):
    """A plan as it is made."""

    code = CodeField()


class PlanSerializer(serializers.Serializer[models.PlanVersion]):
    """The latest version of a plan."""

    code = serializers.CharField(source="plan_id")
    version = serializers.IntegerField()
    name = serializers.CharField()
    currency = serializers.CharField()
    interval = serializers.ChoiceField(Interval.choices)
    billing_anchor = serializers.ChoiceField(BillingAnchor.choices)
    grace_hours = serializers.IntegerField(allow_null=True)
    base_fee_cents = CentsField(read_only=True)
    base_fee_timing = serializers.ChoiceField(FeeTiming.choices)
    trial_days = serializers.IntegerField()
    minimum_commitment_cents = CentsField(read_only=True)
    prices = serializers.ListField(child=PriceField(), source="prices.all")
    created_at = InstantField()


class NewSubscription(StrictSerializer):
    """A tenant to be put on a plan; from the local midnight on or before ``starts_at`` (default: today's)."""

    tenant_id = CodeField()
    plan_code = CodeField()
    starts_at = InstantField(required=False)
    metadata = MetadataField(required=False)


class SubscriptionSerializer(serializers.Serializer[models.Subscription]):
    """A subscription; the current period is the one that the next invoice ends."""

    id = serializers.CharField()
    tenant_id = serializers.CharField()
    plan_code = serializers.CharField(source="plan_version.plan_id")
    plan_version = serializers.IntegerField(source="plan_version.version")
    status = serializers.ChoiceField(SubscriptionStatus.choices)
    currency = serializers.CharField()
    starts_at = InstantField()
    time_zone = serializers.CharField()
    current_period_start = InstantField(source="current_period.starts_at", default=None, allow_null=True)
    current_period_end = InstantField(source="current_period.ends_at", default=None, allow_null=True)
    metadata = MetadataField()
    created_at = InstantField()


class LineItemSerializer(serializers.Serializer[models.LineItem]):
    """A line of an invoice; its quantity counts raw units, its tiers priced units."""

    id = serializers.CharField()
    kind = serializers.ChoiceField(LineKind.choices)
    meter = serializers.SerializerMethodField()
    description = serializers.CharField()
    quantity = AnyQuantityField()
    unit_amount_cents = UnitAmountField(allow_null=True)
    amount_cents = serializers.IntegerField()
    period_start = InstantField()
    period_end = InstantField()
    tiers = RatedTiersField()

    def get_meter(self, line: models.LineItem) -> str | None:
        """The meter, or null where the line is not of usage."""
        return line.meter or None


class DiscountSerializer(serializers.Serializer[Any]):
    """What a coupon took off."""

    coupon = serializers.CharField()
    amount_cents = serializers.IntegerField()


class TaxSerializer(serializers.Serializer[Any]):
    """What one tax rate added."""

    name = serializers.CharField()
    rate_bps = serializers.IntegerField()
    taxable_cents = serializers.IntegerField()
    tax_cents = serializers.IntegerField()


class InvoiceSerializer(serializers.Serializer[models.Invoice]):
    """An invoice with its lines."""

    id = serializers.CharField()
    number = serializers.CharField(allow_null=True)
    tenant_id = serializers.CharField()
    subscription_id = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(InvoiceStatus.choices)
    currency = serializers.CharField()
    period_start = InstantField()
    period_end = InstantField()
    finalizes_at = InstantField(allow_null=True)
    finalized_at = InstantField(allow_null=True)
    due_at = InstantField(allow_null=True)
    paid_at = InstantField(allow_null=True)
    subtotal_cents = serializers.IntegerField()
    discount_cents = serializers.IntegerField()
    tax_cents = serializers.IntegerField()
    total_cents = serializers.IntegerField()
    discounts = DiscountSerializer(many=True)
    taxes = TaxSerializer(many=True)
    credits_applied_cents = serializers.IntegerField()
    amount_credited_cents = serializers.IntegerField()
    amount_paid_cents = serializers.IntegerField()
    amount_due_cents = serializers.IntegerField()
    lines = LineItemSerializer(many=True)
    metadata = MetadataField()
    created_at = InstantField()


class NoBody(StrictSerializer):
    """A request that says all by its address."""


class QuoteRequest(StrictSerializer):
    """One price to be tried with one quantity; its ``meter`` may be left out."""

    currency = CurrencyField()
    price = PriceField()
    quantity = AnyQuantityField()


class QuoteSerializer(serializers.Serializer[rating.RatedLine]):
    """What the quantity costs, exactly and rounded, and how that came out."""

    amount_cents = serializers.IntegerField()
    unrounded_amount_cents = serializers.SerializerMethodField()
    tiers = RatedTiersField()

    def get_unrounded_amount_cents(self, line: rating.RatedLine) -> str:
        """Exact, or to 24 decimals where no decimal is."""
        return exact.decimal_text(line.unrounded_amount_cents)
