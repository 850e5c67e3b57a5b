"""Recompute the usage summaries of all touched windows."""

from datetime import datetime
from typing import Any

from billing_site.kernel import commands
from metering import aggregation


class Command(commands.OperatorCommand):
    """``aggregate_usage``: what beat does every minute, until nothing is left."""

    help = __doc__ or ""

    def run(self, *, as_of: datetime, **options: Any) -> aggregation.AggregationReport:
        """One run."""
        return aggregation.aggregate_usage(now=as_of)
