"""From the archive back to the database."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from django.db import connection
from psycopg import sql

from metering import errors, hours, models
from metering.lake import layout


def read(file: Path) -> Iterator[Sequence[layout.StoredEvent]]:
    """
    A file's events, some thousand at a time.

    Raises:
        errors.ArchiveDamaged: it is no file of this layout.
    """
    try:
        with pq.ParquetFile(file) as source:
            if not source.schema_arrow.equals(layout.SCHEMA):
                raise errors.ArchiveDamaged(f"{file.name}: its columns are not those of an archive of events")
            for batch in source.iter_batches(batch_size=layout.BATCH_ROWS):
                yield layout.from_batch(batch)
    except pa.ArrowException as error:
        raise errors.ArchiveDamaged(f"{file.name}: {error}") from error


def copy_into(table: str, file: Path) -> int:
    """
    Write a file's events to a table; how many.

    Requires an open transaction.

    Raises:
        errors.ArchiveDamaged: an event's series is another tenant's, or of another type, in this database.
    """
    copied = 0
    checked: set[tuple[int, str, str]] = set()
    statement = sql.SQL(
        "COPY {} (key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, void,"
        " idempotency_key, source, corrects, properties) FROM STDIN"
    ).format(sql.Identifier(table))
    for events in read(file):
        _check_series(events, checked, file)
        with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as copy:
            for event in events:
                copy.write_row(_to_row(event))
        copied += len(events)
    return copied


def _to_row(event: layout.StoredEvent) -> tuple[object, ...]:
    return (
        event.key_hash.hex(),
        hours.EPOCH + timedelta(microseconds=event.event_timestamp),
        event.quantity,
        event.batch_id,
        hours.EPOCH + timedelta(microseconds=event.created_at),
        *event[5:12],
    )


def _check_series(events: Sequence[layout.StoredEvent], checked: set[tuple[int, str, str]], file: Path) -> None:
    """A series is a number of one database: what the file calls it must be what this database calls it."""
    named = {(event.series_id, event.tenant_id or "", event.event_type or "") for event in events if event.tenant_id}
    new = named - checked
    if not new:
        return
    known = models.Series.objects.filter(pk__in={series_id for series_id, _, _ in new})
    strangers = new - set(known.values_list("id", "tenant_id", "event_type"))
    if strangers:
        series_id, tenant_id, event_type = min(strangers)
        raise errors.ArchiveDamaged(
            f"{file.name}: series {series_id} is {event_type!r} of {tenant_id!r} there, but not in this database"
        )
    checked |= new
