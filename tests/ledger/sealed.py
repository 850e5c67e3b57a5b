"""Seals in tests, where writers in other tests' databases of the same cluster hold sealing up for a while."""

from django.db.models import Sum

from ledger import models, sealing
from tests.support import waiting


def seal() -> None:
    """Seal until every transaction is in a block."""

    def is_sealed() -> bool:
        sealing.seal_transactions()
        sealed = models.Block.objects.aggregate(total=Sum("transaction_count"))["total"] or 0
        return bool(sealed == models.Transaction.objects.count())

    waiting.until(is_sealed, seconds=60, what="the writers of other tests to end")
