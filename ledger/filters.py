"""Query parameters of the ledger's lists."""

from typing import Any

import django_filters
from django import forms
from drf_spectacular.utils import extend_schema_field

from billing_site.kernel import api, ids
from ledger import chart, models


class _SerialFormField(forms.Field):
    def __init__(self, *, prefix: str, **options: Any) -> None:
        self.prefix = prefix
        super().__init__(**options)

    def to_python(self, value: Any) -> int | None:
        if not value:
            return None
        serial = ids.decode_serial(self.prefix, value)
        if serial is None:
            raise forms.ValidationError(f"{value!r} is no id of the form {self.prefix}_...", code="invalid_id")
        return serial


@extend_schema_field({"type": "string"})
class SerialFilter(django_filters.Filter):
    """The public id of a ledger row."""

    field_class = _SerialFormField


class AccountFilter(django_filters.FilterSet):
    """Accounts by what they are."""

    book = api.CodeFilter(field_name="book_id")
    type = django_filters.ChoiceFilter(choices=[(name, name) for name in chart.ACCOUNT_TYPES])
    currency = django_filters.CharFilter()
    tenant_id = api.CodeFilter()
    channel = api.CodeFilter()

    class Meta:
        model = models.Account
        fields: list[str] = []


class EntryFilter(django_filters.FilterSet):
    """Entries by account, transaction, tenant (their transaction's) and time."""

    account_id = SerialFilter(prefix="acc")
    transaction_id = SerialFilter(prefix="txn")
    tenant_id = api.CodeFilter()
    effective_at_gte = api.InstantFilter(field_name="effective_at", lookup_expr="gte")
    effective_at_lt = api.InstantFilter(field_name="effective_at", lookup_expr="lt")

    class Meta:
        model = models.Entry
        fields: list[str] = []


class TransactionFilter(django_filters.FilterSet):
    """Transactions by book, tenant, what they refer to, and time."""

    book = api.CodeFilter(field_name="book_id")
    tenant_id = api.CodeFilter()
    kind = api.CodeFilter()
    currency = django_filters.CharFilter()
    reference_type = api.CodeFilter()
    reference_id = django_filters.CharFilter(max_length=255)
    effective_at_gte = api.InstantFilter(field_name="effective_at", lookup_expr="gte")
    effective_at_lt = api.InstantFilter(field_name="effective_at", lookup_expr="lt")

    class Meta:
        model = models.Transaction
        fields: list[str] = []


class PeriodFilter(django_filters.FilterSet):
    """Closed periods by book, state and end."""

    book = api.CodeFilter(field_name="book_id")
    state = django_filters.ChoiceFilter(choices=[("closed", "closed"), ("reopened", "reopened")])
    period_end_gte = api.InstantFilter(field_name="ends_at", lookup_expr="gte")
    period_end_lt = api.InstantFilter(field_name="ends_at", lookup_expr="lt")

    class Meta:
        model = models.Period
        fields: list[str] = []
