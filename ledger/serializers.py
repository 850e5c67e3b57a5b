"""The ledger's answers."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing_site.kernel import ids
from billing_site.kernel import serializers as kernel_serializers
from ledger import chart, models


@extend_schema_field({"type": "string"})
class SerialField(serializers.Field[int, str, str, Any]):
    """A BIGINT key in its public form."""

    def __init__(self, *, prefix: str, **options: Any) -> None:
        self.prefix = prefix
        super().__init__(read_only=True, **options)

    def to_representation(self, value: int) -> str:
        """With its prefix."""
        return ids.encode_serial(self.prefix, value)


class NameOrNull(serializers.CharField):
    """A tenant, a channel or a name; null where the row has none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, value: str) -> str:
        """Empty text is how the tables say none."""
        return value or None  # type: ignore[return-value]  # the field allows null


class AccountReferenceSerializer(serializers.Serializer[models.Account]):
    """The account of an entry."""

    id = SerialField(prefix="acc")
    type = serializers.CharField()
    tenant_id = NameOrNull()
    currency = serializers.CharField()


class AccountSerializer(serializers.Serializer[models.Account]):
    """One account and its balance, positive on its normal side."""

    id = SerialField(prefix="acc")
    book = serializers.CharField(source="book_id")
    type = serializers.CharField()
    code = serializers.CharField()
    normal_side = serializers.ChoiceField(choices=["debit", "credit"])
    currency = serializers.CharField()
    tenant_id = NameOrNull()
    channel = NameOrNull()
    balance_cents = serializers.IntegerField()
    created_at = kernel_serializers.InstantField()


class EntrySerializer(serializers.Serializer[models.Entry]):
    """One debit or credit, with what its transaction says of it."""

    id = SerialField(prefix="ent")
    transaction_id = SerialField(prefix="txn")
    account = AccountReferenceSerializer()
    entry_type = serializers.ChoiceField(choices=["debit", "credit"])
    amount_cents = serializers.IntegerField()
    balance_after_cents = serializers.SerializerMethodField()
    reference_type = serializers.CharField(source="transaction.reference_type")
    reference_id = serializers.CharField(source="transaction.reference_id")
    description = serializers.CharField(source="transaction.description")
    effective_at = kernel_serializers.InstantField()
    created_at = kernel_serializers.InstantField(source="transaction.created_at")

    def get_balance_after_cents(self, entry: models.Entry) -> int | None:
        """
        The account's balance after this entry.

        Null where the account has several balance rows, one of which would mislead, and for a key that is bound to a
        tenant where the account is not that tenant's: the book's balances are none of its business.
        """
        bound = self.context["view"].bound_tenant_id()
        if entry.account.shard_count > 1 or (bound is not None and entry.account_tenant_id != bound):
            return None
        return entry.balance_after_cents


class TransactionSerializer(serializers.Serializer[models.Transaction]):
    """One balanced record of one business fact."""

    id = SerialField(prefix="txn")
    book = serializers.CharField(source="book_id")
    idempotency_key = serializers.CharField()
    kind = serializers.CharField()
    tenant_id = NameOrNull()
    currency = serializers.CharField()
    amount_cents = serializers.IntegerField()
    entry_count = serializers.IntegerField()
    occurred_at = kernel_serializers.InstantField()
    effective_at = kernel_serializers.InstantField()
    created_at = kernel_serializers.InstantField()
    reference_type = serializers.CharField()
    reference_id = serializers.CharField()
    description = serializers.CharField()
    metadata = kernel_serializers.MetadataField()
    reverses_id = SerialField(prefix="txn", allow_null=True)


class TransactionDetailSerializer(TransactionSerializer):
    """The same with its entries, in the order in which they were written."""

    entries = EntrySerializer(many=True)


class TypeBalanceSerializer(serializers.Serializer[Any]):
    """A tenant's balance of one account type, positive on its normal side."""

    book = serializers.CharField()
    currency = serializers.CharField()
    account_type = serializers.CharField()
    code = serializers.CharField()
    normal_side = serializers.ChoiceField(choices=["debit", "credit"])
    balance_cents = serializers.IntegerField()


class TenantBalancesSerializer(serializers.Serializer[Any]):
    """All balances of a tenant."""

    tenant_id = serializers.CharField()
    data = TypeBalanceSerializer(many=True)  # type: ignore[assignment]  # DRF takes fields off the class


