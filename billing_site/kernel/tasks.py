"""The kernel's Celery tasks."""

from celery import shared_task

from billing_site.kernel import clock, idempotency


@shared_task(name="kernel.purge_idempotency_keys")
def purge_idempotency_keys() -> None:
    """Forget remembered answers that are past their time."""
    idempotency.purge(now=clock.now())
