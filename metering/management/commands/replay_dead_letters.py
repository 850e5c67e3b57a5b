"""
Take in the events of open dead letters again, oldest first. What fails again stays open with the new reason, and the
command exits with 1.

  manage.py replay_dead_letters --tenant acme --code quota_exceeded
  manage.py replay_dead_letters --code timestamp_too_old --backfill --seen-from 2026-11-01T00:00:00Z
"""

import getpass
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from billing_site.kernel import clock, commands
from metering import models, replays, schemas

_LIMIT: Final = 100_000
_FILTERS: Final = {
    "tenant": "tenant_id",
    "code": "code",
    "source": "source",
    "event_type": "event_type",
    "seen_from": "last_seen_at__gte",
    "seen_to": "last_seen_at__lt",
}


class Command(commands.OperatorCommand):
    """``replay_dead_letters``."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Keep the help's line breaks."""
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_options(self, parser: CommandParser) -> None:
        """Which letters."""
        parser.add_argument("--tenant", help="of this tenant")
        parser.add_argument("--code", choices=[code.value for code in schemas.Code], help="with this latest reason")
        parser.add_argument("--source", help="from this source")
        parser.add_argument("--event-type", help="of this event type")
        parser.add_argument("--seen-from", type=_instant, metavar="TIME", help="last sent at this time or later")
        parser.add_argument("--seen-to", type=_instant, metavar="TIME", help="last sent before this time")
        parser.add_argument("--all", action="store_true", help="all open ones, of all tenants")
        parser.add_argument("--limit", type=int, default=_LIMIT, help=f"at most so many; default {_LIMIT:,}")
        parser.add_argument("--backfill", action="store_true", help="take in events of any age, back to 2000")
        parser.add_argument("--by", default=None, help="who does it, for the trail; default: the login name")

    def run(self, *, as_of: datetime, **options: Any) -> replays.ReplayReport:
        """One run."""
        chosen = Q(**{field: options[name] for name, field in _FILTERS.items() if options[name] is not None})
        if not chosen and not options["all"]:
            raise CommandError("say which dead letters, such as --tenant acme or --code quota_exceeded, or --all")
        if options["limit"] < 1:
            raise CommandError("--limit must be 1 or more")
        return replays.replay_many(
            chosen=models.DeadLetter.objects.filter(chosen),
            actor=f"command:{options['by'] or _login()}"[:200],
            now=as_of,
            limit=options["limit"],
            allow_backfill=options["backfill"],
            progress=lambda done, total: self.progress(done, total, "dead letters"),
        )


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"  # a container's user may have no name


def _instant(text: str) -> datetime:
    try:
        return clock.parse_instant(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
