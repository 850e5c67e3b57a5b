"""
Dead letters: events that were not taken, kept as they were sent, with the reason; and what becomes of them.

A letter is open until somebody replays or discards it (``replays`` takes the event in; it lies apart because taking in
is what makes letters). The same payload sent again opens a resolved letter again. What was done, by whom and when, is
appended to the letter's trail (``DeadLetterAction``).

Who resolves a letter first holds its claim, an advisory lock that is tried and never waited for, and locks the row only
at the end: batches lock keys before letters, and a replay that locked its letter first could wait for them in a circle.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from billing_site.kernel import clock, ids, outbox
from metering import errors, models, payloads

MAX_PAYLOAD_CHARACTERS: Final = 65_536
MAX_REASON_CHARACTERS: Final = 500
TOPIC: Final = "dead_letter.created"
SENDER: Final = "sender"  # the actor of a letter that is opened again because its payload came again
_MAX_DETAIL_CHARACTERS: Final = 1_000
_COUNTED_OPEN: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class NewDeadLetter:
    """One refused event. ``tenant_id`` is whose it is to be shown, empty where that is not known."""

    tenant_id: str
    payload: bytes
    code: str
    detail: str
    source: str


@dataclass(frozen=True)
class _Kept:
    """What the upsert made of one letter."""

    id: str
    is_new: bool
    is_opened_again: bool


def keep(*, letters: Sequence[NewDeadLetter], now: datetime) -> list[str]:
    """
    Store refused events and answer the id of each one's dead letter, in order.

    Idempotency: the same payload of the same tenant adds to the count of its one row, so that a client in a loop makes
    one row, not millions; the latest reason stands. A letter that was resolved is opened again. Each letter leaves one
    outbox message, when it is made.
    Locks: the rows, in order of tenant and digest. Requires an open transaction.
    """
    places = [(letter.tenant_id, _digest(letter.payload)) for letter in letters]
    distinct = dict(zip(places, letters, strict=True))
    counts = dict.fromkeys(distinct, 0)
    for place in places:
        counts[place] += 1
    kept = _upsert([(place, distinct[place], counts[place]) for place in sorted(distinct)], now)
    _tell([(distinct[place], one) for place, one in kept.items()], now)
    return [kept[place].id for place in places]


def discard(
    *, letter_id: str, reason: str, actor: str, now: datetime, only_tenant_id: str | None = None
) -> models.DeadLetter:
    """
    Give an event up, with the reason.

    Idempotency: the same discard again (by the same actor, for the same reason) answers the letter as it is.
    Locks: the letter's claim, then its row. Requires an open transaction.

    Raises:
        errors.DeadLetterNotFound, errors.DeadLetterBusy.
        errors.DeadLetterResolved: it was replayed, or discarded otherwise.
    """
    letter = claim_one(letter_id=letter_id, only_tenant_id=only_tenant_id)
    if letter.state == models.DeadLetterState.DISCARDED and (letter.reason, letter.resolved_by) == (reason, actor):
        return letter
    require_open(letter)
    _discard([letter.pk], reason=reason, actor=actor, now=now)
    letter.refresh_from_db()
    return letter


def discard_many(*, letter_ids: Collection[str], reason: str, actor: str, now: datetime) -> int:
    """
    Give up those of these letters that are open and that nobody else is at; how many.

    Locks: their claims, then their rows. Requires an open transaction.
    """
    open_ids = [letter.pk for letter in claim(letter_ids=letter_ids)]
    _discard(open_ids, reason=reason, actor=actor, now=now)
    return len(open_ids)


def claim_one(*, letter_id: str, only_tenant_id: str | None) -> models.DeadLetter:
    """
    Take the one right to resolve a letter until the transaction ends; the letter as it then is, open or not.

    Raises:
        errors.DeadLetterNotFound: there is none, or it is not that tenant's.
        errors.DeadLetterBusy: somebody else is at it.
    """
    mine = models.DeadLetter.objects.filter(pk=letter_id)
    if only_tenant_id is not None:
        mine = mine.filter(tenant_id=only_tenant_id)
    if not mine.exists():
        raise errors.DeadLetterNotFound(f"no dead letter {letter_id!r}")
    if not _try_claims([letter_id]):
        raise errors.DeadLetterBusy(f"{letter_id} is being replayed or discarded; look again in a moment")
    return mine.get()


def claim(*, letter_ids: Collection[str]) -> list[models.DeadLetter]:
    """Take the one right to resolve each of these letters; those that could be had and are open, oldest first."""
    claimed = _try_claims(letter_ids)
    # Read in a statement after the claims, so that what their last holder did is seen.
    return list(models.DeadLetter.objects.filter(pk__in=claimed, state=models.DeadLetterState.OPEN).order_by("pk"))


def require_open(letter: models.DeadLetter) -> None:
    """
    Make sure that there is something left to decide.

    Raises:
        errors.DeadLetterResolved: with the letter's state.
    """
    if letter.state != models.DeadLetterState.OPEN:
        state = {
            "state": letter.state,
            "resolved_at": clock.format_instant(letter.resolved_at) if letter.resolved_at else None,
            "resolved_by": letter.resolved_by,
        }
        raise errors.DeadLetterResolved(f"{letter.pk} was {letter.state} by {letter.resolved_by}", extra=state)


def is_whole(letter: models.DeadLetter) -> bool:
    """Whether the stored text is what was sent: a long payload is cut, and what is no text loses its bytes."""
    return _digest(letter.payload.encode()) == letter.payload_digest.hex


def count_open() -> dict[str, int]:
    """How many letters are open by reason, counted up to 100,000 in all; read from an index of open ones alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT code, count(*)
            FROM (SELECT code FROM metering_dead_letter WHERE state = 'open' LIMIT %s) AS counted
            GROUP BY code
            """,
            [_COUNTED_OPEN],
        )
        return dict(cursor.fetchall())


def lock_rows(letter_ids: Collection[str]) -> None:
    """Lock letters in the order that ``keep`` takes them in."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM metering_dead_letter WHERE id = ANY(%s) ORDER BY tenant_id, payload_digest FOR NO KEY UPDATE",
            [list(letter_ids)],
        )


