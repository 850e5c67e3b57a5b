"""Move the events that lie in the default partition to partitions of their own months."""

from datetime import date, datetime
from typing import Any

from billing_site.kernel import commands
from metering import partitions


class Command(commands.OperatorCommand):
    """``drain_default_partition``: exits with 1 while events are left there."""

    help = __doc__ or ""

    def run(self, *, as_of: datetime, **options: Any) -> partitions.DrainReport:
        """One run."""
        done = 0

        def tell(month: date) -> None:
            nonlocal done
            done += 1
            self.progress(done, None, f"months, at {month:%Y-%m}")

        return partitions.drain_default_partition(on_month=tell)
