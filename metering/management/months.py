"""The option of commands that name months of events."""

from argparse import ArgumentTypeError
from datetime import date

from django.core.management.base import CommandParser


def add_option(parser: CommandParser, *, help_text: str, required: bool = False) -> None:
    """``--month 2026-01``, any number of times."""
    parser.add_argument(
        "--month",
        action="append",
        default=[],
        dest="months",
        type=_month,
        metavar="YYYY-MM",
        required=required,
        help=help_text,
    )


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no month, such as 2026-01") from error
