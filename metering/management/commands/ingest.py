"""
Take in events from a file, or from standard input with -: NDJSON (one event a line, as POST /v1/events takes them) or
CSV. A file can be taken in again: what was stored before is a duplicate.

CSV columns named like an event's fields need nothing more. For others, say with --map what to make of a row, in
field=template pairs, where {Column} is the row's value and {row} its number. Several --map make several events a row:

  manage.py ingest trace.csv --tenant acme --timezone UTC --backfill
    --map 'event_type=llm.input_tokens quantity={ContextTokens}
           event_timestamp={TIMESTAMP} idempotency_key={row}-input'
    --map 'event_type=llm.output_tokens quantity={GeneratedTokens}
           event_timestamp={TIMESTAMP} idempotency_key={row}-output'
"""

import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError, CommandParser

from billing_site.kernel import commands
from metering import ingestion, schemas
from metering.streams import files, mapping

_BATCH_SIZE: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What became of a file's events; rejected ones lie in the dead letters and wait for a person."""

    accepted: int
    duplicates: int
    rejected: int
    rejected_by_code: dict[str, int]
    needs_person: bool


class Command(commands.OperatorCommand):
    """``ingest FILE|-``."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Keep the help's line breaks."""
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_options(self, parser: CommandParser) -> None:
        """What the file is, and what its events have in common."""
        parser.add_argument("file", help="the file, or - for standard input")
        parser.add_argument("--format", choices=["ndjson", "csv"], help="default: by the file's name, else ndjson")
        parser.add_argument(
            "--map", action="append", default=[], dest="maps", help="one event of each CSV row; see above"
        )
        parser.add_argument("--timezone", type=_time_zone, help="of CSV times without an offset; else refused")
        parser.add_argument("--tenant", dest="tenant_id", help="tenant_id of events that have none")
        parser.add_argument("--source", help="source of events that have none; default: api")
        parser.add_argument("--backfill", action="store_true", help="take in events of any age, back to 2000")

    def run(self, *, as_of: datetime, **options: Any) -> FileReport:
        """The whole file, in batches; each is durable before the next is read."""
        name = options["file"]
        with _opened(name) as stream:
            size = _size_of(name)
            totals: Counter[str] = Counter()
            codes: Counter[str] = Counter()
            for batch in files.batches(_events(stream, name, options), size=_BATCH_SIZE):
                report = ingestion.ingest(events=batch, now=as_of, allow_backfill=options["backfill"])
                totals.update(accepted=report.accepted, duplicates=report.duplicates, rejected=report.rejected)
                codes.update(verdict.code for verdict in report.errors)
                self.progress(stream.tell() if size else totals.total(), size, "bytes" if size else "events")
        return FileReport(
            accepted=totals["accepted"],
            duplicates=totals["duplicates"],
            rejected=totals["rejected"],
            rejected_by_code=dict(codes),
            needs_person=totals["rejected"] > 0,
        )


def _events(stream: IO[bytes], name: str, options: dict[str, Any]) -> Iterator[schemas.EventIn | schemas.Refusal]:
    defaults = files.Defaults(
        tenant_id=options["tenant_id"],
        source=options["source"],
        time_zone=options["timezone"],
    )
    form = options["format"] or ("csv" if name.lower().endswith(".csv") else "ndjson")
    if form == "ndjson":
        if options["maps"]:
            raise CommandError("--map is for CSV; say --format csv")
        return files.read_ndjson(stream, defaults=defaults)
    return files.read_csv(stream, maps=[mapping.parse(text) for text in options["maps"]], defaults=defaults)


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from error


def _size_of(name: str) -> int | None:
    return None if name == "-" else Path(name).stat().st_size or None


def _time_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise CommandError(f"--timezone: {name!r} is no time zone, such as UTC or Europe/Berlin") from error
