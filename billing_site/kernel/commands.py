"""
Operators' commands: the same calls that beat makes.

Each takes ``--as-of`` (RFC 3339, default now), prints one JSON line with ``--json``, shows progress on a terminal, is
safe to run twice and beside itself, and exits non-zero when something needs a person.
"""

import dataclasses
import json
import sys
from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site.kernel import clock, errors


class OperatorCommand(BaseCommand):
    """
    Base of all: implement ``run`` and, for options of its own, ``add_options``.

    ``run`` answers a dataclass, whose fields are the JSON line; where it has ``needs_person`` and that is true, the
    command exits with 1 after printing.
    """

    requires_system_checks = []

    def add_options(self, parser: CommandParser) -> None:
        """Options beyond ``--as-of`` and ``--json``."""

    def run(self, *, as_of: datetime, **options: Any) -> Any:
        """Make the one call; answer its report."""
        raise NotImplementedError

    def add_arguments(self, parser: CommandParser) -> None:
        """The options that all commands share, then the command's own."""
        parser.add_argument("--as-of", type=_instant, metavar="TIME", help="act as of this RFC 3339 time; default now")
        parser.add_argument("--json", action="store_true", help="print one JSON line of what was done")
        self.add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run, report, exit."""
        as_of = options.pop("as_of") or clock.now()
        self.as_json = bool(options.pop("json"))
        django_options = ("verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks")
        own = {name: value for name, value in options.items() if name not in django_options}
        try:
            report = self.run(as_of=as_of, **own)
        except errors.DomainError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error
        finally:
            self._end_progress()
        figures = {"as_of": as_of, **dataclasses.asdict(report)}
        self.write_report(figures)
        if figures.get("needs_person"):
            raise SystemExit(1)

    def write_report(self, figures: dict[str, Any]) -> None:
        """Say what was done: one JSON line, or one for people."""
        self.stdout.write(json.dumps(figures, default=_plain) if self.as_json else _readable(figures))

    def progress(self, done: int, total: int | None, what: str) -> None:
        """Show how far the work is, on a terminal only."""
        if sys.stderr.isatty():
            share = f"{done:,} of {total:,}" if total is not None else f"{done:,}"
            self.stderr.write(f"\r{share} {what}\x1b[K", ending="")
            self._shown = True

    as_json = False
    _shown = False

    def _end_progress(self) -> None:
        if self._shown:
            self.stderr.write("")
            self._shown = False


def _instant(text: str) -> datetime:
    try:
        return clock.parse_instant(text)
    except ValueError as error:
        # As an error of the argument, a shell sees usage and this line; a CommandError here would show a traceback.
        raise ArgumentTypeError(str(error)) from error


def _plain(value: Any) -> Any:
    return clock.format_instant(value) if isinstance(value, datetime) else str(value)


def _readable(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')}: {_plain(value) if isinstance(value, datetime) else value}"
        for name, value in figures.items()
    )