class TrialBalanceRowSerializer(serializers.Serializer[Any]):
    """The net balance of one account type, in the column of its sign."""

    currency = serializers.CharField()
    account_type = serializers.CharField()
    code = serializers.CharField()
    category = serializers.ChoiceField(choices=["asset", "liability", "revenue", "expense"])
    normal_side = serializers.ChoiceField(choices=["debit", "credit"])
    balance_cents = serializers.IntegerField()
    debit_cents = serializers.IntegerField()
    credit_cents = serializers.IntegerField()


class TrialBalanceTotalSerializer(serializers.Serializer[Any]):
    """The sums of both columns in one currency."""

    currency = serializers.CharField()
    debit_cents = serializers.IntegerField()
    credit_cents = serializers.IntegerField()


class TrialBalanceSerializer(serializers.Serializer[Any]):
    """The trial balance of a book: all that took effect before ``as_of``; null is all there is."""

    book = serializers.CharField()
    as_of = kernel_serializers.InstantField(allow_null=True)
    data = TrialBalanceRowSerializer(many=True)  # type: ignore[assignment]  # as above
    totals = TrialBalanceTotalSerializer(many=True)


class AsOfQuery(kernel_serializers.StrictSerializer):
    """``?as_of=``."""

    as_of = kernel_serializers.InstantField(
        required=False,
        help_text="Count what took effect before this moment; without it, all there is.",
    )


class TenantQuery(kernel_serializers.StrictSerializer):
    """``?tenant_id=``."""

    tenant_id = kernel_serializers.CodeField()


class TrialBalanceQuery(AsOfQuery):
    """``?as_of=&currency=&book=``."""

    currency = kernel_serializers.CurrencyField(required=False)
    book = kernel_serializers.CodeField(required=False, default=models.DEFAULT_BOOK)


class NewEntrySerializer(kernel_serializers.StrictSerializer):
    """One debit or credit of a manual transaction."""

    account_type = serializers.ChoiceField(choices=list(chart.ACCOUNT_TYPES))
    entry_type = serializers.ChoiceField(choices=[chart.DEBIT, chart.CREDIT])
    amount_cents = kernel_serializers.CentsField(min_value=1)
    tenant_id = kernel_serializers.CodeField(
        required=False,
        help_text="For account types that are per tenant; without it, the transaction's.",
    )
    channel = kernel_serializers.CodeField(required=False, help_text="For account types that are per channel.")


class NewManualTransaction(kernel_serializers.StrictSerializer):
    """An adjustment by hand."""

    book = kernel_serializers.CodeField(required=False, default=models.DEFAULT_BOOK)
    tenant_id = kernel_serializers.CodeField(required=False, default="")
    currency = kernel_serializers.CurrencyField()
    occurred_at = kernel_serializers.InstantField(required=False, help_text="Without it, now.")
    reason = kernel_serializers.TextField(max_length=2000)
    entries = serializers.ListField(child=NewEntrySerializer(), min_length=2, max_length=1000)
    metadata = kernel_serializers.MetadataField(required=False, default=dict)


class Reason(kernel_serializers.StrictSerializer):
    """Why."""

    reason = kernel_serializers.TextField(max_length=2000)


class PeriodChange(Reason):
    """Which period of which book, and why."""

    book = kernel_serializers.CodeField(required=False, default=models.DEFAULT_BOOK)
    period_start = kernel_serializers.InstantField(
        required=False,
        help_text="Of the first period that is closed; the others begin where the one before ends.",
    )
    period_end = kernel_serializers.InstantField(help_text="The first moment after the period.")


class PeriodSerializer(serializers.Serializer[models.Period]):
    """One closing of a period: all that took effect from ``period_start`` on and before ``period_end``."""

    id = SerialField(prefix="per")
    book = serializers.CharField(source="book_id")
    period_start = kernel_serializers.InstantField(source="starts_at")
    period_end = kernel_serializers.InstantField(source="ends_at")
    revision = serializers.IntegerField()
    state = serializers.ChoiceField(choices=["closed", "reopened"])
    closed_at = kernel_serializers.InstantField()
    closed_by = serializers.CharField()
    close_reason = serializers.CharField()
    reopened_at = kernel_serializers.InstantField(allow_null=True)
    reopened_by = NameOrNull()
    reopen_reason = NameOrNull()


class ExportQuery(kernel_serializers.StrictSerializer):
    """``?from=&to=&book=``."""

    book = kernel_serializers.CodeField(required=False, default=models.DEFAULT_BOOK)

    def get_fields(self) -> dict[str, Any]:
        """``from`` and ``to``, which Python would not let us declare."""
        bounds = {"from": kernel_serializers.InstantField(), "to": kernel_serializers.InstantField()}
        return {**super().get_fields(), **bounds}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Time that runs forward."""
        if attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": serializers.ErrorDetail("must be after from", "invalid_period")})
        return attrs
