"""Payments as a Django app, and what the service's role may do to its tables."""

from typing import ClassVar

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    """Nothing here is ever deleted, and what was paid is not rewritten."""

    name = "payments"
    verbose_name = "Payments"
    service_privileges: ClassVar[dict[str, str]] = {
        "payments_payment_method": "SELECT, INSERT, UPDATE",
        "payments_collection": "SELECT, INSERT, UPDATE",
        "payments_attempt": "SELECT, INSERT, UPDATE",
        "payments_payment": "SELECT, INSERT",
        "payments_allocation": "SELECT, INSERT",
        "payments_provider_message": "SELECT, INSERT, UPDATE",
    }
