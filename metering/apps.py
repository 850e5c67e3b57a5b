"""Metering as a Django app: what the service's role may do with its tables."""

from typing import Any, ClassVar

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MeteringConfig(AppConfig):
    """The event store is append-only for the service: what came in stays as it came."""

    name = "metering"
    verbose_name = "Metering"
    service_privileges: ClassVar[dict[str, str]] = {
        "metering_series": "SELECT, INSERT",
        "metering_event_key": "SELECT, INSERT",
        "metering_event": "SELECT, INSERT",
        "metering_event_default": "SELECT",  # counted by itself, to see that it is empty
        "metering_archived_month": "SELECT",  # written by functions of the database alone
        "metering_archived_file": "SELECT, INSERT, UPDATE",
        "metering_touched_window": "SELECT, INSERT, DELETE",  # claimed by deleting
        "metering_correction": "SELECT, INSERT, UPDATE",  # linked to its original, once
        "metering_repeated_event": "SELECT, INSERT, DELETE",  # added up, then pruned
        "metering_usage_summary": "SELECT, INSERT, UPDATE",
        "metering_dead_letter": "SELECT, INSERT, UPDATE",
        "metering_dead_letter_action": "SELECT, INSERT",
        "metering_request_summary": "SELECT, INSERT, UPDATE, DELETE",  # recomputed whole
        "metering_usage_threshold": "SELECT, INSERT, UPDATE",
        "metering_threshold_firing": "SELECT, INSERT",
        "metering_usage_anomaly": "SELECT, INSERT, UPDATE",
        "metering_meter": "SELECT, INSERT",
        "metering_meter_backfill": "SELECT, INSERT, UPDATE",
        "metering_changed_window": "SELECT, INSERT, DELETE",  # pruned
        "metering_window_split": "SELECT, INSERT",
        "metering_quarantined_window": "SELECT, INSERT, UPDATE, DELETE",
    }
    service_functions: ClassVar[list[str]] = [
        "metering_open_batch()",
        "metering_make_partition(date)",
        "metering_drain_month(date)",
        "metering_seal_month(date)",
        "metering_unseal_month(date)",
        "metering_verify_month(date,text,text)",
        "metering_drop_month(date)",
        "metering_begin_restore(date)",
        "metering_finish_restore(date)",
        "metering_expire_keys(uuid[])",
    ]

    def ready(self) -> None:
        """Months are made as soon as there is a schema, so that no event waits for one. What is watched is shown."""
        post_migrate.connect(_make_partitions, sender=self, dispatch_uid="make the months of events")
        _register_gauges()


def _register_gauges() -> None:
    from billing_site.kernel import metrics  # noqa: PLC0415  (models must be loaded first)
    from metering import dead_letters  # noqa: PLC0415

    metrics.register_gauge(
        "billing_open_dead_letters",
        "Events that were not taken and wait for somebody, by reason; counted up to 100,000.",
        dead_letters.count_open,
        label="code",
    )


def _make_partitions(using: str, **_: Any) -> None:
    from billing_site.kernel import clock  # noqa: PLC0415  (needs the app registry)
    from metering import partitions  # noqa: PLC0415

    if partitions.can_be_made(using=using):
        partitions.maintain_partitions(now=clock.now(), using=using)
