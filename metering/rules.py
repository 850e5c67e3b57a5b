"""
The rules that an event must pass, and what it becomes when it does. No database and no clock: the same events judged at
the same moment are judged the same.
"""

import functools
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from metering import hours, models, partitions, request_rollup, schemas

_EVENT_TYPE: Final = re.compile(models.EVENT_TYPE_PATTERN)
_SECONDS_A_DAY: Final = 86_400
_REMEMBERED_NAMES: Final = 20_000
_properties: Final = msgspec.json.Encoder(order="sorted")  # the same properties in another order are the same

# Copied for each event: that takes less than to make a new one.
_key_hasher: Final = hashlib.blake2b(digest_size=16)
_payload_hasher: Final = hashlib.blake2b(digest_size=8)


class Ready(msgspec.Struct, frozen=True, gc=False):
    """An event that passed all rules, as it will be written. No work for the garbage collector, as there are many."""

    position: int
    pair: tuple[str, str]
    payload_hash: int
    hour: int
    timestamp: str
    quantity: int
    idempotency_key: str
    source: str
    properties: str
    correction: "CorrectionOf | None"


class CorrectionOf(NamedTuple):
    """What a correction names: the idempotency key as sent, and its hash."""

    idempotency_key: str
    key_hash: str
    void: bool


class Refused(NamedTuple):
    """An event that broke a rule."""

    position: int
    code: schemas.Code
    detail: str


@dataclass(kw_only=True)
class Judged:
    """
    A batch after the rules: what may be stored, by key hash, and what may not.

    ``held`` would be refused, unless it turns out to be stored already: then it is a repeat like any other. ``later``
    has the events whose key came earlier in the batch: what they are is known when it is known what is stored under it.
    ``repeats`` counts, for the investigation, duplicates and conflicts by tenant, type and hour.
    """

    ready: dict[str, Ready] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    held: dict[str, tuple[Ready, Refused]] = field(default_factory=dict)
    corrections: list[str] = field(default_factory=list)
    later: dict[str, list[Ready]] = field(default_factory=dict)
    repeats: dict[tuple[tuple[str, str], int], list[int]] = field(default_factory=dict)
    duplicates: int = 0

    def refuse(self, key_hash: str, event: Ready, code: schemas.Code, detail: str) -> None:
        """Take an event out after all, and those of the batch that say the same; what says otherwise is a conflict."""
        self.ready.pop(key_hash, None)
        self.refused.append(Refused(event.position, code, detail))
        for one in self.later.pop(key_hash, ()):
            if one.payload_hash == event.payload_hash:
                self.refused.append(Refused(one.position, code, detail))
            else:
                self._settle(one, event.payload_hash)

    def settle_repeat(self, key_hash: str, event: Ready, *, stored: int) -> None:
        """Take note of an event whose key is stored with this payload hash, and of those of the batch that share it."""
        self.ready.pop(key_hash, None)
        for one in (event, *self.later.pop(key_hash, ())):
            self._settle(one, stored)

    def settle_later(self) -> None:
        """Take note of the events that share the key of one that is stored now."""
        for key_hash, events in self.later.items():
            for one in events:
                self._settle(one, self.ready[key_hash].payload_hash)
        self.later.clear()

    def _settle(self, event: Ready, stored: int) -> None:
        """The same as what is stored is a duplicate; anything else a conflict, and what is stored stands."""
        counts = self.repeats.setdefault((event.pair, event.hour), [0, 0])
        if event.payload_hash == stored:
            counts[0] += 1
            self.duplicates += 1
            return
        counts[1] += 1
        detail = f"idempotency_key: {event.idempotency_key!r} was used for an event with other values, which stands"
        self.refused.append(Refused(event.position, schemas.Code.IDEMPOTENCY_CONFLICT, detail))


