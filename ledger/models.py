"""
The ledger's tables. Only ``posting`` and ``books`` write them, through functions of the database (``migrations/sql``).

Foreign keys of transactions and entries are composite (id with book, currency and tenant) and stand in
``migrations/sql/tables.sql``; Django's own single-column constraints would check the same again, so they are left out.
"""

from typing import Final

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel import fields, ids
from ledger import fields as ledger_fields

DEFAULT_BOOK: Final = "main"
MAXIMUM_AMOUNT_CENTS: Final = 10**15

_SIDES: Final = [("debit", "debit"), ("credit", "credit")]
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
    normal_side = models.CharField(max_length=6, choices=_SIDES)
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
    normal_side = models.CharField(max_length=6, choices=_SIDES)
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


class Transaction(models.Model):
    """
    One balanced, immutable record of one business fact.

    ``occurred_at`` is the fact, ``effective_at`` the books' date, ``created_at`` when we wrote it. ``amount_cents`` is
    the sum of the debits. ``tenant_id`` empty: the transaction is the book's.
    """

    id = models.BigAutoField(primary_key=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    idempotency_key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)
    kind = models.CharField(max_length=64)
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    currency = fields.CurrencyField()
    occurred_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    reference_type = models.CharField(max_length=64, blank=True, default="")
    reference_id = models.CharField(max_length=255, blank=True, default="")
    description = models.TextField(blank=True, default="")
    metadata = models.JSONField(blank=True, default=dict)
    entry_count = models.PositiveIntegerField()
    amount_cents = models.BigIntegerField()
    reverses = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="reversed_by",
    )
    # The server fills these in: which of its own transactions wrote the row, and in which cluster that number counts.
    written_xid = ledger_fields.TransactionNumberField(editable=False)
    system_identifier = models.BigIntegerField(editable=False)

    class Meta:
        db_table = "ledger_transaction"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["book", "idempotency_key"], name="ledger_fact_posted_once"),
            models.UniqueConstraint(fields=["id", "book", "currency", "tenant_id"], name="ledger_transaction_identity"),
            models.UniqueConstraint(
                fields=["reverses"],
                name="ledger_transaction_reversed_once",
                condition=Q(reverses__isnull=False),
            ),
            models.CheckConstraint(name="ledger_transaction_names_its_fact", condition=~Q(idempotency_key="")),
            models.CheckConstraint(name="ledger_transaction_has_two_entries", condition=Q(entry_count__gte=2)),
            models.CheckConstraint(name="ledger_transaction_moves_something", condition=Q(amount_cents__gt=0)),
            models.CheckConstraint(
                name="ledger_books_date_not_before_the_fact",
                condition=Q(effective_at__gte=F("occurred_at")),
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "id"], name="ledger_transaction_by_tenant"),
            models.Index(fields=["reference_id", "id"], name="ledger_txn_by_reference"),
            # The order of sealing.
            models.Index(fields=["book", "system_identifier", "written_xid", "id"], name="ledger_txn_by_writer"),
        ]

    def __str__(self) -> str:
        return self.idempotency_key

    @property
    def public_id(self) -> str:
        """The id that the API shows."""
        return ids.encode_serial("txn", self.pk)


