"""
Taking events in: each one once per tenant and idempotency key, whatever its time, whoever else sends it.

Events are judged first, without the database, then a batch is stored in one transaction: the keys that are new, their
events, the windows these touch, and the dead letters of what was refused. A key and its event live or die together.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from django.db import IntegrityError, connection, transaction

from billing_site.kernel import database
from metering import archives, corrections, dead_letters, partitions, rules, schemas, series

SHARDS: Final = 1  # of series, for aggregation; to change it, first aggregate until nothing is left

_COPY_SPECIAL: Final = re.compile(r"[\\\n\r\t]")
_COPIED_NONE: Final = "f\t\\N"  # the columns void and corrects of an event that corrects nothing
_BACKSLASH: Final = "\\"
_TWO_BACKSLASHES: Final = "\\\\"
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


class _Batch(NamedTuple):
    """
    The transaction of one batch, as the database opened it.

    ``oldest_xid`` is the oldest transaction that it could not see to its end; ``has_pending``: a correction waits for
    its original.
    """

    id: int
    started_at: datetime
    database_id: int
    oldest_xid: int
    has_pending: bool


def ingest(
    *,
    events: Sequence[schemas.EventIn | schemas.Refusal],
    now: datetime,
    allow_backfill: bool = False,
    only_tenant_id: str | None = None,
    payload_of: Callable[[int], bytes] | None = None,
    refused_pairs: Mapping[tuple[str, str], str] = MappingProxyType({}),
    arrivals: Mapping[int, datetime] = MappingProxyType({}),
) -> IngestReport:
    """
    Store a batch of events, each at most once.

    ``allow_backfill`` lifts the age limit (90 days) back to 2000. ``only_tenant_id`` refuses other tenants' events.
    ``payload_of`` answers an event's text as sent, for its dead letter. ``refused_pairs`` are the tenants and event
    types whose quota is used up: what is new of them is refused, what is stored already is a duplicate as ever.
    ``arrivals`` tells, by position, when events arrived that are taken in later: it is their time where they have none.

    Idempotency: a key of a tenant counts once. The same type, quantity, properties, correction and time as sent again
    is a duplicate; anything else under the key is refused as ``idempotency_conflict``, and the stored event stands.
    Locks: new series, then new keys, then dead letters, each in order, so that writers do not deadlock. Opens its own
    transaction, or joins the caller's.
    """
    while True:
        archived_months = archives.dropped_months()
        judged = rules.judge(
            events,
            now=now,
            allow_backfill=allow_backfill,
            only_tenant_id=only_tenant_id,
            refused_pairs=refused_pairs,
            archived_months=archived_months,
            arrivals=arrivals,
        )
        # Before the batch's own transaction, so that the locks of a new month are not held as long as that.
        partitions.ensure(event_hours={event.hour for event in judged.ready.values()})
        try:
            with transaction.atomic():
                accepted = _store(judged, now) if judged.ready or judged.held else 0
                errors = _bury(judged.refused, events, payload_of, only_tenant_id, now) if judged.refused else []
        except IntegrityError as error:
            if database.raised_constraint(error) != archives.SEALED:
                raise
            # A month was sealed since we learned which are.
            archives.forget_dropped_months()
            if archives.dropped_months() == archived_months:
                raise
        else:
            return IngestReport(accepted=accepted, duplicates=judged.duplicates, rejected=len(errors), errors=errors)


def _store(judged: rules.Judged, now: datetime) -> int:
    """Write what is new, and drop the rest from ``ready``; the number of events written."""
    batch = _open_batch()
    if judged.held:
        _settle_held(judged)
    originals: Mapping[str, corrections.KnownKey] = {}
    if judged.corrections:
        # Read anew, and held: what is stored in a month that was dropped meanwhile would be corrected for nothing.
        originals = corrections.refuse_faulty(judged, archived_months=archives.hold_months())
    if judged.ready:
        _store_new(judged, originals, batch, now)
    judged.settle_later()
    if judged.repeats:
        _record_repeats(judged, batch, now)
    return len(judged.ready)


def _open_batch() -> _Batch:
    with connection.cursor() as cursor:
        cursor.execute("SELECT batch_id, started_at, database_id, oldest_xid, has_pending FROM metering_open_batch()")
        return _Batch(*cursor.fetchone())


def _store_new(
    judged: rules.Judged, originals: Mapping[str, corrections.KnownKey], batch: _Batch, now: datetime
) -> None:
    series_ids = series.resolve(
        pairs={event.pair for event in judged.ready.values()},
        database_id=batch.database_id,
        now=now,
    )
    judged.ready = dict(sorted(judged.ready.items()))
    if _claim_keys(judged.ready, series_ids, batch.id, now) < len(judged.ready):
        _drop_known(judged, batch.id)
    if not judged.ready:
        return
    _copy_events(judged.ready, series_ids, batch.id, now)
    windows = {(series_ids[event.pair], event.hour) for event in judged.ready.values()}
    if judged.corrections:
        windows |= _keep_corrections(judged, originals, series_ids, batch, now)
    if batch.has_pending:
        corrections.link_waiting(key_hashes=judged.ready)
    _append_touched(windows, batch)


def _settle_held(judged: rules.Judged) -> None:
    """What is stored already is a repeat, whatever the rules say of new events; the rest is refused."""
    stored = _find_payload_hashes(judged.held)
    for key_hash, (event, refusal) in judged.held.items():
        if key_hash in stored:
            judged.settle_repeat(key_hash, event, stored=stored[key_hash])
        else:
            judged.refuse(key_hash, event, refusal.code, refusal.detail)


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


def _drop_known(judged: rules.Judged, batch_id: int) -> None:
    """
    Tell duplicates from conflicts among the keys that were there before.

    A statement of its own: the one that inserts does not see a key that another writer committed while it ran.
    """
    for key_hash, payload_hash in _find_payload_hashes(judged.ready, but_of_batch=batch_id).items():
        judged.settle_repeat(key_hash, judged.ready[key_hash], stored=payload_hash)


def _find_payload_hashes(key_hashes: Iterable[str], *, but_of_batch: int = 0) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT replace(key_hash::text, '-', ''), payload_hash FROM metering_event_key
            WHERE key_hash = ANY(%s::uuid[]) AND batch_id <> %s
            """,
            [_array(key_hashes), but_of_batch],
        )
        return dict(cursor.fetchall())


