"""Bring months of events back from the archive, whole or not at all, and open them for events again."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from metering import restoration
from metering.management import months


@dataclass(frozen=True, kw_only=True)
class Report:
    """The months that are open again, events brought back, windows that will be recomputed."""

    restored: list[str]
    events: int
    windows_touched: int


class Command(commands.OperatorCommand):
    """``replay_events --month YYYY-MM``."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        """Which months, and whether they are summarised anew."""
        months.add_option(parser, help_text="bring this month back; may be given several times", required=True)
        parser.add_argument(
            "--recompute", action="store_true", help="and have their usage summarised anew, as for a new meter"
        )

    def run(self, *, as_of: datetime, **options: Any) -> Report:
        """One run."""
        days = 0

        def tell(day: date) -> None:
            nonlocal days
            days += 1
            self.progress(days, None, f"days, at {day}")

        report = restoration.restore_events(months=options["months"], on_file=tell)
        windows = restoration.touch_events(months=options["months"]) if options["recompute"] else 0
        return Report(restored=report.restored, events=report.events, windows_touched=windows)
