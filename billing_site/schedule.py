"""
The beat schedule: what runs how often. Each entry names a task, so that the site imports no app.

A missed run means later, never lost; a doubled run means nothing, because each job is decided by a key in the database.
"""

from typing import TypedDict

from celery.schedules import crontab
from django.conf import settings


class Entry(TypedDict, total=False):
    """One line of the schedule, in Celery's own words."""

    task: str
    schedule: float | crontab
    options: dict[str, object]


def entries() -> dict[str, Entry]:
    """All entries by name; a run that is not picked up before the next one is due expires."""
    return {
        "aggregate usage": _every(settings.BEAT_AGGREGATE_SECONDS, "metering.aggregate_usage"),
        "fire usage thresholds": _every(settings.BEAT_AGGREGATE_SECONDS, "metering.fire_thresholds"),
        "draft invoices": _every(settings.BEAT_BILLING_SECONDS, "invoicing.generate_invoices"),
        "finalize invoices": _every(settings.BEAT_BILLING_SECONDS, "invoicing.finalize_invoices"),
        "collect payments": _every(settings.BEAT_BILLING_SECONDS, "payments.collect_payments"),
        "work off webhooks": _every(settings.BEAT_WEBHOOK_SECONDS, "payments.process_webhooks"),
        "make partitions": {"task": "metering.maintain_partitions", "schedule": crontab(hour="2", minute="10")},
        "detect anomalies": {"task": "metering.detect_anomalies", "schedule": crontab(hour="2", minute="40")},
        "detect spikes": {"task": "metering.detect_spikes", "schedule": crontab(minute="12")},
        "archive events": {"task": "metering.archive_events", "schedule": crontab(minute="50")},
        "recognize revenue": {"task": "invoicing.recognize_revenue", "schedule": crontab(hour="0", minute="30")},
        "accrue unbilled usage": {"task": "invoicing.accrue_usage", "schedule": crontab(hour="1", minute="0")},
        "seal the ledger": {"task": "ledger.seal_transactions", "schedule": crontab(minute="20")},
        "forget old idempotency keys": {
            "task": "kernel.purge_idempotency_keys",
            "schedule": crontab(hour="3", minute="40"),
        },
    }


def _every(seconds: int, task: str) -> Entry:
    return {"task": task, "schedule": float(seconds), "options": {"expires": max(seconds, 5)}}
