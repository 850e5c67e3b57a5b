"""
Corrections: events that give an earlier event of the same tenant and type another quantity, or none.

The earlier event stays. Which of the two comes first does not matter, nor does the time of the correction: it counts in
the original's window. Where the original is not known yet, the correction waits for it:

    correction's batch                        original's batch
    looks for the original: not there
                                              looks for corrections that wait: sees none, because
    commits, waiting                          ... the correction is not committed
                                              commits

so the original's touched row carries the oldest transaction that its batch could not see, and aggregation, before it
recomputes, links the corrections of such transactions (``link_pending``). All others were seen by one of the two.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from django.db import connection

from metering import hours, rules, schemas


class KnownKey(NamedTuple):
    """An event that is stored: where, of which type, and whether it is a correction."""

    series_id: int
    event_type: str
    hour: int
    is_correction: bool


class Window(NamedTuple):
    """A series and an hour."""

    series_id: int
    hour: int


class NewCorrection(NamedTuple):
    """A correction to be kept; ``original`` is where the event that it corrects lies, if that is known."""

    key_hash: str
    event: rules.Ready
    correction: rules.CorrectionOf
    series_id: int
    original: Window | None


def find_keys(key_hashes: Collection[str]) -> dict[str, KnownKey]:
    """What is stored under these keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT
                replace(key.key_hash::text, '-', ''), key.series_id, series.event_type, key.event_hour,
                EXISTS (SELECT FROM metering_correction WHERE correction_key_hash = key.key_hash)
            FROM metering_event_key AS key JOIN metering_series AS series ON series.id = key.series_id
            WHERE key.key_hash = ANY(%s::uuid[])
            """,
            [list(key_hashes)],
        )
        return {key_hash: KnownKey(*rest) for key_hash, *rest in cursor.fetchall()}


def refuse_faulty(judged: rules.Judged, *, archived_months: Collection[date]) -> dict[str, KnownKey]:
    """
    Take out corrections of a correction, of another type's event, and of one in a read-only month; what is stored.

    A correction that is stored itself is left, to be told as a duplicate, whatever became known since.
    """
    named = {event.correction.key_hash for event in judged.ready.values() if event.correction}
    known = find_keys(named | set(judged.corrections))
    for key_hash in judged.corrections:
        event = judged.ready.get(key_hash)
        if event is None or event.correction is None or key_hash in known:
            continue
        if fault := _fault(event, event.correction, known, judged.ready, archived_months):
            judged.refuse(key_hash, event, *fault)
    return known


def _fault(
    event: rules.Ready,
    correction: rules.CorrectionOf,
    known: Mapping[str, KnownKey],
    ready: Mapping[str, rules.Ready],
    archived_months: Collection[date],
) -> tuple[schemas.Code, str] | None:
    if stored := known.get(correction.key_hash):
        event_type, is_correction, hour = stored.event_type, stored.is_correction, stored.hour
    elif beside := ready.get(correction.key_hash):  # of the same batch
        event_type, is_correction, hour = beside.pair[1], beside.correction is not None, beside.hour
    else:
        return None
    name = f"corrects: {correction.idempotency_key!r}"
    if is_correction:
        return schemas.Code.CORRECTS_A_CORRECTION, f"{name} is a correction; correct the event that it corrects"
    if event_type != event.pair[1]:
        return schemas.Code.CORRECTS_ANOTHER_TYPE, f"{name} has the event_type {event_type!r}, not {event.pair[1]!r}"
    if archived_months and (month := hours.month_of(hour)) in archived_months:
        return schemas.Code.PERIOD_ARCHIVED, f"{name}: {month:%Y-%m} is archived and read-only until it is restored"
    return None


def keep(*, corrections: Sequence[NewCorrection], batch_id: int, now: datetime) -> None:
    """Store what these correct. Requires the transaction that stores them as events."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_correction (
                correction_key_hash, original_key_hash, quantity, void, batch_id, position, created_at, xid, series_id,
                event_hour, original_series_id, original_event_hour, fault
            )
            SELECT key_hash, original, quantity, void, %s, position, %s, pg_current_xact_id()::text::bigint, series_id,
                hour, original_series_id, original_hour, ''
            FROM unnest(
                %s::uuid[], %s::uuid[], %s::bigint[], %s::bool[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[]
            ) AS new(
                key_hash, original, quantity, void, position, series_id, hour, original_series_id, original_hour
            )
            """,
            [
                batch_id,
                now,
                [new.key_hash for new in corrections],
                [new.correction.key_hash for new in corrections],
                [new.event.quantity for new in corrections],
                [new.correction.void for new in corrections],
                [new.event.position for new in corrections],
                [new.series_id for new in corrections],
                [new.event.hour for new in corrections],
                [new.original and new.original.series_id for new in corrections],
                [new.original and new.original.hour for new in corrections],
            ],
        )


def link_waiting(*, key_hashes: Iterable[str]) -> None:
    """
    Link the corrections that wait for these events, which this transaction stored, or say why they correct nothing.

    Locks: the corrections; nobody else links them, because nobody else can see their originals yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LINK.format(among="key.key_hash = ANY(%s::uuid[])"), [list(key_hashes)])


def link_pending(*, since: int) -> list[Window]:
    """
    Link waiting corrections of transaction ``since`` and later whose originals are stored by now; the originals'
    windows, which are to be recomputed too.

    For aggregation, after it has claimed touched rows and before it recomputes; ``since`` is the least ``oldest_xid``
    of those rows. Corrections of earlier transactions were seen by the batches of those rows, which linked them.
    Requires an open transaction, the one that recomputes the windows. Idempotency: a correction is linked once.
    Locks: the corrections; those that another transaction is linking are left to it, with its own claimed rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LINK.format(among="waiting.xid >= %s"), [since])
        return [Window(series_id, hour) for series_id, hour in cursor.fetchall() if series_id is not None]


_LINK = """
    WITH found AS (
        SELECT
            waiting.correction_key_hash, key.series_id, key.event_hour,
            CASE
                WHEN EXISTS (
                    SELECT FROM metering_correction AS other WHERE other.correction_key_hash = key.key_hash
                ) THEN 'corrects_a_correction'
                WHEN key.series_id <> waiting.series_id THEN 'corrects_another_type'
                ELSE ''
            END AS fault
        FROM metering_correction AS waiting
        JOIN metering_event_key AS key ON key.key_hash = waiting.original_key_hash
        WHERE waiting.original_event_hour IS NULL AND waiting.fault = '' AND {among}
        FOR UPDATE OF waiting SKIP LOCKED
    )
    UPDATE metering_correction AS correction
    SET fault = found.fault,
        original_series_id = CASE WHEN found.fault = '' THEN found.series_id END,
        original_event_hour = CASE WHEN found.fault = '' THEN found.event_hour END
    FROM found
    WHERE correction.correction_key_hash = found.correction_key_hash
    RETURNING correction.original_series_id, correction.original_event_hour
"""
