"""Make the partitions of months to come, and report events that have none."""

from datetime import datetime
from typing import Any

from billing_site.kernel import commands
from metering import partitions


class Command(commands.OperatorCommand):
    """``maintain_partitions``: exits with 1 while events lie in the default partition."""

    help = __doc__ or ""

    def run(self, *, as_of: datetime, **options: Any) -> partitions.PartitionsReport:
        """One run."""
        return partitions.maintain_partitions(now=as_of)
