"""The query parameters of invoicing's lists."""

from typing import ClassVar

import django_filters

from billing_site.kernel import api
from invoicing import models
from invoicing.models.catalog import Interval
from invoicing.models.invoices import InvoiceStatus
from invoicing.models.subscriptions import SubscriptionStatus
from invoicing.models.tenants import BillingChannel


class TenantFilter(django_filters.FilterSet):
    """``GET /v1/tenants``."""

    billing_channel = django_filters.ChoiceFilter(choices=BillingChannel.choices)
    currency = api.CodeFilter()
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.Tenant
        fields: ClassVar[list[str]] = []


class PlanFilter(django_filters.FilterSet):
    """``GET /v1/plans``."""

    currency = api.CodeFilter()
    interval = django_filters.ChoiceFilter(choices=Interval.choices)
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.PlanVersion
        fields: ClassVar[list[str]] = []


class SubscriptionFilter(django_filters.FilterSet):
    """``GET /v1/subscriptions``."""

    tenant_id = api.CodeFilter(field_name="tenant_id")
    plan_code = api.CodeFilter(field_name="plan_version__plan_id")
    status = django_filters.ChoiceFilter(choices=SubscriptionStatus.choices)
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.Subscription
        fields: ClassVar[list[str]] = []


class InvoiceFilter(django_filters.FilterSet):
    """``GET /v1/invoices``."""

    tenant_id = api.CodeFilter(field_name="tenant_id")
    subscription_id = api.CodeFilter(field_name="subscription_id")
    status = django_filters.ChoiceFilter(choices=InvoiceStatus.choices)
    period_start_gte = api.InstantFilter(field_name="period_start", lookup_expr="gte")
    period_start_lt = api.InstantFilter(field_name="period_start", lookup_expr="lt")
    due_at_gte = api.InstantFilter(field_name="due_at", lookup_expr="gte")
    due_at_lt = api.InstantFilter(field_name="due_at", lookup_expr="lt")
    created_at_gte = api.InstantFilter(field_name="created_at", lookup_expr="gte")
    created_at_lt = api.InstantFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = models.Invoice
        fields: ClassVar[list[str]] = []
