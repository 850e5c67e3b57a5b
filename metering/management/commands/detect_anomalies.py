"""Find days and hours whose usage stands out from the 30 days before."""

from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from metering import anomalies

_MAX_DAYS: Final = 31


class Command(commands.OperatorCommand):
    """``detect_anomalies``: what beat does every night, for the last days that are whole."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=_days, default=2, help="how many of the last whole UTC days; default 2")

    def run(self, *, as_of: datetime, **options: Any) -> anomalies.AnomaliesReport:
        """One run."""
        return anomalies.detect_anomalies(
            now=as_of,
            days=options["days"],
            progress=lambda done, total: self.progress(done, total, "series"),
        )


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_DAYS:
        raise ArgumentTypeError(f"must be 1 to {_MAX_DAYS}, not {text!r}")
    return int(text)
