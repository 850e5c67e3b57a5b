"""``manage.py finalize_invoices``."""

from datetime import datetime
from typing import Any

from billing_site.kernel.commands import OperatorCommand
from invoicing import finalization


class Command(OperatorCommand):
    """Finalize every draft whose grace period is over."""

    help = "Number, freeze and post to the ledger every draft whose grace period is over."

    def run(self, *, as_of: datetime, **options: Any) -> finalization.FinalizationReport:
        return finalization.finalize_invoices(
            now=as_of, progress=lambda done, total: self.progress(done, total, "drafts")
        )
