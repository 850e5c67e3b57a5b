"""
Archive the months of events that are past the retention (90 days), and drop them from the database once their archive
was read back and found equal. Needs ARCHIVE_URL. Also forgets the idempotency keys of months dropped long ago.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel import commands
from metering import archives, retention
from metering.management import months


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was archived and dropped, what waits, what failed; keys that were forgotten, and days of keys left."""

    archived: list[str]
    dropped: list[str]
    waiting: dict[str, str]
    failed: dict[str, str]
    events: int
    keys_expired: int
    key_days_left: int
    needs_person: bool


class Command(commands.OperatorCommand):
    """``archive_events``: exits with 1 where a month could not be archived."""

    help = __doc__ or ""

    def add_options(self, parser: CommandParser) -> None:
        """Which months, and whether they are dropped."""
        months.add_option(parser, help_text="archive this month, though it is not due; may be given several times")
        parser.add_argument("--keep", action="store_true", help="archive, but drop nothing")

    def run(self, *, as_of: datetime, **options: Any) -> Report:
        """One run."""
        days = 0

        def tell(day: date) -> None:
            nonlocal days
            days += 1
            self.progress(days, None, f"days, at {day}")

        report = archives.archive_events(
            now=as_of, months=options["months"], drops=() if options["keep"] else None, on_day=tell
        )
        expired = retention.expire_keys(
            now=as_of, on_day=lambda done, total: self.progress(done, total, "days of keys")
        )
        return Report(
            archived=report.archived,
            dropped=report.dropped,
            waiting=report.waiting,
            failed=report.failed,
            events=report.events,
            keys_expired=expired.keys,
            key_days_left=expired.days_left,
            needs_person=report.needs_person,
        )