def _copy_events(
    ready: dict[str, rules.Ready],
    series_ids: dict[tuple[str, str], int],
    batch_id: int,
    now: datetime,
) -> None:
    batch = f"{batch_id}\t{now.isoformat()}"
    lines = [
        f"{key_hash}\t{event.timestamp}\t{event.quantity}\t{batch}\t{event.hour}\t{series_ids[event.pair]}\t"
        f"{_copied_correction(event.correction) if event.correction else _COPIED_NONE}\t"
        f"{_copied(event.idempotency_key)}\t{_copied(event.source)}\t"
        f"{event.properties.replace(_BACKSLASH, _TWO_BACKSLASHES)}\n"
        for key_hash, event in ready.items()
    ]
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY metering_event (key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, "
            "void, corrects, idempotency_key, source, properties) FROM STDIN",
        ) as copy,
    ):
        copy.write("".join(lines).encode())


def _keep_corrections(
    judged: rules.Judged,
    originals: Mapping[str, corrections.KnownKey],
    series_ids: dict[tuple[str, str], int],
    batch: _Batch,
    now: datetime,
) -> set[tuple[int, int]]:
    """Link what this batch corrects to its originals where they are known; the originals' windows."""
    new = []
    for key_hash in judged.corrections:
        event = judged.ready.get(key_hash)
        if event is None or event.correction is None:
            continue
        original: corrections.Window | None = None
        if stored := originals.get(event.correction.key_hash):
            original = corrections.Window(stored.series_id, stored.hour)
        elif beside := judged.ready.get(event.correction.key_hash):  # of the same batch
            original = corrections.Window(series_ids[beside.pair], beside.hour)
        new.append(corrections.NewCorrection(key_hash, event, event.correction, series_ids[event.pair], original))
    if new:
        corrections.keep(corrections=new, batch_id=batch.id, now=now)
    return {(one.original.series_id, one.original.hour) for one in new if one.original}


def _append_touched(windows: set[tuple[int, int]], batch: _Batch) -> None:
    with connection.cursor() as cursor:
        for shard in sorted({series_id % SHARDS for series_id, _ in windows}):
            of_shard = sorted(window for window in windows if window[0] % SHARDS == shard)
            cursor.execute(
                """
                INSERT INTO metering_touched_window (batch_id, shard, started_at, oldest_xid, series_ids, hours)
                VALUES (%s, %s, %s, %s, %s::int[], %s::int[])
                """,
                [
                    batch.id,
                    shard,
                    batch.started_at,
                    batch.oldest_xid,
                    _array(series_id for series_id, _ in of_shard),
                    _array(hour for _, hour in of_shard),
                ],
            )


def _record_repeats(judged: rules.Judged, batch: _Batch, now: datetime) -> None:
    """For the investigation: how much was sent again, and of what."""
    rows = sorted(judged.repeats.items())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_repeated_event
                (batch_id, tenant_id, event_type, event_hour, duplicates, conflicts, created_at)
            SELECT %s, tenant_id, event_type, event_hour, duplicates, conflicts, %s
            FROM unnest(%s::text[], %s::text[], %s::int[], %s::int[], %s::int[])
                AS repeated(tenant_id, event_type, event_hour, duplicates, conflicts)
            """,
            [
                batch.id,
                now,
                [pair[0] for (pair, _), _ in rows],
                [pair[1] for (pair, _), _ in rows],
                [hour for (_, hour), _ in rows],
                [duplicates for _, (duplicates, _) in rows],
                [conflicts for _, (_, conflicts) in rows],
            ],
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


def _copied_correction(correction: rules.CorrectionOf) -> str:
    """The columns void and corrects."""
    return f"{'t' if correction.void else 'f'}\t{_copied(correction.idempotency_key)}"


def _copied(text: str) -> str:
    if _BACKSLASH not in text and text.isprintable():
        return text
    return _COPY_SPECIAL.sub(lambda special: _COPY_ESCAPES[special.group()], text)
