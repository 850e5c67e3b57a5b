"""
Wire formats: what an event looks like when it comes, and what is said of one that is not taken.

A body is decoded whole by a prebuilt decoder; only where that fails is it taken apart, so that one bad event is told
from its good neighbours. The formats themselves know no clock and no database.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final

import msgspec

from billing_site.kernel import errors as kernel_errors
from billing_site.kernel import fields
from metering import errors, models, surrogates

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_EVENTS: Final = 10_000
MAX_QUANTITY: Final = 10**15
MAX_PROPERTIES_BYTES: Final = 4 * 1024
MAX_SOURCE_LENGTH: Final = 100
MAX_KEY_LENGTH: Final = 255

_TENANT_ID: Final = re.compile(fields.CODE_PATTERN)
_UNSENT: Final = -(10**18)  # stands for a quantity that was not sent, which no sent one can be


class Code(StrEnum):
    """Why an event was not taken."""

    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    INVALID_JSON = "invalid_json"
    INVALID_TEXT = "invalid_text"
    WRONG_COLUMN_COUNT = "wrong_column_count"
    EVENT_TOO_LARGE = "event_too_large"
    INVALID_TENANT_ID = "invalid_tenant_id"
    TENANT_FORBIDDEN = "tenant_forbidden"
    INVALID_EVENT_TYPE = "invalid_event_type"
    NEGATIVE_QUANTITY = "negative_quantity"
    QUANTITY_TOO_LARGE = "quantity_too_large"
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TIMESTAMP_TOO_OLD = "timestamp_too_old"
    TIMESTAMP_IN_FUTURE = "timestamp_in_future"
    INVALID_SOURCE = "invalid_source"
    INVALID_PROPERTIES = "invalid_properties"
    PROPERTIES_TOO_LARGE = "properties_too_large"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    UNSUPPORTED_SPECVERSION = "unsupported_specversion"
    INVALID_CORRECTION = "invalid_correction"
    CORRECTS_A_CORRECTION = "corrects_a_correction"
    CORRECTS_ANOTHER_TYPE = "corrects_another_type"
    PERIOD_ARCHIVED = "period_archived"
    QUOTA_EXCEEDED = "quota_exceeded"


class EventIn(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """
    One event. Without ``event_timestamp`` the time of its arrival is taken.

    ``corrects`` names the idempotency key of an earlier event of the tenant, which this one amends: ``quantity`` is
    what it should have been. With ``void`` the earlier event counts nothing, and ``quantity`` is 0 unless it is sent.
    """

    # Held to their patterns by ``rules``, once per tenant and type of a batch rather than once per event.
    tenant_id: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{fields.CODE_PATTERN}$"})]
    event_type: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{models.EVENT_TYPE_PATTERN}$"})]
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_LENGTH)]
    quantity: Annotated[
        int,
        msgspec.Meta(ge=0, le=MAX_QUANTITY, description="Default 1, and 0 with void."),
    ] = _UNSENT
    event_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    source: Annotated[str, msgspec.Meta(max_length=MAX_SOURCE_LENGTH)] = "api"
    properties: dict[str, Any] = msgspec.field(default_factory=dict)
    corrects: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_LENGTH)] | None = None
    void: bool = False

    def __post_init__(self) -> None:
        """A quantity that was not sent: costs 40 ns an event, and nobody else needs to know."""
        if self.quantity == _UNSENT:
            msgspec.structs.force_setattr(self, "quantity", 0 if self.void else 1)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An event that could not even be read: why, whose it seems to be, and the text as sent."""

    code: Code
    detail: str
    tenant_id: str
    payload: bytes


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The events of one body in order, and each one's text as sent."""

    events: Sequence[EventIn | Refusal]
    backfill: bool
    payload_of: Callable[[int], bytes]


class EventBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Many events. ``backfill`` (scope ``events:backfill``) lifts the age limit back to 2000."""

    events: Annotated[list[EventIn], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_EVENTS})]
    backfill: bool = False


class _Sender(msgspec.Struct):
    tenant_id: str = ""


_envelope: Final = msgspec.json.Decoder(EventBatch)
_event: Final = msgspec.json.Decoder(EventIn)
_sender: Final = msgspec.json.Decoder(_Sender)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_flag: Final = msgspec.json.Decoder(bool)


def decode_batch(
    body: bytes,
    *,
    decode_envelope: Callable[[bytes], EventBatch] = _envelope.decode,
    decode_one: Callable[[bytes], EventIn | Refusal] | None = None,
) -> Batch:
    """
    Read a body of one event, or of ``{"events": [...], "backfill": bool}``.

    Events of another form come in the same envelope, by decoders of their own.

    Raises:
        errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch, errors.TooManyEvents: it is no batch at all.
    """
    if not body.strip():
        raise errors.EmptyBatch("the body is empty")
    if b'"events"' in body:
        try:
            envelope = decode_envelope(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # one of its events, or the envelope itself, is wrong: take it apart
        else:
            check_count(len(envelope.events))
            return Batch(events=envelope.events, backfill=envelope.backfill, payload_of=_payloads(body))
    return _take_apart(body, decode_one or decode_event)


def decode_event(text: bytes) -> EventIn | Refusal:
    """Read one event; what cannot be read is answered, not raised, because its neighbours go on."""
    return decode_or_refuse(text, decode=_event.decode, explain=explain, sender_of=_sender_of)


def decode_or_refuse(
    text: bytes,
    *,
    decode: Callable[[bytes], EventIn],
    explain: Callable[[msgspec.ValidationError], tuple[Code, str]],
    sender_of: Callable[[bytes], str],
) -> EventIn | Refusal:
    """The same for any form of an event: how it is read, how its faults are told, and whose it seems to be."""
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        code, detail = explain(error)
    except UnicodeDecodeError:
        code, detail = Code.INVALID_TEXT, "the event is not UTF-8"
    except RecursionError:
        code, detail = Code.INVALID_PROPERTIES, "properties are nested too deeply"
    except msgspec.DecodeError as error:
        code, detail = Code.INVALID_JSON, f"the event is not JSON: {error}"
        if (mended := surrogates.replace_halves(text)) != text:
            code, detail = Code.INVALID_TEXT, "the event has half of a surrogate pair, which is no character"
            return Refusal(code=code, detail=detail, tenant_id=sender_of(mended), payload=text)
    return Refusal(code=code, detail=detail, tenant_id=sender_of(text), payload=text)


def convert_event(members: Mapping[str, Any]) -> EventIn | Refusal:
    """The same for an event that comes as a mapping, such as a row of a file."""
    try:
        event = msgspec.convert(members, EventIn)
        encode_event(event)
    except msgspec.ValidationError as error:
        code, detail = explain(error)
    except UnicodeEncodeError:
        code, detail = Code.INVALID_TEXT, "the event has characters that are not in the file's encoding"
    else:
        return event
    text = json.dumps(members).encode()  # escapes what is no Unicode, so that it can be kept and shown
    return Refusal(code=code, detail=detail, tenant_id=_sender_of(text), payload=text)


def encode_event(event: EventIn) -> bytes:
    """The event as JSON, for a sender that did not send JSON."""
    return msgspec.json.encode(event)


def is_tenant_id(text: str) -> bool:
    """Whether a text is well formed as a tenant's code."""
    return _TENANT_ID.fullmatch(text) is not None


