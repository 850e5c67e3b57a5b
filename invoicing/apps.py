"""Invoicing as a Django app, and what the service's role may do to its tables."""

from typing import ClassVar

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """Triggers guard what is finalized; the grants keep the service from what it never does."""

    name = "invoicing"
    verbose_name = "Invoicing"
    service_privileges: ClassVar[dict[str, str]] = {
        "invoicing_tenant": "SELECT, INSERT, UPDATE",
        # UPDATE is what locking a plan while its next version is made asks for; a trigger refuses any change.
        "invoicing_plan": "SELECT, INSERT, UPDATE",
        "invoicing_plan_version": "SELECT, INSERT",
        "invoicing_price": "SELECT, INSERT",
        "invoicing_subscription": "SELECT, INSERT, UPDATE",
        "invoicing_invoice": "SELECT, INSERT, UPDATE, DELETE",
        "invoicing_line_item": "SELECT, INSERT, UPDATE, DELETE",
        "invoicing_number_series": "SELECT, INSERT, UPDATE",
        "invoicing_recognition_schedule": "SELECT, INSERT, UPDATE",
        "invoicing_recognition_progress": "SELECT, INSERT, UPDATE",
        "invoicing_billed_usage": "SELECT, INSERT",
        "invoicing_late_usage": "SELECT, INSERT, UPDATE",
        "invoicing_usage_change": "SELECT, INSERT, DELETE",
        "invoicing_usage_cursor": "SELECT, INSERT, UPDATE",
    }

    def ready(self) -> None:
        """What invoices billed is laid beside what was metered; what came late is shown at ``/metrics``."""
        from billing_site.kernel import metrics, usage_stages  # noqa: PLC0415
        from invoicing import late_usage  # noqa: PLC0415  (models must be loaded first)
        from invoicing import usage_stages as own  # noqa: PLC0415

        usage_stages.register(own.list_billed_meters)
        metrics.register_gauge(
            "billing_late_usage",
            "Finalized invoices whose usage changed since, and the events by which it did.",
            late_usage.count_late,
            label="of",
        )
