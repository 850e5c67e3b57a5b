"""Dead letters: events that were not taken, kept as they were sent, with the reason."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from billing_site.kernel import ids

MAX_PAYLOAD_CHARACTERS: Final = 65_536
_MAX_DETAIL_CHARACTERS: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class NewDeadLetter:
    """One refused event. ``tenant_id`` is whose it is to be shown, empty where that is not known."""

    tenant_id: str
    payload: bytes
    code: str
    detail: str
    source: str


def keep(*, letters: Sequence[NewDeadLetter], now: datetime) -> list[str]:
    """
    Store refused events and answer the id of each one's dead letter, in order.

    Idempotency: the same payload of the same tenant adds to the count of its one row, so that a client in a loop makes
    one row, not millions; the latest reason stands.
    Locks: the rows, in order of tenant and digest. Requires an open transaction.
    """
    places = [(letter.tenant_id, _digest(letter.payload)) for letter in letters]
    distinct = dict(zip(places, letters, strict=True))
    counts = dict.fromkeys(distinct, 0)
    for place in places:
        counts[place] += 1
    kept = _upsert([(place, distinct[place], counts[place]) for place in sorted(distinct)], now)
    return [kept[place] for place in places]


def _upsert(rows: list[tuple[tuple[str, str], NewDeadLetter, int]], now: datetime) -> dict[tuple[str, str], str]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_dead_letter AS letter (
                id, tenant_id, payload_digest, payload, code, detail, source, count, first_seen_at, last_seen_at, state
            )
            SELECT id, tenant_id, digest, payload, code, detail, source, count, %(now)s, %(now)s, 'open'
            FROM unnest(
                %(ids)s::text[], %(tenant_ids)s::text[], %(digests)s::uuid[], %(payloads)s::text[], %(codes)s::text[],
                %(details)s::text[], %(sources)s::text[], %(counts)s::bigint[]
            ) AS refused(id, tenant_id, digest, payload, code, detail, source, count)
            ON CONFLICT (tenant_id, payload_digest) DO UPDATE SET
                count = letter.count + EXCLUDED.count,
                code = EXCLUDED.code,
                detail = EXCLUDED.detail,
                last_seen_at = greatest(letter.last_seen_at, EXCLUDED.last_seen_at)
            RETURNING id, tenant_id, replace(payload_digest::text, '-', '')
            """,
            {
                "now": now,
                "ids": [ids.new_id("dl") for _ in rows],
                "tenant_ids": [tenant_id for (tenant_id, _), _, _ in rows],
                "digests": [digest for (_, digest), _, _ in rows],
                "payloads": [_text(letter.payload, MAX_PAYLOAD_CHARACTERS) for _, letter, _ in rows],
                "codes": [letter.code for _, letter, _ in rows],
                "details": [_clean(letter.detail)[:_MAX_DETAIL_CHARACTERS] for _, letter, _ in rows],
                "sources": [_clean(letter.source) for _, letter, _ in rows],
                "counts": [count for _, _, count in rows],
            },
        )
        return {(tenant_id, digest): letter_id for letter_id, tenant_id, digest in cursor.fetchall()}


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def _text(payload: bytes, limit: int) -> str:
    return _clean(payload.decode("utf-8", "replace"))[:limit]


def _clean(text: str) -> str:
    """What PostgreSQL can store of a text: it knows neither NUL nor lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
