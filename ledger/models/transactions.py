"""
Transactions and their entries.

Their foreign keys are composite (id with book, currency and tenant) and stand in ``migrations/sql/tables.sql``;
Django's own single-column constraints would check the same again, so they are left out.
"""

from typing import Final

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel import fields, ids
from ledger import fields as ledger_fields
from ledger.models.accounts import SIDES, Account, Book

MAXIMUM_AMOUNT_CENTS: Final = 10**15


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
    entry_type = models.CharField(max_length=6, choices=SIDES)
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
