"""Recompute the ledger from its rows, and name what is wrong."""

import re
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing_site.kernel import commands, fields
from ledger import books, verification

_HEAD = re.compile(rf"(?P<book>{fields.CODE_PATTERN}):(?P<number>[0-9]{{1,9}}):(?P<hash>[0-9a-f]{{64}})")


class Command(commands.OperatorCommand):
    """
    ``verify_ledger``: exits with 1 where anything is wrong.

    Prints the hash of each book's last block. Keep it outside the database, and give it to later runs by ``--head``.
    """

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("--book", help="verify this book alone")
        parser.add_argument(
            "--head",
            action="append",
            default=[],
            metavar="BOOK:NUMBER:HASH",
            help="a block that an earlier run printed, which must still be there (may be given several times)",
        )

    def run(self, *, as_of: datetime, **options: Any) -> verification.VerificationReport:
        """One run, of what is there now: ``--as-of`` only dates the report."""
        if options["book"] is not None:
            books.get_book(options["book"])
        return verification.verify_ledger(
            book=options["book"],
            known_heads=[_head(text) for text in options["head"]],
            progress=self.progress,
        )


def _head(text: str) -> verification.ChainHead:
    matched = _HEAD.fullmatch(text)
    if matched is None:
        raise CommandError(f"--head is BOOK:NUMBER:HASH with a hash of 64 hexadecimal digits, not {text!r}")
    return verification.ChainHead(book=matched["book"], number=int(matched["number"]), hash=matched["hash"])
