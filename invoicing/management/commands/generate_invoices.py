"""``manage.py generate_invoices``."""

from datetime import datetime
from typing import Any

from billing_site.kernel.commands import OperatorCommand
from invoicing import drafting


class Command(OperatorCommand):
    """Draft every boundary that is due, and refresh the drafts that are in their grace period."""

    help = "Draft every boundary that is due, missed ones too, and refresh the drafts that are in their grace period."

    def run(self, *, as_of: datetime, **options: Any) -> drafting.GenerationReport:
        return drafting.generate_invoices(
            now=as_of, progress=lambda done, total: self.progress(done, total, "subscriptions and drafts")
        )
