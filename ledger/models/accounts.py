"""Books, their chart, their accounts and balances."""

from typing import Final

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel import fields, ids

DEFAULT_BOOK: Final = "main"

SIDES: Final = [("debit", "debit"), ("credit", "credit")]
_SCOPES: Final = [("book", "book"), ("tenant", "tenant"), ("channel", "channel")]
_CATEGORIES: Final = [(name, name) for name in ("asset", "liability", "revenue", "expense")]


class Book(models.Model):
    """One set of accounts: one legal entity."""

    code = fields.CodeField(primary_key=True)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "ledger_book"
        ordering = ["code"]
        constraints = [
            models.CheckConstraint(
                name="ledger_book_has_a_code",
                condition=Q(code__regex=f"^{fields.CODE_PATTERN}$"),
            ),
        ]

    def __str__(self) -> str:
        return self.code


class AccountType(models.Model):
    """One line of the chart of accounts, as the database knows it; ``chart`` holds the same for Python."""

    name = models.CharField(max_length=40, primary_key=True)
    code = models.CharField(max_length=4, unique=True)
    category = models.CharField(max_length=10, choices=_CATEGORIES)
    normal_side = models.CharField(max_length=6, choices=SIDES)
    scope = models.CharField(max_length=7, choices=_SCOPES)
    floor_cents = models.BigIntegerField(null=True, blank=True)
    shard_count = models.PositiveSmallIntegerField(default=1)

    class Meta:
        db_table = "ledger_account_type"
        ordering = ["code"]
        constraints = [
            models.UniqueConstraint(
                fields=["name", "code", "normal_side", "scope"],
                name="ledger_account_type_identity",
            ),
            models.CheckConstraint(
                name="ledger_normal_side_is_debit_or_credit",
                condition=Q(normal_side__in=["debit", "credit"]),
            ),
            models.CheckConstraint(
                name="ledger_scope_is_book_tenant_or_channel",
                condition=Q(scope__in=["book", "tenant", "channel"]),
            ),
            models.CheckConstraint(
                name="ledger_category_is_known",
                condition=Q(category__in=["asset", "liability", "revenue", "expense"]),
            ),
            # A floor holds for the sum of an account, and only a balance in one row can be held to it.
            models.CheckConstraint(
                name="ledger_floored_account_has_one_shard",
                condition=Q(shard_count=1) | Q(floor_cents__isnull=True, shard_count__range=(1, 64)),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class Account(models.Model):
    """One account of one book and currency; per tenant or per channel where its type says so. Never changes."""

    id = models.BigAutoField(primary_key=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_index=False)
    type = models.CharField(max_length=40)
    code = models.CharField(max_length=4)
    normal_side = models.CharField(max_length=6, choices=SIDES)
    scope = models.CharField(max_length=7, choices=_SCOPES)
    currency = fields.CurrencyField()
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    channel = models.CharField(max_length=64, blank=True, default="")
    shard_count = models.PositiveSmallIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "ledger_account"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["book", "type", "currency", "tenant_id", "channel"],
                name="ledger_account_opened_once",
            ),
            models.UniqueConstraint(fields=["id", "book", "currency", "tenant_id"], name="ledger_account_identity"),
            models.CheckConstraint(
                name="ledger_account_stands_in_its_scope",
                condition=Q(scope="book", tenant_id="", channel="")
                | (Q(scope="tenant", channel="") & ~Q(tenant_id=""))
                | (Q(scope="channel", tenant_id="") & ~Q(channel="")),
            ),
            models.CheckConstraint(name="ledger_account_currency_is_a_code", condition=Q(currency__regex="^[A-Z]{3}$")),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "id"], name="ledger_account_by_tenant", condition=~Q(tenant_id="")),
        ]

    def __str__(self) -> str:
        owner = self.tenant_id or self.channel
        return f"{self.code} {self.type} {self.currency}{f' {owner}' if owner else ''}"

    @property
    def public_id(self) -> str:
        """The id that the API shows."""
        return ids.encode_serial("acc", self.pk)


class Balance(models.Model):
    """
    The sum of an account's entries, positive on its normal side.

    A hot account has ``shard_count`` rows, whose sum is its balance, so that writers do not queue for one row.
    """

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="balances", db_index=False)
    shard = models.PositiveSmallIntegerField(default=0)
    balance_cents = models.BigIntegerField(default=0)
    last_seq = models.BigIntegerField(default=0)
    floor_cents = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "ledger_balance"
        ordering = ["account", "shard"]
        constraints = [
            models.UniqueConstraint(fields=["account", "shard"], name="ledger_balance_one_per_shard"),
            models.CheckConstraint(
                name="ledger_balance_not_below_floor",
                condition=Q(floor_cents__isnull=True) | Q(balance_cents__gte=F("floor_cents")),
            ),
            models.CheckConstraint(
                name="ledger_balance_starts_at_zero",
                condition=Q(last_seq__gt=0) | Q(last_seq=0, balance_cents=0),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}/{self.shard}: {self.balance_cents}"
