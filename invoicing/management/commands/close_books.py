"""``manage.py close_books``."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import clock
from billing_site.kernel.commands import OperatorCommand
from invoicing import closing


class Command(OperatorCommand):
    """Earn, accrue and close a period of a book."""

    help = (
        "Earn the fees of a period, accrue its unbilled usage (reversed on the next day), and close it in the ledger."
    )

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("book", help="the book, such as main")
        parser.add_argument("--until", required=True, type=clock.parse_instant, help="its end: a midnight in UTC")
        parser.add_argument(
            "--since", type=clock.parse_instant, help="its start; default: where the last closed one ends"
        )
        parser.add_argument("--actor", required=True, help="who closes it")
        parser.add_argument("--reason", required=True, help="why")

    def run(self, *, as_of: datetime, **options: Any) -> closing.ClosingReport:
        return closing.close_books(
            book=options["book"],
            period_start=options["since"],
            period_end=options["until"],
            actor=options["actor"],
            reason=options["reason"],
            now=as_of,
        )
