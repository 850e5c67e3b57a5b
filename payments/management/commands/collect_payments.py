"""``manage.py collect_payments``: charge what open invoices ask for."""

from datetime import datetime
from typing import Any

from billing_site.kernel.commands import OperatorCommand
from payments import collection


class Command(OperatorCommand):
    """Collect open invoices through their tenants' channels; exits 1 where a person must look."""

    help = "Charge the tenants of open invoices through their billing channels."

    def run(self, *, as_of: datetime, **options: Any) -> collection.CollectionReport:
        return collection.collect_payments(now=as_of, progress=lambda done: self.progress(done, None, "collected"))
