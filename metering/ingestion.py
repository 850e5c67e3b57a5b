"""
Taking events in: each one once per tenant and idempotency key, whatever its time, whoever else sends it.

Events are judged first, without the database, then a batch is stored in one transaction: the keys that are new, their
events, the windows these touch, and the dead letters of what was refused. A key and its event live or die together.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction

from metering import dead_letters, partitions, rules, schemas, series

SHARDS: Final = 1  # of series, for aggregation; to change it, first aggregate until nothing is left

_COPY_SPECIAL: Final = re.compile(r"[\\\n\r\t]")
_COPY_ESCAPES: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why the event at ``index`` was not taken, and where it is kept."""

    index: int
    code: str
    detail: str
    dead_letter_id: str


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """What became of a batch: accepted, duplicates and rejected add up to its events."""

    accepted: int
    duplicates: int
    rejected: int
    errors: Sequence[Verdict]


def ingest(
    *,
    events: Sequence[schemas.EventIn | schemas.Refusal],
    now: datetime,
    allow_backfill: bool = False,
    only_tenant_id: str | None = None,
    payload_of: Callable[[int], bytes] | None = None,
) -> IngestReport:
    """
    Store a batch of events, each at most once.

    ``allow_backfill`` lifts the age limit (90 days) back to 2000. ``only_tenant_id`` refuses other tenants' events.
    ``payload_of`` answers an event's text as sent, for its dead letter.

    Idempotency: a key of a tenant counts once. The same type, quantity, properties and time as sent again is a
    duplicate; anything else under the key is refused as ``idempotency_conflict``, and the stored event stands.
    Locks: new series, then new keys, then dead letters, each in order, so that writers do not deadlock. Opens its own
    transaction, or joins the caller's.
    """
    judged = rules.judge(events, now=now, allow_backfill=allow_backfill, only_tenant_id=only_tenant_id)
    with transaction.atomic():
        accepted = _store(judged, now) if judged.ready else 0
        errors = _bury(judged.refused, events, payload_of, only_tenant_id, now) if judged.refused else []
    return IngestReport(accepted=accepted, duplicates=judged.duplicates, rejected=len(errors), errors=errors)


