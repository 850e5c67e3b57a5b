"""
The rules that an event must pass, and what it becomes when it does. No database and no clock: the same events judged at
the same moment are judged the same.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from metering import hours, models, partitions, schemas

_EVENT_TYPE: Final = re.compile(models.EVENT_TYPE_PATTERN)
_SECONDS_A_DAY: Final = 86_400
_properties: Final = msgspec.json.Encoder(order="sorted")  # the same properties in another order are the same


class Ready(NamedTuple):
    """An event that passed all rules, as it will be written."""

    position: int
    pair: tuple[str, str]
    payload_hash: int
    hour: int
    timestamp: str
    quantity: int
    idempotency_key: str
    source: str
    properties: str


class Refused(NamedTuple):
    """An event that broke a rule."""

    position: int
    code: schemas.Code
    detail: str


@dataclass(kw_only=True)
class Judged:
    """A batch after the rules: what may be stored, by key hash, and what may not."""

    ready: dict[str, Ready] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    duplicates: int = 0


def judge(
    events: Sequence[schemas.EventIn | schemas.Refusal],
    *,
    now: datetime,
    allow_backfill: bool,
    only_tenant_id: str | None,
) -> Judged:
    """
    Hold a batch to the rules.

    Idempotency: a key that comes twice in the batch is settled here; the first of its events goes on.
    """
    judged = Judged()
    oldest = partitions.EARLIEST if allow_backfill else now - partitions.RETENTION
    newest = now + partitions.MAX_AHEAD
    pairs: dict[tuple[str, str], tuple[schemas.Code, str] | None] = {}
    for index, event in enumerate(events):
        if isinstance(event, schemas.Refusal):
            judged.refused.append(Refused(index, event.code, event.detail))
            continue
        pair = (event.tenant_id, event.event_type)
        if pair not in pairs:
            pairs[pair] = _fault_of_pair(pair, only_tenant_id)
        timestamp = event.event_timestamp or now
        if fault := pairs[pair] or _fault_of_text(event):
            judged.refused.append(Refused(index, *fault))
        elif not oldest <= timestamp <= newest:
            judged.refused.append(Refused(index, *_fault_of_time(timestamp, oldest, newest)))
        else:
            _admit(judged, index, pair, event, timestamp)
    return judged


def _admit(judged: Judged, index: int, pair: tuple[str, str], event: schemas.EventIn, timestamp: datetime) -> None:
    """Make an event ready for storing, unless its key came earlier in the same batch."""
    properties = _properties.encode(event.properties).decode() if event.properties else "{}"
    if fault := _fault_of_properties(event.properties, properties):
        judged.refused.append(Refused(index, *fault))
        return
    since = timestamp - hours.EPOCH
    seconds = since.days * _SECONDS_A_DAY + since.seconds
    # The time as sent: a sender that retries without one sends the same thing again, though it arrives later.
    sent_at = f"{seconds}.{since.microseconds}" if event.event_timestamp else ""
    sent = f"{event.event_type}\n{event.quantity}\n{sent_at}\n{properties}"
    key_hash = hash_key(tenant_id=event.tenant_id, idempotency_key=event.idempotency_key)
    payload_hash = int.from_bytes(hashlib.blake2b(sent.encode(), digest_size=8).digest(), "big", signed=True)
    if earlier := judged.ready.get(key_hash):
        settle_repeat(judged, index, event.idempotency_key, is_same=earlier.payload_hash == payload_hash)
        return
    judged.ready[key_hash] = Ready(
        position=index,
        pair=pair,
        payload_hash=payload_hash,
        hour=seconds // 3600,
        timestamp=timestamp.isoformat(),
        quantity=event.quantity,
        idempotency_key=event.idempotency_key,
        source=event.source,
        properties=properties,
    )


def hash_key(*, tenant_id: str, idempotency_key: str) -> str:
    """The 128-bit name of a tenant's key; the length in front keeps ``a`` + ``bc`` apart from ``ab`` + ``c``."""
    text = f"{len(tenant_id)}:{tenant_id}{idempotency_key}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fault_of_pair(pair: tuple[str, str], only_tenant_id: str | None) -> tuple[schemas.Code, str] | None:
    tenant_id, event_type = pair
    if not schemas.is_tenant_id(tenant_id):
        return schemas.Code.INVALID_TENANT_ID, f"tenant_id: 1 to 64 of letters, digits and ._:-, not {tenant_id[:80]!r}"
    if only_tenant_id is not None and tenant_id != only_tenant_id:
        return schemas.Code.TENANT_FORBIDDEN, f"tenant_id: the API key is bound to {only_tenant_id!r}"
    if not _EVENT_TYPE.fullmatch(event_type):
        return schemas.Code.INVALID_EVENT_TYPE, f"event_type: 1 to 100 of [a-z0-9_.-], not {event_type[:120]!r}"
    return None


def _fault_of_time(timestamp: datetime, oldest: datetime, newest: datetime) -> tuple[schemas.Code, str]:
    told = f"event_timestamp: {timestamp.isoformat()} is"
    if timestamp < oldest:
        return schemas.Code.TIMESTAMP_TOO_OLD, f"{told} before {oldest.isoformat()}"
    return schemas.Code.TIMESTAMP_IN_FUTURE, f"{told} after {newest.isoformat()}"


def _fault_of_text(event: schemas.EventIn) -> tuple[schemas.Code, str] | None:
    """What PostgreSQL cannot store in a text: NUL, and halves of surrogate pairs (from files with broken encoding)."""
    if not _is_storable(event.idempotency_key):
        return schemas.Code.INVALID_IDEMPOTENCY_KEY, "idempotency_key: has a NUL or a broken character"
    if not _is_storable(event.source):
        return schemas.Code.INVALID_SOURCE, "source: has a NUL or a broken character"
    return None


def _fault_of_properties(properties: dict[str, Any], encoded: str) -> tuple[schemas.Code, str] | None:
    if len(encoded) > schemas.MAX_PROPERTIES_BYTES or len(encoded.encode()) > schemas.MAX_PROPERTIES_BYTES:
        return schemas.Code.PROPERTIES_TOO_LARGE, f"properties: over {schemas.MAX_PROPERTIES_BYTES:,} bytes as JSON"
    if "\\u0000" in encoded and not all(map(_is_storable, _texts_in(properties))):
        return schemas.Code.INVALID_PROPERTIES, "properties: a text has a NUL"
    return None


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\x00" not in text
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _texts_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts_in(member)


def settle_repeat(judged: Judged, index: int, idempotency_key: str, *, is_same: bool) -> None:
    """Take note of an event whose key was used before: for the same event, or for another, which stands."""
    if is_same:
        judged.duplicates += 1
        return
    detail = f"idempotency_key: {idempotency_key!r} was used for an event with other values, which stands"
    judged.refused.append(Refused(index, schemas.Code.IDEMPOTENCY_CONFLICT, detail))
