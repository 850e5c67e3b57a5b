"""Sealed blocks of transactions."""

from django.db import models
from django.db.models import Q

from ledger import fields as ledger_fields
from ledger.models.accounts import Book


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
