"""Recompute the usage summaries of all touched windows."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from metering import aggregation, quarantine, slices


class Command(commands.OperatorCommand):
    """``aggregate_usage``: what beat does every minute."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        """Windows that were set aside wait for their time unless told otherwise."""
        parser.add_argument(
            "--retry-quarantined", action="store_true", help="first try all windows again that were set aside"
        )

    def run(self, *, as_of: datetime, **options: Any) -> slices.AggregationReport:
        """One run."""
        if options["retry_quarantined"]:
            quarantine.release(now=as_of)
        return aggregation.aggregate_usage(now=as_of, progress=self.progress)