def _store(judged: rules.Judged, now: datetime) -> int:
    """Write what is new and drop the rest from ``ready``; the number of events written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT batch_id, started_at, database_id FROM metering_open_batch()")
        batch_id, started_at, database_id = cursor.fetchone()
    partitions.ensure(event_hours={event.hour for event in judged.ready.values()}, database_id=database_id)
    series_ids = series.resolve(
        pairs={event.pair for event in judged.ready.values()},
        database_id=database_id,
        now=now,
    )
    ready = dict(sorted(judged.ready.items()))
    if _claim_keys(ready, series_ids, batch_id, now) < len(ready):
        ready = _drop_known(judged, ready, batch_id)
    if ready:
        _copy_events(ready, series_ids, batch_id, now)
        _append_touched(ready, series_ids, batch_id, started_at)
    return len(ready)


def _claim_keys(
    ready: dict[str, rules.Ready], series_ids: dict[tuple[str, str], int], batch_id: int, now: datetime
) -> int:
    """Insert the keys that are new. Array literals by hand: psycopg's own dump of lists costs as much as the insert."""
    events = ready.values()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_event_key (key_hash, payload_hash, batch_id, created_at, series_id, event_hour)
            SELECT key_hash, payload_hash, %s, %s, series_id, event_hour
            FROM unnest(%s::uuid[], %s::bigint[], %s::int[], %s::int[])
                AS new(key_hash, payload_hash, series_id, event_hour)
            ON CONFLICT (key_hash) DO NOTHING
            """,
            [
                batch_id,
                now,
                _array(ready),
                _array(event.payload_hash for event in events),
                _array(series_ids[event.pair] for event in events),
                _array(event.hour for event in events),
            ],
        )
        return int(cursor.rowcount)


def _drop_known(judged: rules.Judged, ready: dict[str, rules.Ready], batch_id: int) -> dict[str, rules.Ready]:
    """
    Tell duplicates from conflicts among the keys that were there before.

    A statement of its own: the one that inserts does not see a key that another writer committed while it ran.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT replace(key_hash::text, '-', ''), payload_hash FROM metering_event_key
            WHERE key_hash = ANY(%s::uuid[]) AND batch_id <> %s
            """,
            [_array(ready), batch_id],
        )
        known = dict(cursor.fetchall())
    for key_hash, payload_hash in known.items():
        event = ready[key_hash]
        is_same = event.payload_hash == payload_hash
        rules.settle_repeat(judged, event.position, event.idempotency_key, is_same=is_same)
    return {key_hash: event for key_hash, event in ready.items() if key_hash not in known}


def _copy_events(
    ready: dict[str, rules.Ready],
    series_ids: dict[tuple[str, str], int],
    batch_id: int,
    now: datetime,
) -> None:
    created_at = now.isoformat()
    lines = [
        f"{key_hash}\t{event.timestamp}\t{event.quantity}\t{batch_id}\t{created_at}\t{event.hour}\t"
        f"{series_ids[event.pair]}\tf\t{_copied(event.idempotency_key)}\t{_copied(event.source)}\t\\N\t"
        f"{event.properties.replace(chr(92), chr(92) * 2)}\n"
        for key_hash, event in ready.items()
    ]
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY metering_event (key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, "
            "void, idempotency_key, source, corrects, properties) FROM STDIN",
        ) as copy,
    ):
        copy.write("".join(lines).encode())


def _append_touched(
    ready: dict[str, rules.Ready],
    series_ids: dict[tuple[str, str], int],
    batch_id: int,
    started_at: datetime,
) -> None:
    touched = sorted({(series_ids[event.pair], event.hour) for event in ready.values()})
    with connection.cursor() as cursor:
        for shard in sorted({series_id % SHARDS for series_id, _ in touched}):
            windows = [(series_id, hour) for series_id, hour in touched if series_id % SHARDS == shard]
            cursor.execute(
                """
                INSERT INTO metering_touched_window (batch_id, shard, started_at, series_ids, hours)
                VALUES (%s, %s, %s, %s::int[], %s::int[])
                """,
                [batch_id, shard, started_at, _array(s for s, _ in windows), _array(h for _, h in windows)],
            )


def _bury(
    refused: list[rules.Refused],
    events: Sequence[schemas.EventIn | schemas.Refusal],
    payload_of: Callable[[int], bytes] | None,
    only_tenant_id: str | None,
    now: datetime,
) -> list[Verdict]:
    refused.sort()
    letters = [_letter(refusal, events[refusal.position], payload_of, only_tenant_id) for refusal in refused]
    letter_ids = dead_letters.keep(letters=letters, now=now)
    return [
        Verdict(index=refusal.position, code=str(refusal.code), detail=refusal.detail, dead_letter_id=letter_id)
        for refusal, letter_id in zip(refused, letter_ids, strict=True)
    ]


def _letter(
    refusal: rules.Refused,
    event: schemas.EventIn | schemas.Refusal,
    payload_of: Callable[[int], bytes] | None,
    only_tenant_id: str | None,
) -> dead_letters.NewDeadLetter:
    if isinstance(event, schemas.Refusal):
        tenant_id, payload, source = event.tenant_id, event.payload, ""
    else:
        tenant_id = event.tenant_id if schemas.is_tenant_id(event.tenant_id) else ""
        payload = payload_of(refusal.position) if payload_of else schemas.encode_event(event)
        source = event.source
    # A key that is bound to a tenant sees its own dead letters, and puts none among another tenant's.
    shown_to = only_tenant_id if only_tenant_id is not None else tenant_id
    return dead_letters.NewDeadLetter(
        tenant_id=shown_to,
        payload=payload,
        code=str(refusal.code),
        detail=refusal.detail,
        source=source,
    )


def _array(values: Iterable[object]) -> str:
    return f"{{{','.join(map(str, values))}}}"


def _copied(text: str) -> str:
    if _COPY_SPECIAL.search(text) is None:
        return text
    return _COPY_SPECIAL.sub(lambda special: _COPY_ESCAPES[special.group()], text)