def judge(
    events: Sequence[schemas.EventIn | schemas.Refusal],
    *,
    now: datetime,
    allow_backfill: bool,
    only_tenant_id: str | None,
    refused_pairs: Mapping[tuple[str, str], str] = MappingProxyType({}),
    archived_months: Collection[date] = (),
    arrivals: Mapping[int, datetime] = MappingProxyType({}),
) -> Judged:
    """
    Hold a batch to the rules.

    ``arrivals`` tells, by position, when events arrived that are judged later than they came; the others arrive now.

    ``refused_pairs`` are the tenants and event types whose quota is used up, with what to say of it; what voids an
    event passes all the same. ``archived_months`` take no events.
    Idempotency: of a key that comes twice in the batch, the first event goes on; the others wait in ``later``.
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
        timestamp = event.event_timestamp or arrivals.get(index, now)
        if fault := pairs[pair] or _fault_of_text(event):
            judged.refused.append(Refused(index, *fault))
        elif not oldest <= timestamp <= newest:
            judged.refused.append(Refused(index, *_fault_of_time(timestamp, oldest, newest)))
        else:
            _admit(judged, index, pair, event, timestamp)
    if refused_pairs or archived_months:
        _hold(judged, refused_pairs, archived_months)
    return judged


def _admit(judged: Judged, index: int, pair: tuple[str, str], event: schemas.EventIn, timestamp: datetime) -> None:
    """Make an event ready for storing, unless its key came earlier in the same batch."""
    if event.event_type == request_rollup.EVENT_TYPE:
        event = _never_billed(event)
    properties = "{}"
    if event.properties:
        encoded = _properties.encode(event.properties)
        if fault := _fault_of_properties(event.properties, encoded):
            judged.refused.append(Refused(index, *fault))
            return
        properties = encoded.decode()
    since = timestamp - hours.EPOCH
    seconds = since.days * _SECONDS_A_DAY + since.seconds
    # The time as sent: a sender that retries without one sends the same thing again, though it arrives later.
    sent_at = f"{seconds}.{since.microseconds}" if event.event_timestamp else ""
    sent = f"{event.event_type}\n{event.quantity}\n{sent_at}\n{properties}"
    key_hash = hash_key(tenant_id=event.tenant_id, idempotency_key=event.idempotency_key)
    correction = None
    if event.corrects is not None:
        named = hash_key(tenant_id=event.tenant_id, idempotency_key=event.corrects)
        correction = CorrectionOf(event.corrects, named, event.void)
        sent = f"{sent}\n{event.void}\n{event.corrects}"
        judged.corrections.append(key_hash)
    hasher = _payload_hasher.copy()
    hasher.update(sent.encode())
    payload_hash = int.from_bytes(hasher.digest(), "big", signed=True)
    ready = Ready(
        index,
        pair,
        payload_hash,
        seconds // 3600,
        timestamp.isoformat(),
        event.quantity,
        event.idempotency_key,
        event.source,
        properties,
        correction,
    )
    earlier = judged.ready.setdefault(key_hash, ready)
    if earlier is not ready:
        judged.later.setdefault(key_hash, []).append(ready)


def _hold(judged: Judged, refused_pairs: Mapping[tuple[str, str], str], archived_months: Collection[date]) -> None:
    """Keep back what would count above a quota or lie in a month that is read-only."""
    for key_hash, event in list(judged.ready.items()):
        is_void = event.correction is not None and event.correction.void
        if archived_months and (month := hours.month_of(event.hour)) in archived_months:
            refusal = Refused(event.position, schemas.Code.PERIOD_ARCHIVED, detail_of_archived(month))
        elif event.pair in refused_pairs and not is_void:
            refusal = Refused(event.position, schemas.Code.QUOTA_EXCEEDED, refused_pairs[event.pair])
        else:
            continue
        judged.held[key_hash] = (judged.ready.pop(key_hash), refusal)


def detail_of_archived(month: date) -> str:
    """Why nothing is taken for a month."""
    return f"event_timestamp: {month:%Y-%m} is archived and read-only until it is restored"


def hash_key(*, tenant_id: str, idempotency_key: str) -> str:
    """The 128-bit name of a tenant's key; the length in front keeps ``a`` + ``bc`` apart from ``ab`` + ``c``."""
    hasher = _key_hasher.copy()
    hasher.update(f"{len(tenant_id)}:{tenant_id}{idempotency_key}".encode())
    return hasher.hexdigest()


def _fault_of_pair(pair: tuple[str, str], only_tenant_id: str | None) -> tuple[schemas.Code, str] | None:
    tenant_id, event_type = pair
    if only_tenant_id is not None and tenant_id != only_tenant_id and schemas.is_tenant_id(tenant_id):
        return schemas.Code.TENANT_FORBIDDEN, f"tenant_id: the API key is bound to {only_tenant_id!r}"
    return _fault_of_names(tenant_id, event_type)


@functools.lru_cache(maxsize=_REMEMBERED_NAMES)
def _fault_of_names(tenant_id: str, event_type: str) -> tuple[schemas.Code, str] | None:
    """Remembered by the process: a batch of a gateway may have as many tenants as events."""
    if not schemas.is_tenant_id(tenant_id):
        return schemas.Code.INVALID_TENANT_ID, f"tenant_id: 1 to 64 of letters, digits and ._:-, not {tenant_id[:80]!r}"
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
    # What is printable has neither, which is soon seen; most events correct nothing.
    if event.idempotency_key.isprintable() and event.source.isprintable() and event.corrects is None and not event.void:
        return None
    if not _is_storable(event.idempotency_key):
        return schemas.Code.INVALID_IDEMPOTENCY_KEY, "idempotency_key: has a NUL or a broken character"
    if not _is_storable(event.source):
        return schemas.Code.INVALID_SOURCE, "source: has a NUL or a broken character"
    return _fault_of_correction(event)


def _fault_of_correction(event: schemas.EventIn) -> tuple[schemas.Code, str] | None:
    if event.corrects is None:
        if event.void:
            return schemas.Code.INVALID_CORRECTION, "void: corrects must name the event that is voided"
        return None
    if not event.corrects or not _is_storable(event.corrects):
        return schemas.Code.INVALID_CORRECTION, "corrects: is empty, or has a NUL or a broken character"
    if event.void and event.quantity:
        return schemas.Code.INVALID_CORRECTION, "quantity: 0 where void is true"
    if event.corrects == event.idempotency_key:
        return schemas.Code.CORRECTS_A_CORRECTION, "corrects: names the event itself"
    return None


def _fault_of_properties(properties: dict[str, Any], encoded: bytes) -> tuple[schemas.Code, str] | None:
    if len(encoded) > schemas.MAX_PROPERTIES_BYTES:
        return schemas.Code.PROPERTIES_TOO_LARGE, f"properties: over {schemas.MAX_PROPERTIES_BYTES:,} bytes as JSON"
    if b"\\u0000" in encoded and not all(map(_is_storable, _texts_in(properties))):
        return schemas.Code.INVALID_PROPERTIES, "properties: a text has a NUL"
    return None


def _never_billed(request: schemas.EventIn) -> schemas.EventIn:
    """A request that is not billable counts nothing, whichever door it came by; its quantity is shown as its weight."""
    billable = request.properties.get("billable")
    if request.quantity and (billable is False or billable == "false"):
        properties = request.properties | {"weight": request.quantity}
        return msgspec.structs.replace(request, quantity=0, properties=properties)
    return request


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
