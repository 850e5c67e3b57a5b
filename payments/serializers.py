"""The JSON of payments and payment methods: bodies as they are taken, answers as they are given."""

from typing import Any

from rest_framework import serializers

from billing_site.kernel.serializers import (
    CentsField,
    CodeField,
    CurrencyField,
    InstantField,
    MetadataField,
    StrictBooleanField,
    StrictSerializer,
    TextField,
)
from payments import models


class NewPayment(StrictSerializer):
    """A bank transfer that came in; ``received_at`` is when it stood on our account."""

    tenant_id = CodeField()
    amount_cents = CentsField(min_value=1)
    currency = CurrencyField()
    received_at = InstantField()
    reference = TextField(max_length=200)
    invoice_id = TextField(max_length=40, required=False, allow_null=True)
    metadata = MetadataField(required=False)


class PaymentSerializer(serializers.Serializer[models.Payment]):
    """
    Money that came.

    Its amount is what was applied to invoices, credited to the tenant and left unapplied, together.
    """

    id = serializers.CharField()
    tenant_id = serializers.CharField()
    invoice_id = serializers.CharField(allow_null=True)
    attempt_id = serializers.CharField(allow_null=True)
    channel = serializers.CharField()
    external_id = serializers.CharField()
    amount_cents = CentsField(read_only=True)
    applied_cents = CentsField(read_only=True)
    credited_cents = CentsField(read_only=True)
    unapplied_cents = CentsField(read_only=True)
    currency = serializers.CharField()
    reference = serializers.CharField()
    metadata = MetadataField()
    received_at = InstantField()
    created_at = InstantField()


class NewPaymentMethod(StrictSerializer):
    """A payment method that the tenant has set up with the processor."""

    tenant_id = CodeField()
    processor_payment_method_id = TextField(max_length=255)
    default = StrictBooleanField(required=False, default=False)

    def validate_processor_payment_method_id(self, value: str) -> str:
        """One word: it becomes part of an address at the processor."""
        if not value.isascii() or not value.replace("_", "").isalnum():
            raise serializers.ValidationError("must be of letters, digits and _", code="invalid_code")
        return value


class PaymentMethodSerializer(serializers.Serializer[models.PaymentMethod]):
    """A way to charge a tenant; never more of a card than its brand, its last four digits and its end."""

    id = serializers.CharField()
    tenant_id = serializers.CharField()
    channel = serializers.CharField()
    status = serializers.ChoiceField(models.MethodStatus.choices)
    processor_payment_method_id = serializers.CharField(source="external_id")
    kind = serializers.CharField()
    brand = serializers.CharField()
    last4 = serializers.CharField()
    expires_month = serializers.IntegerField(allow_null=True)
    expires_year = serializers.IntegerField(allow_null=True)
    default = serializers.BooleanField(source="is_default")
    failure_code = serializers.CharField()
    decline_code = serializers.CharField()
    created_at = InstantField()


class AttemptSerializer(serializers.Serializer[models.PaymentAttempt]):
    """One try to charge an invoice, as a refusal tells it."""

    id = serializers.CharField()
    invoice_id = serializers.CharField()
    number = serializers.IntegerField()
    status = serializers.ChoiceField(models.AttemptStatus.choices)
    amount_cents = CentsField(read_only=True)
    currency = serializers.CharField()
    failure_code = serializers.CharField()
    decline_code = serializers.CharField()
    retryable = serializers.BooleanField(source="is_retryable")
    created_at = InstantField()


class NoFields(StrictSerializer):
    """A body that has nothing to say."""


class ReceivedSerializer(serializers.Serializer[Any]):
    """A message was stored, now or before."""

    received = serializers.BooleanField()
