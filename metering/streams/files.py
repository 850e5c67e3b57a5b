"""Events from files: NDJSON, one event a line, or CSV by a mapping of its columns."""

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from metering import errors, schemas
from metering.streams import mapping

_ENCODING: Final = "utf-8-sig"  # UTF-8, and the mark that spreadsheets put in front


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What events of a file have where the file does not say. ``time_zone`` is that of times without an offset."""

    tenant_id: str | None
    source: str | None
    time_zone: ZoneInfo | None

    def complete(self, members: dict[str, Any]) -> dict[str, Any]:
        """The event's members with what was left out."""
        if self.tenant_id is not None:
            members.setdefault("tenant_id", self.tenant_id)
        if self.source is not None:
            members.setdefault("source", self.source)
        return members


def read_ndjson(stream: IO[bytes], *, defaults: Defaults) -> Iterator[schemas.EventIn | schemas.Refusal]:
    """One event a line; empty lines are passed over, a line that is no event is answered as refused."""
    while line := stream.readline(schemas.MAX_BODY_BYTES + 1):
        if len(line) > schemas.MAX_BODY_BYTES:
            yield _too_long(line, stream)
        elif text := line.strip():
            yield _event_of_line(text, defaults)


def read_csv(
    stream: IO[bytes],
    *,
    maps: Sequence[mapping.Map],
    defaults: Defaults,
) -> Iterator[schemas.EventIn | schemas.Refusal]:
    """
    The events of each row, one for each map; without maps, one whose fields are the columns of their names.

    Raises:
        errors.UnreadableFile: the file has no header, or is no CSV.
        errors.InvalidMapping: a map names a column that the file does not have.
    """
    text = io.TextIOWrapper(stream, encoding=_ENCODING, errors="surrogateescape", newline="")
    rows = csv.reader(text)
    try:
        columns = next(rows, None)
        if not columns:
            raise errors.UnreadableFile("the file is empty; its first line must name the columns")
        chosen = list(maps) or [mapping.by_name(columns)]
        mapping.require_columns(chosen, columns)
        for number, values in enumerate((row for row in rows if row), start=1):
            if len(values) != len(columns):
                yield _wrong_width(number, values, columns)
                continue
            row = {**dict(zip(columns, values, strict=True)), mapping.ROW_NUMBER: str(number)}
            for one in chosen:
                yield schemas.convert_event(defaults.complete(one.event_of(row, time_zone=defaults.time_zone)))
    except csv.Error as error:
        raise errors.UnreadableFile(f"line {rows.line_num}: {error}") from error
    finally:
        text.detach()  # the stream is the caller's to close


def batches(
    events: Iterable[schemas.EventIn | schemas.Refusal],
    *,
    size: int,
) -> Iterator[list[schemas.EventIn | schemas.Refusal]]:
    """The events in lists of ``size``."""
    remaining = iter(events)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _event_of_line(text: bytes, defaults: Defaults) -> schemas.EventIn | schemas.Refusal:
    if defaults.tenant_id is None and defaults.source is None:
        return schemas.decode_event(text)
    try:
        members = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = None
    if not isinstance(members, dict):
        return schemas.decode_event(text)  # says what is wrong
    return schemas.convert_event(defaults.complete(members))


def _too_long(start: bytes, stream: IO[bytes]) -> schemas.Refusal:
    """Refuse a line without ever holding all of it."""
    piece = start
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(schemas.MAX_BODY_BYTES)
    detail = f"the line has over {schemas.MAX_BODY_BYTES:,} bytes"
    return schemas.Refusal(code=schemas.Code.EVENT_TOO_LARGE, detail=detail, tenant_id="", payload=start)


def _wrong_width(number: int, values: list[str], columns: list[str]) -> schemas.Refusal:
    return schemas.Refusal(
        code=schemas.Code.WRONG_COLUMN_COUNT,
        detail=f"row {number} has {len(values)} values for {len(columns)} columns",
        tenant_id="",
        payload=",".join(values).encode("utf-8", "replace"),
    )
