"""Bring months of events back from the archive, whole or not at all, and open them for events again."""

from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from metering import archives
from metering.management import months


class Command(commands.OperatorCommand):
    """``replay_events --month YYYY-MM``."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        """Which months."""
        months.add_option(parser, help_text="bring this month back; may be given several times", required=True)

    def run(self, *, as_of: datetime, **options: Any) -> archives.RestoreReport:
        """One run."""
        days = 0

        def tell(day: date) -> None:
            nonlocal days
            days += 1
            self.progress(days, None, f"days, at {day}")

        return archives.restore_events(months=options["months"], on_file=tell)