def explain(error: msgspec.ValidationError) -> tuple[Code, str]:
    """The verdict behind a decoder's message, and the message in the contract's words."""
    text, _, place = str(error).partition(" - at `$")
    field = place.strip("`.")
    detail = f"{field}: {text}" if field else text
    detail = detail.replace("`", "")
    if text.startswith("Object missing required field"):
        return Code.MISSING_FIELD, detail
    if text.startswith("Object contains unknown field"):
        return Code.UNKNOWN_FIELD, detail
    if ", got `" in text:
        return Code.WRONG_TYPE, detail
    if field == "quantity":
        return (Code.NEGATIVE_QUANTITY if ">= 0" in text else Code.QUANTITY_TOO_LARGE), detail
    by_field = {
        "idempotency_key": Code.INVALID_IDEMPOTENCY_KEY,
        "event_timestamp": Code.INVALID_TIMESTAMP,
        "source": Code.INVALID_SOURCE,
        "corrects": Code.INVALID_CORRECTION,
    }
    return by_field.get(field, Code.INVALID_PROPERTIES), detail


def check_count(count: int) -> None:
    """
    Hold a batch to its size.

    Raises:
        errors.EmptyBatch, errors.TooManyEvents.
    """
    if count == 0:
        raise errors.EmptyBatch(f"events is empty; a batch has 1 to {MAX_EVENTS:,}")
    if count > MAX_EVENTS:
        raise errors.TooManyEvents(f"{count:,} events; a batch has at most {MAX_EVENTS:,}")


def _take_apart(body: bytes, decode_one: Callable[[bytes], EventIn | Refusal]) -> Batch:
    mended = surrogates.replace_halves(body)
    try:
        members = _members.decode(mended)
    except msgspec.ValidationError as error:
        raise errors.InvalidBatch("the body must be an event or an object with events") from error
    except RecursionError as error:
        raise errors.InvalidJson("the body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidJson(f"the body is not JSON: {error}") from error
    if not members:
        raise errors.EmptyBatch("the body has no event")
    if "events" not in members:
        return Batch(events=[decode_one(body)], backfill=False, payload_of=lambda _: body)
    _refuse_unknown(members)
    items = _member(members["events"], _items, "events", "a list of events")
    payloads = as_sent(items, mended=mended, body=body, start=mended.index(bytes(members["events"])))
    backfill = "backfill" in members and _member(members["backfill"], _flag, "backfill", "true or false")
    check_count(len(payloads))
    events = [decode_one(payload) for payload in payloads]
    return Batch(events=events, backfill=backfill, payload_of=payloads.__getitem__)


def as_sent(items: Sequence[msgspec.Raw], *, mended: bytes, body: bytes, start: int = 0) -> list[bytes]:
    """The texts of a list's items as they stand in ``body``, which is as long as the ``mended`` one they come from."""
    texts = []
    for item in items:
        # Between two items there are only commas and blanks, so the next place with this text is this item's.
        start = mended.index(item, start)
        end = start + len(memoryview(item))
        texts.append(body[start:end])
        start = end
    return texts


def _refuse_unknown(members: dict[str, msgspec.Raw]) -> None:
    faults = [
        kernel_errors.FieldError(
            f"/{kernel_errors.pointer_token(name)}", "unknown_field", "unknown field; known are events, backfill"
        )
        for name in members
        if name not in ("events", "backfill")
    ]
    if faults:
        raise errors.InvalidBatch(f"{faults[0].pointer}: {faults[0].detail}", errors=faults)


def _member(raw: msgspec.Raw, decoder: "msgspec.json.Decoder[Any]", name: str, expected: str) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fault = kernel_errors.FieldError(f"/{name}", Code.WRONG_TYPE, f"must be {expected}")
        raise errors.InvalidBatch(f"/{name}: {fault.detail}", errors=[fault]) from error


def _payloads(body: bytes) -> Callable[[int], bytes]:
    """Texts of a body's events, found only when the first is asked for: most bodies have nothing to complain of."""

    @cache
    def raw_events() -> list[msgspec.Raw]:
        items: list[msgspec.Raw] = _items.decode(_members.decode(body)["events"])
        return items

    return lambda index: bytes(raw_events()[index])


def _sender_of(text: bytes) -> str:
    try:
        tenant_id = _sender.decode(text).tenant_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return tenant_id if is_tenant_id(tenant_id) else ""
