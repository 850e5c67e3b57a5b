"""Beat's adapters: the same calls that the commands make, safe to repeat."""

from celery import shared_task

from ledger import sealing


@shared_task(name="ledger.seal_transactions")
def seal_transactions() -> None:
    """Seal what has settled."""
    sealing.seal_transactions()
