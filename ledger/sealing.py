"""
Sealing: settled transactions go into blocks, each with the hash of the one before, so that a later edit shows.

The database hashes (``migrations/sql/sealing.sql``), so that no caller chooses what is sealed or how; the service may
only say when. The hash of a book's last block stands for all of the book up to there: written down elsewhere, it shows
even a chain that was forged anew from some block on.
"""

from dataclasses import dataclass

from django.db import connection, transaction

from ledger import models


@dataclass(frozen=True, kw_only=True)
class SealingReport:
    """What one run sealed, in all books."""

    block_count: int
    transaction_count: int


def seal_transactions(*, book: str | None = None) -> SealingReport:
    """
    Seal what is settled, in one book or in all, block by block.

    A transaction is settled once every database transaction that was running when it was written has ended; what is
    not yet settled is left to the next run, and nothing is ever passed over.

    Idempotency: each transaction is sealed once; runs beside each other leave a book to whoever comes first.
    Locks: the book's chain, for each block in a transaction of its own. Requires that none is open.
    """
    books = [book] if book is not None else list(models.Book.objects.order_by("code").values_list("code", flat=True))
    sealed = [count for code in books for count in _seal_book(code)]
    return SealingReport(block_count=len(sealed), transaction_count=sum(sealed))


def _seal_book(book: str) -> list[int]:
    """The number of transactions in each block that was sealed."""
    counts: list[int] = []
    while True:
        # Durable: inside an open transaction, the chain would be locked and each block unsettled until it ends.
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SELECT sealed_count FROM public.ledger_seal_next_block(%s)", [book])
            row = cursor.fetchone()
        if row is None:
            return counts
        counts.append(row[0])
