"""
The answer to "our numbers are wrong": what came of a tenant's usage, stage by stage and hour by hour, and what stands
out, in words. Reads only. Exits with 1 when something was found that does not mend itself.

  manage.py investigate_usage acme-corp --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --meter api_call

accepted + duplicates + conflicts + dead letters is what was sent for an hour; of the accepted, those that an invoice
counted are billed, and those that came after it was finalized are late.
"""

import json
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandParser

from billing_site.kernel import clock, commands
from metering import findings, hours, investigation, stages

_WIDTH: Final = 12
_TYPE_WIDTH: Final = 24
_OPENING: Final = '{"hours": ['


class Command(commands.OperatorCommand):
    """``investigate_usage TENANT --from --to``."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Keep the help's line breaks."""
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_options(self, parser: CommandParser) -> None:
        """Whose usage, and of which time."""
        parser.add_argument("tenant_id", metavar="TENANT", help="whose usage")
        parser.add_argument(
            "--from", type=_instant, required=True, dest="period_from", metavar="TIME", help="from here"
        )
        parser.add_argument(
            "--to", type=_instant, required=True, dest="period_to", metavar="TIME", help="to before here"
        )
        parser.add_argument("--meter", help="only events that this meter counts, or of this event type")

    def run(self, *, as_of: datetime, **options: Any) -> investigation.Investigation:
        """One look; each hour is written as soon as it is read, so that a long period needs no more memory."""
        self._hours = 0
        return investigation.investigate(
            tenant_id=options["tenant_id"],
            period_from=options["period_from"],
            period_to=options["period_to"],
            meter=options["meter"],
            now=as_of,
            on_hour=self._write_hour,
        )

    def _write_hour(self, row: findings.HourRow) -> None:
        figures = {name: getattr(row, name) for name in stages.STAGES}
        moment = clock.format_instant(hours.start_of(row.hour))
        if self.as_json:
            members = {"hour": moment, "event_type": row.event_type, **figures}
            members |= {"accepted_quantity": row.accepted_quantity, "summarised_quantity": row.summarised_quantity}
            self.stdout.write(f"{', ' if self._hours else _OPENING}{json.dumps(members)}", ending="")
        else:
            if not self._hours:
                names = "".join(name.replace("_", " ").rjust(_WIDTH + 1) for name in stages.STAGES)
                self.stdout.write(f"{'hour':<21}{'event type':<{_TYPE_WIDTH}}{names}")
            cells = "".join(f" {figure:>{_WIDTH},}" for figure in figures.values())
            self.stdout.write(f"{moment:<21}{row.event_type or '?':<{_TYPE_WIDTH}}{cells}")
        self._hours += 1

    def write_report(self, figures: dict[str, Any]) -> None:
        """The totals and the findings, after the hours."""
        if self.as_json:
            rest = json.dumps(figures, default=_plain)
            self.stdout.write(f"{'' if self._hours else _OPENING}], {rest[1:]}")
            return
        cells = "".join(f" {figure:>{_WIDTH},}" for figure in figures["stages"].values())
        self.stdout.write(f"{'in all':<21}{figures['tenant_id']:<{_TYPE_WIDTH}}{cells}")
        self.stdout.write(f"Counted up to {_plain(figures['fresh_as_of'])}.")
        for finding in figures["findings"]:
            self.stdout.write(f"{'!' if finding['needs_person'] else '-'} {finding['detail']}")
        if figures["unlisted_findings"]:
            self.stdout.write(f"- and {figures['unlisted_findings']:,} more of these kinds")
        if not figures["findings"]:
            self.stdout.write("- nothing stands out")


def _plain(value: Any) -> str:
    return clock.format_instant(value) if isinstance(value, datetime) else str(value)


def _instant(text: str) -> datetime:
    try:
        return clock.parse_instant(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
