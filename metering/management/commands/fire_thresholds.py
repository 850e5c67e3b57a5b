"""Look which usage thresholds were reached, and tell of each once a period."""

from datetime import datetime
from typing import Any

from billing_site.kernel import commands
from metering import thresholds


class Command(commands.OperatorCommand):
    """``fire_thresholds``: what beat does after each aggregation."""

    help = __doc__ or ""

    def run(self, *, as_of: datetime, **options: Any) -> thresholds.ThresholdsReport:
        """One run."""
        return thresholds.fire_thresholds(now=as_of)
