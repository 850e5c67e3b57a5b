"""Seal the ledger's settled transactions into chained blocks."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from ledger import books, sealing


class Command(commands.OperatorCommand):
    """``seal_transactions``: what beat does every hour."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("--book", help="seal this book alone")

    def run(self, *, as_of: datetime, **options: Any) -> sealing.SealingReport:
        """One run. What is settled is the database's to say, so ``--as-of`` changes nothing."""
        if options["book"] is not None:
            books.get_book(options["book"])
        return sealing.seal_transactions(book=options["book"])
