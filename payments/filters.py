"""The query parameters of payments' lists."""

from typing import ClassVar

import django_filters

from billing_site.kernel import api
from payments import models


class PaymentFilter(django_filters.FilterSet):
    """``GET /v1/payments``."""

    tenant_id = api.CodeFilter(field_name="tenant_id")
    invoice_id = api.CodeFilter(field_name="invoice_id")
    channel = api.CodeFilter()
    currency = api.CodeFilter()
    received_at_gte = api.InstantFilter(field_name="received_at", lookup_expr="gte")
    received_at_lt = api.InstantFilter(field_name="received_at", lookup_expr="lt")
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.Payment
        fields: ClassVar[list[str]] = []


class PaymentMethodFilter(django_filters.FilterSet):
    """``GET /v1/payment-methods``."""

    tenant_id = api.CodeFilter(field_name="tenant_id")
    status = django_filters.ChoiceFilter(choices=models.MethodStatus.choices)
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.PaymentMethod
        fields: ClassVar[list[str]] = []
