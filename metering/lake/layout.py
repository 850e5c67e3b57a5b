"""What a file of the archive holds, and the figures by which it is compared with the database."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from metering import hours

BATCH_ROWS: Final = 20_000  # at a time in memory
VERSION: Final = 1

_INSTANT: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        pa.field("key_hash", pa.binary(16), nullable=False),
        pa.field("event_timestamp", _INSTANT, nullable=False),
        pa.field("quantity", pa.int64(), nullable=False),
        pa.field("batch_id", pa.int64(), nullable=False),
        pa.field("created_at", _INSTANT, nullable=False),
        pa.field("event_hour", pa.int32(), nullable=False),
        pa.field("series_id", pa.int32(), nullable=False),
        pa.field("void", pa.bool_(), nullable=False),
        pa.field("idempotency_key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("corrects", pa.string()),
        pa.field("properties", pa.string(), nullable=False),
        # What the series stands for, so that a file can be read without the database.
        pa.field("tenant_id", pa.string()),
        pa.field("event_type", pa.string()),
    ],
    metadata={"events": str(VERSION)},
)


class StoredEvent(NamedTuple):
    """One event as the database and a file hold it; times are microseconds from 1970."""

    key_hash: bytes
    event_timestamp: int
    quantity: int
    batch_id: int
    created_at: int
    event_hour: int
    series_id: int
    void: bool
    idempotency_key: str
    source: str
    corrects: str | None
    properties: str
    tenant_id: str | None
    event_type: str | None


@dataclass(kw_only=True)
class Figures:
    """
    What a set of events comes to: how many, how much, a digest that does not depend on their order, the last arrival.

    The database computes the same of a month (``metering_event_figures``).
    """

    event_count: int = 0
    quantity: int = 0
    digest: int = 0
    last_arrival: int = field(default=0)

    def add(self, events: Iterable[StoredEvent]) -> None:
        """Count these events in."""
        for event in events:
            self.event_count += 1
            self.quantity += event.quantity
            self.digest += hash_event(event)
            self.last_arrival = max(self.last_arrival, event.created_at)

    @property
    def last_arrival_at(self) -> datetime:
        """The last arrival as a moment."""
        return hours.EPOCH + timedelta(microseconds=self.last_arrival)


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True):
    """One day's file, as the manifest lists it. Quantity and digest may exceed 64 bits, and are text."""

    day: date
    path: str
    sha256: str
    size_bytes: int
    event_count: int
    quantity: str
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All files of a month: what is needed to find and check them without the database."""

    version: int
    month: date
    event_count: int
    quantity: str
    digest: str
    files: list[ManifestFile]


def hash_event(event: StoredEvent) -> int:
    """64 bits of an event's SHA-256, signed, over every column that the database stores."""
    name = event.key_hash.hex()
    text = "\x1f".join(
        (
            f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}",
            f"{event.event_timestamp}\x1f{event.quantity}\x1f{event.batch_id}\x1f{event.created_at}",
            f"{event.event_hour}\x1f{event.series_id}\x1f{event.void:d}",
            event.idempotency_key,
            event.source,
            "\x1e" if event.corrects is None else event.corrects,
            event.properties,
        )
    )
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def to_table(events: Sequence[StoredEvent]) -> Any:
    """These events as a pyarrow table."""
    columns = list(zip(*events, strict=True))
    arrays = [
        pa.array(column, pa.int64()).cast(kind.type) if kind.type == _INSTANT else pa.array(column, kind.type)
        for column, kind in zip(columns, SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def from_batch(batch: Any) -> list[StoredEvent]:
    """The events of a pyarrow record batch."""
    columns = [
        (column.cast(pa.int64()) if kind.type == _INSTANT else column).to_pylist()
        for column, kind in zip(batch.columns, SCHEMA, strict=True)
    ]
    return [StoredEvent(*row) for row in zip(*columns, strict=True)]


def folder_of_month(month: date) -> str:
    """Where a month's files lie; tools that know Hive's partitions read the month from it."""
    return f"events/month={month:%Y-%m}"


def folder_of_day(day: date) -> str:
    """Where a day's file lies."""
    return f"{folder_of_month(day)}/day={day:%Y-%m-%d}"
