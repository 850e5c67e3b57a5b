"""``manage.py recognize_revenue``."""

from datetime import datetime
from typing import Any

from billing_site.kernel.commands import OperatorCommand
from invoicing import recognition


class Command(OperatorCommand):
    """Earn the fees billed in advance, for every day that is over."""

    help = "Earn the fees billed in advance: every day that is over and not in the books yet, in all books."

    def run(self, *, as_of: datetime, **options: Any) -> recognition.RecognitionReport:
        return recognition.recognize_revenue(
            now=as_of, progress=lambda done, total: self.progress(done, total, "books and currencies")
        )
