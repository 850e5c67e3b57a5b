"""Payments' Celery tasks: the calls that the commands make, as of now."""

from celery import shared_task

from billing_site.kernel import clock
from payments import collection, webhooks


@shared_task(name="payments.collect_payments")
def collect_payments() -> None:
    """Collect what is due."""
    collection.collect_payments(now=clock.now())


@shared_task(name="payments.process_webhooks")
def process_webhooks() -> None:
    """Work off the messages that processors sent."""
    webhooks.process_webhooks(now=clock.now())
