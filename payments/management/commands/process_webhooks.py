"""``manage.py process_webhooks``: work off what processors sent."""

from datetime import datetime
from typing import Any

from billing_site.kernel.commands import OperatorCommand
from payments import webhooks


class Command(OperatorCommand):
    """Work off stored messages; exits 1 where some are quarantined."""

    help = "Work off the messages that payment processors sent."

    def run(self, *, as_of: datetime, **options: Any) -> webhooks.WebhookReport:
        return webhooks.process_webhooks(now=as_of, progress=lambda done: self.progress(done, None, "worked off"))