class Entry(models.Model):
    """
    One debit or credit of a transaction.

    ``tenant_id`` is its transaction's, ``account_tenant_id`` its account's. ``account_seq`` counts the entries of the
    account's shard without a gap, ``balance_after_cents`` is the shard's balance after this one.
    """

    id = models.BigAutoField(primary_key=True)
    transaction = models.ForeignKey(
        Transaction,
        on_delete=models.PROTECT,
        related_name="entries",
        db_constraint=False,
        db_index=False,
    )
    line_no = models.PositiveIntegerField()
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_constraint=False, db_index=False)
    currency = fields.CurrencyField()
    tenant_id = models.CharField(max_length=64, blank=True, default="")
    account = models.ForeignKey(
        Account,
        on_delete=models.PROTECT,
        related_name="entries",
        db_constraint=False,
        db_index=False,
    )
    account_tenant_id = models.CharField(max_length=64, blank=True, default="")
    shard = models.PositiveSmallIntegerField(default=0)
    entry_type = models.CharField(max_length=6, choices=_SIDES)
    amount_cents = models.BigIntegerField()
    account_seq = models.BigIntegerField()
    balance_after_cents = models.BigIntegerField()
    effective_at = models.DateTimeField()

    class Meta:
        db_table = "ledger_entry"
        verbose_name_plural = "entries"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["transaction", "line_no"], name="ledger_entry_line_written_once"),
            models.UniqueConstraint(
                fields=["account", "shard", "account_seq"],
                name="ledger_entry_numbered_once",
            ),
            models.CheckConstraint(
                name="ledger_entry_is_debit_or_credit",
                condition=Q(entry_type__in=["debit", "credit"]),
            ),
            models.CheckConstraint(
                name="ledger_entry_amount_is_in_range",
                condition=Q(amount_cents__range=(1, MAXIMUM_AMOUNT_CENTS)),
            ),
            models.CheckConstraint(name="ledger_entry_is_numbered_from_one", condition=Q(account_seq__gte=1)),
            # A book's transaction may touch many tenants; a tenant's never another tenant's account.
            models.CheckConstraint(
                name="ledger_entry_stays_with_its_tenant",
                condition=Q(account_tenant_id="") | Q(tenant_id="") | Q(account_tenant_id=F("tenant_id")),
            ),
        ]
        indexes = [
            models.Index(fields=["account", "id"], name="ledger_entry_by_account"),
            models.Index(fields=["tenant_id", "id"], name="ledger_entry_by_tenant"),
            # Nearly as good as a tree for a time that rises with the rows, and nearly free to write.
            BrinIndex(
                fields=["effective_at"],
                name="ledger_entry_by_books_date",
                opclasses=["timestamptz_minmax_multi_ops"],
                pages_per_range=32,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entry_type} {self.amount_cents} {self.currency}"

    @property
    def public_id(self) -> str:
        """The id that the API shows."""
        return ids.encode_serial("ent", self.pk)


class Block(models.Model):
    """
    At most 10,000 settled transactions of one book, sealed: hashed, and chained to the block before.

    In the order of their writers (``written_xid``, then ``id``), up to and with the last one named here. ``digests`` is
    a SHA-256 for each of them, so that a changed one can be named; ``hash`` covers all of the block.
    """

    id = models.BigAutoField(primary_key=True)
    book = models.ForeignKey(Book, on_delete=models.PROTECT, db_index=False)
    number = models.PositiveIntegerField()
    system_identifier = models.BigIntegerField()
    transaction_count = models.PositiveIntegerField()
    first_transaction_id = models.BigIntegerField()
    last_transaction_id = models.BigIntegerField()
    last_written_xid = ledger_fields.TransactionNumberField()
    sealed_at = models.DateTimeField()
    previous_hash = models.BinaryField(max_length=32)
    digests = models.BinaryField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        db_table = "ledger_block"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["book", "number"], name="ledger_block_numbered_once"),
            models.UniqueConstraint(fields=["book", "number", "hash"], name="ledger_block_identity"),
            models.CheckConstraint(name="ledger_block_is_numbered_from_one", condition=Q(number__gte=1)),
            models.CheckConstraint(
                name="ledger_block_holds_1_to_10000",
                condition=Q(transaction_count__range=(1, 10_000)),
            ),
        ]
        indexes = [
            models.Index(fields=["book", "system_identifier", "number"], name="ledger_block_by_cluster"),
        ]

    def __str__(self) -> str:
        return f"{self.book_id} {self.number}"

    @property
    def hash_hex(self) -> str:
        """The hash as auditors write it down."""
        return bytes(self.hash).hex()
