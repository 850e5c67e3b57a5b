"""``manage.py accrue_usage``."""

from datetime import date, datetime
from typing import Any

from django.core.management.base import CommandParser

from billing_site.kernel.commands import OperatorCommand
from invoicing import accruals


class Command(OperatorCommand):
    """Accrue the usage that was not billed when a day ended; reversed on the next day."""

    help = "Accrue the usage that was not billed when a day of the books ended, in all books; reversed on the next day."

    def add_options(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--day",
            type=date.fromisoformat,
            help="the day to accrue, such as 2026-11-30; default: the latest month's last",
        )

    def run(self, *, as_of: datetime, **options: Any) -> accruals.AccrualReport:
        day = options["day"] or accruals.last_day_of_month_before(as_of)
        return accruals.accrue_usage(day=day, now=as_of)
