"""
Celery: decides how soon, never whether.

Every task is a call of a use case that finds its work in PostgreSQL, so a lost broker, a lost message or a killed
worker delays work and loses none.
"""

import os
from typing import Any

from celery import Celery, signals

from billing_site import schedule

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

app = Celery("billing_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_finalize.connect
def _fill_schedule(sender: Celery, **_: Any) -> None:
    sender.conf.beat_schedule = schedule.entries()


@signals.setup_logging.connect
def _keep_django_logging(**_: Any) -> None:
    """Celery would replace the log handlers that settings configure; a receiver here stops it."""
