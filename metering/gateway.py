"""
Gateway records: one request to a tenant's API each, taken as a metering event of type ``api.request``.

| record | metering event |
| --- | --- |
| ``request_id``, ``organization_id``, ``time`` | idempotency key, tenant, timestamp |
| ``weight`` (default 1) | quantity |
| ``api_key_id``, ``endpoint``, ``method``, ``status_code``, ``response_time_ms``, ``billable`` | properties |

One that is not billable is stored with quantity 0, and its weight becomes a property, as ``rules`` holds for all events
of this type: it is shown and counted as a request, and no sum of quantities, whoever makes it, can bill it.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from billing_site.kernel import fields
from metering import requests, schemas, surrogates

SOURCE: Final = "gateway"
_MAX_TIME_MS: Final = 10**9  # a longer one counts as none in the roll-up

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=_MAX_TIME_MS)]
_PreciseMilliseconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_TIME_MS)]


class RequestIn(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False, kw_only=True):
    """One gateway record. Without ``time`` the time of its arrival is taken."""

    request_id: _Text
    organization_id: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": f"^{fields.CODE_PATTERN}$"})]
    api_key_id: _Text | None = None
    endpoint: _Text | None = None
    method: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None
    status_code: Annotated[int, msgspec.Meta(ge=100, le=599)] | None = None
    response_time_ms: _Milliseconds | _PreciseMilliseconds | None = None
    billable: bool = True
    weight: Annotated[int, msgspec.Meta(ge=0, le=schemas.MAX_QUANTITY)] = 1
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class RequestBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Many gateway records. ``backfill`` (scope ``events:backfill``) lifts the age limit back to 2000."""

    events: Annotated[list[RequestIn], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": schemas.MAX_EVENTS})]
    backfill: bool = False


class _Sender(msgspec.Struct):
    organization_id: str = ""


_envelope: Final = msgspec.json.Decoder(RequestBatch)
_record: Final = msgspec.json.Decoder(RequestIn)
_sender: Final = msgspec.json.Decoder(_Sender)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_batch(body: bytes) -> schemas.Batch:
    """
    Read a body of one record, or of ``{"events": [...], "backfill": bool}``.

    Raises:
        errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch, errors.TooManyEvents: it is no batch at all.
    """
    return schemas.decode_batch(body, decode_envelope=_decode_envelope, decode_one=decode_record)


def decode_record(text: bytes) -> schemas.EventIn | schemas.Refusal:
    """Read one record; what cannot be read is answered, not raised."""
    return schemas.decode_or_refuse(
        text,
        decode=lambda record: event_of(_record.decode(record)),
        explain=_explain,
        sender_of=_sender_of,
    )


def is_record(text: bytes) -> bool:
    """Whether a text, such as a dead letter's, has the form of a gateway record rather than of an event."""
    try:
        members = _members.decode(surrogates.replace_halves(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "organization_id" in members and "tenant_id" not in members


def event_of(record: RequestIn) -> schemas.EventIn:
    """The metering event that a record is."""
    properties: dict[str, Any] = {"billable": record.billable}
    if record.api_key_id is not None:
        properties["api_key_id"] = record.api_key_id
    if record.endpoint is not None:
        properties["endpoint"] = record.endpoint
    if record.method is not None:
        properties["method"] = record.method
    if record.status_code is not None:
        properties["status_code"] = record.status_code
    if record.response_time_ms is not None:
        properties["response_time_ms"] = record.response_time_ms
    return schemas.EventIn(
        tenant_id=record.organization_id,
        event_type=requests.EVENT_TYPE,
        idempotency_key=record.request_id,
        quantity=record.weight,
        event_timestamp=record.time,
        source=SOURCE,
        properties=properties,
    )


def _decode_envelope(body: bytes) -> schemas.EventBatch:
    batch = _envelope.decode(body)
    return schemas.EventBatch(events=[event_of(record) for record in batch.events], backfill=batch.backfill)


def _explain(error: msgspec.ValidationError) -> tuple[schemas.Code, str]:
    """As of an event's faults, under the codes of the event's fields that the record's become."""
    code, detail = schemas.explain(error)
    if code is not schemas.Code.INVALID_PROPERTIES:
        return code, detail
    if detail.startswith("weight:"):
        return (schemas.Code.NEGATIVE_QUANTITY if ">= 0" in detail else schemas.Code.QUANTITY_TOO_LARGE), detail
    if detail.startswith("request_id:"):
        return schemas.Code.INVALID_IDEMPOTENCY_KEY, detail
    if detail.startswith("time:"):
        return schemas.Code.INVALID_TIMESTAMP, detail
    return code, detail


def _sender_of(text: bytes) -> str:
    try:
        tenant_id = _sender.decode(surrogates.replace_halves(text)).organization_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return tenant_id if schemas.is_tenant_id(tenant_id) else ""