def clean(text: str) -> str:
    """What PostgreSQL can store of a text: it knows neither NUL nor lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def cut_detail(text: str) -> str:
    """A reason as it is stored."""
    return clean(text)[:_MAX_DETAIL_CHARACTERS]


def _try_claims(letter_ids: Collection[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM unnest(%s::text[]) AS wanted(id)
            WHERE pg_try_advisory_xact_lock(hashtextextended('metering_dead_letter ' || id, 0))
            """,
            [list(letter_ids)],
        )
        return [letter_id for (letter_id,) in cursor.fetchall()]


def _discard(letter_ids: Sequence[str], *, reason: str, actor: str, now: datetime) -> None:
    lock_rows(letter_ids)
    models.DeadLetter.objects.filter(pk__in=letter_ids).update(
        state=models.DeadLetterState.DISCARDED, resolved_at=now, resolved_by=actor, reason=reason
    )
    models.DeadLetterAction.objects.bulk_create(
        models.DeadLetterAction(
            letter_id=letter_id, step=models.DeadLetterStep.DISCARDED, actor=actor, reason=reason, created_at=now
        )
        for letter_id in letter_ids
    )


def _upsert(rows: list[tuple[tuple[str, str], NewDeadLetter, int]], now: datetime) -> dict[tuple[str, str], _Kept]:
    """
    Write the letters. Each is sent with a fresh id: a row that took it as its own is new, one that took it as its
    opening was resolved and is open again. So the one statement tells, whoever else writes the same letters.
    """
    said = [payloads.read_facts(letter.payload, now=now) for _, letter, _ in rows]
    sent_ids = [ids.new_id("dl") for _ in rows]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_dead_letter AS letter (
                id, opening_id, tenant_id, payload_digest, payload, code, detail, source, event_type, event_hour, count,
                first_seen_at, last_seen_at, state, resolved_by, reason
            )
            SELECT id, id, tenant_id, digest, payload, code, detail, source, event_type, event_hour, count,
                %(now)s, %(now)s, 'open', '', ''
            FROM unnest(
                %(ids)s::text[], %(tenant_ids)s::text[], %(digests)s::uuid[], %(payloads)s::text[], %(codes)s::text[],
                %(details)s::text[], %(sources)s::text[], %(event_types)s::text[], %(event_hours)s::int[],
                %(counts)s::bigint[]
            ) AS refused(id, tenant_id, digest, payload, code, detail, source, event_type, event_hour, count)
            ON CONFLICT (tenant_id, payload_digest) DO UPDATE SET
                count = letter.count + EXCLUDED.count,
                code = EXCLUDED.code,
                detail = EXCLUDED.detail,
                last_seen_at = greatest(letter.last_seen_at, EXCLUDED.last_seen_at),
                opening_id = CASE WHEN letter.state = 'open' THEN letter.opening_id ELSE EXCLUDED.opening_id END,
                state = 'open',
                resolved_at = NULL,
                resolved_by = '',
                reason = ''
            RETURNING id, opening_id, tenant_id, replace(payload_digest::text, '-', '')
            """,
            {
                "now": now,
                "ids": sent_ids,
                "tenant_ids": [tenant_id for (tenant_id, _), _, _ in rows],
                "digests": [digest for (_, digest), _, _ in rows],
                "payloads": [_text(letter.payload, MAX_PAYLOAD_CHARACTERS) for _, letter, _ in rows],
                "codes": [letter.code for _, letter, _ in rows],
                "details": [cut_detail(letter.detail) for _, letter, _ in rows],
                # What could not be read as an event may still say where it came from.
                "sources": [
                    clean(letter.source) or fact.source for (_, letter, _), fact in zip(rows, said, strict=True)
                ],
                "event_types": [fact.event_type for fact in said],
                "event_hours": [fact.event_hour for fact in said],
                "counts": [count for _, _, count in rows],
            },
        )
        stored = cursor.fetchall()
    sent = set(sent_ids)
    return {
        (tenant_id, digest): _Kept(letter_id, letter_id in sent, opening_id in sent and opening_id != letter_id)
        for letter_id, opening_id, tenant_id, digest in stored
    }


def _tell(kept: Sequence[tuple[NewDeadLetter, _Kept]], now: datetime) -> None:
    """Leave word of new letters, and a line in the trail of those that are open again."""
    outbox.leave_many(
        topic=TOPIC,
        messages=[
            outbox.Message(
                tenant_id=letter.tenant_id,
                reference_id=one.id,
                payload={"dead_letter_id": one.id, "code": letter.code, "detail": cut_detail(letter.detail)},
            )
            for letter, one in kept
            if one.is_new
        ],
        now=now,
    )
    models.DeadLetterAction.objects.bulk_create(
        models.DeadLetterAction(
            letter_id=one.id,
            step=models.DeadLetterStep.OPENED_AGAIN,
            actor=SENDER,
            code=letter.code,
            detail=cut_detail(letter.detail),
            created_at=now,
        )
        for letter, one in kept
        if one.is_opened_again
    )


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def _text(payload: bytes, limit: int) -> str:
    return clean(payload.decode("utf-8", "replace"))[:limit]
