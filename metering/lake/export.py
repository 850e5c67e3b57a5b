"""From the database to the archive: a day of events becomes a file, which is read back before anyone relies on it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow.parquet as pq
from django.db import connection, transaction

from metering import errors, hours
from metering.lake import layout, replay, store

_HOURS_A_DAY: Final = 24
_ROW_GROUP: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class ExportedDay:
    """A day's file and what was read back from it."""

    stored: store.StoredObject
    figures: layout.Figures


def export_day(*, day: date) -> ExportedDay | None:
    """
    Write a day's events to the archive and read them back; None where the day has none.

    Idempotency: the same events make the same file. Opens a transaction of its own, which only reads.

    Raises:
        errors.ArchiveUnreachable: it could not be written, or not be read.
        errors.ArchiveDamaged: what was read is not what was written.
    """
    with store.scratch_folder() as folder:
        file = folder / "day.parquet"
        written = _write(day, file)
        if written.event_count == 0:
            return None
        stored = store.put(folder=layout.folder_of_day(day), file=file)
    figures = read_figures(path=stored.path, sha256=stored.sha256)
    if figures != written:
        raise errors.ArchiveDamaged(f"{stored.path}: {figures.event_count} events read, {written.event_count} written")
    return ExportedDay(stored=stored, figures=figures)


def read_figures(*, path: str, sha256: str) -> layout.Figures:
    """
    What a file of the archive comes to, event by event.

    Raises:
        errors.ArchiveUnreachable, errors.ArchiveDamaged: it cannot be read, or is not what was kept.
    """
    figures = layout.Figures()
    with store.fetched(path=path, sha256=sha256) as file:
        for events in replay.read(file):
            figures.add(events)
    return figures


def put_manifest(manifest: layout.Manifest) -> store.StoredObject:
    """
    Keep the list of a month's files beside them.

    Raises:
        errors.ArchiveUnreachable: it could not be written.
    """
    with store.scratch_folder() as folder:
        file = folder / "manifest.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        return store.put(folder=layout.folder_of_month(manifest.month), file=file)


def _write(day: date, file: Path) -> layout.Figures:
    figures = layout.Figures()
    rows = _events(day)
    with pq.ParquetWriter(file, layout.SCHEMA, compression="zstd") as writer:
        while events := list(islice(rows, layout.BATCH_ROWS)):
            figures.add(events)
            writer.write_table(layout.to_table(events), row_group_size=_ROW_GROUP)
    return figures


def _events(day: date) -> Iterator[layout.StoredEvent]:
    """A day's events in one order, whoever asks and when, so that the same events make the same file."""
    first_hour = hours.hour_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
    with (
        transaction.atomic(),
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(_EVENTS, {"first_hour": first_hour, "end_hour": first_hour + _HOURS_A_DAY}) as copy,
    ):
        copy.set_types(_TYPES)
        row: tuple[Any, ...]
        for row in copy.rows():
            yield layout.StoredEvent(*row)


_TYPES: Final = [
    *("bytea", "int8", "int8", "int8", "int8", "int4", "int4", "bool"),
    *("text", "text", "text", "text", "text", "text"),
]
_EVENTS: Final = """
    COPY (
        SELECT
            uuid_send(event.key_hash), (extract(epoch FROM event.event_timestamp) * 1000000)::bigint, event.quantity,
            event.batch_id, (extract(epoch FROM event.created_at) * 1000000)::bigint, event.event_hour, event.series_id,
            event.void, event.idempotency_key, event.source, event.corrects, event.properties::text,
            series.tenant_id::text, series.event_type::text
        FROM metering_event AS event
        LEFT JOIN metering_series AS series ON series.id = event.series_id
        WHERE event.event_hour >= %(first_hour)s AND event.event_hour < %(end_hour)s
        ORDER BY event.event_hour, event.series_id, event.key_hash
    ) TO STDOUT (FORMAT binary)
"""
