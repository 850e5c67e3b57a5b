"""
CloudEvents 1.0 (JSON format and HTTP binding): what each attribute becomes.

=======================  ===========================================================================================
attribute                becomes
=======================  ===========================================================================================
``subject``              the tenant; required here
``type``                 the event type
``source`` and ``id``    the idempotency key: ``<source> <id>``, told apart by the first blank (a source has none)
``time``                 the timestamp
``data.quantity``        the quantity; the rest of ``data``, which must be a JSON object, the properties
``corrects``, ``void``   as of any event: extension attributes; ``corrects`` is a whole idempotency key
=======================  ===========================================================================================

Other extension attributes are taken and not kept. ``data_base64`` is taken when JSON is encoded in it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Literal
from urllib import parse

import msgspec

from metering import errors, schemas, surrogates

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
HEADER_PREFIX: Final = "ce-"

_JSON_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:[a-z0-9!#$&^_.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_BLANK: Final = re.compile(r"\s")


class CloudEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A CloudEvent in JSON. Attributes that are not named here are extensions, which anyone may add."""

    specversion: Literal["1.0"]
    id: Annotated[str, msgspec.Meta(min_length=1)]
    source: Annotated[str, msgspec.Meta(min_length=1, description="A URI reference.")]
    type: Annotated[str, msgspec.Meta(description="The event type.")]
    subject: Annotated[str, msgspec.Meta(description="The tenant.")]
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    data: dict[str, Any] | None = None
    data_base64: str | None = None
    corrects: Annotated[str, msgspec.Meta(min_length=1, max_length=schemas.MAX_KEY_LENGTH)] | None = None
    void: bool = False


class _Sender(msgspec.Struct):
    subject: str = ""


class _Wrong(Exception):
    """An attribute breaks a rule that msgspec does not know."""

    def __init__(self, code: schemas.Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


_event: Final = msgspec.json.Decoder(CloudEvent)
_batch: Final = msgspec.json.Decoder(list[CloudEvent])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_data: Final = msgspec.json.Decoder(dict[str, Any])
_raw: Final = msgspec.json.Decoder(msgspec.Raw)
_sender: Final = msgspec.json.Decoder(_Sender)


def is_cloud_event(text: bytes) -> bool:
    """Whether a text, such as a dead letter's, has the form of a CloudEvent rather than of an event of ours."""
    try:
        members = _members.decode(surrogates.replace_halves(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "specversion" in members and "tenant_id" not in members


def decode_structured(body: bytes) -> schemas.Batch:
    """
    Read a body of one event in the structured mode.

    Raises:
        errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch: it is no event at all.
    """
    if not body.strip():
        raise errors.EmptyBatch("the body is empty")
    members = _decode_body(body, _members, "the body must be one CloudEvent, an object")
    if not members:
        raise errors.EmptyBatch("the body has no event")
    return schemas.Batch(events=[decode_event(body)], backfill=False, payload_of=lambda _: body)


def decode_batch(body: bytes) -> schemas.Batch:
    """
    Read a body of many events, a JSON array.

    Raises:
        errors.InvalidJson, errors.InvalidBatch, errors.EmptyBatch, errors.TooManyEvents: it is no batch at all.
    """
    if not body.strip():
        raise errors.EmptyBatch("the body is empty")
    try:
        found = _batch.decode(body)
        schemas.check_count(len(found))
        events = [event_of(event) for event in found]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _Wrong):
        items = _decode_body(body, _items, "the body must be an array of CloudEvents")
        payloads = schemas.as_sent(items, mended=surrogates.replace_halves(body), body=body)
        schemas.check_count(len(payloads))
        verdicts = [decode_event(payload) for payload in payloads]
        return schemas.Batch(events=verdicts, backfill=False, payload_of=payloads.__getitem__)

    @cache
    def items_as_sent() -> list[msgspec.Raw]:
        return _items.decode(body)

    return schemas.Batch(events=events, backfill=False, payload_of=lambda index: bytes(items_as_sent()[index]))


def decode_binary(body: bytes, *, headers: Mapping[str, str]) -> schemas.Batch:
    """
    Read one event whose attributes are in the request's ``ce-`` headers and whose data is the body.

    Raises:
        errors.InvalidJson: the body is not JSON.
    """
    attributes: dict[str, Any] = {}
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(HEADER_PREFIX):
            attributes[name.removeprefix(HEADER_PREFIX)] = parse.unquote(value)
    if attributes.get("void") in ("true", "false"):
        attributes["void"] = attributes["void"] == "true"
    attributes.pop("data", None)  # no attributes: the data is the body
    attributes.pop("data_base64", None)
    if body.strip():
        attributes["data"] = _decode_data(body)
    text = msgspec.json.encode(attributes)
    return schemas.Batch(events=[decode_event(text)], backfill=False, payload_of=lambda _: text)


def is_json_type(content_type: str) -> bool:
    """Whether a media type is JSON, or of a form that is written in JSON."""
    return _JSON_TYPE.fullmatch(content_type) is not None


def decode_event(text: bytes) -> schemas.EventIn | schemas.Refusal:
    """Read one CloudEvent; what cannot be read is answered, not raised, because its neighbours go on."""
    try:
        return schemas.decode_or_refuse(
            text,
            decode=lambda sent: event_of(_event.decode(sent)),
            explain=_explain,
            sender_of=_sender_of,
        )
    except _Wrong as wrong:
        return schemas.Refusal(code=wrong.code, detail=wrong.detail, tenant_id=_sender_of(text), payload=text)


def event_of(event: CloudEvent) -> schemas.EventIn:
    """
    The metering event that a CloudEvent is.

    Raises:
        _Wrong, msgspec.ValidationError: it is none.
    """
    if _BLANK.search(event.source):
        raise _Wrong(schemas.Code.INVALID_SOURCE, "source: a URI reference has no blanks")
    key = f"{event.source} {event.id}"
    if len(key) > schemas.MAX_KEY_LENGTH:
        raise _Wrong(
            schemas.Code.INVALID_IDEMPOTENCY_KEY,
            f"source and id: over {schemas.MAX_KEY_LENGTH - 1} characters together",
        )
    properties = _data_of(event)
    members = {}
    if "quantity" in properties:
        members["quantity"] = quantity = properties.pop("quantity")
        if type(quantity) is not int or not 0 <= quantity <= schemas.MAX_QUANTITY:
            # Let the rules of every event say what is wrong with it.
            msgspec.convert({"tenant_id": "", "event_type": "", "idempotency_key": "k", **members}, schemas.EventIn)
    return schemas.EventIn(
        tenant_id=event.subject,
        event_type=event.type,
        idempotency_key=key,
        event_timestamp=event.time,
        source=event.source[: schemas.MAX_SOURCE_LENGTH],
        properties=properties,
        corrects=event.corrects,
        void=event.void,
        **members,
    )


def _data_of(event: CloudEvent) -> dict[str, Any]:
    if event.datacontenttype is not None and not is_json_type(event.datacontenttype):
        detail = f"datacontenttype: data must be JSON, not {event.datacontenttype[:80]!r}"
        raise _Wrong(schemas.Code.INVALID_PROPERTIES, detail)
    if event.data_base64 is None:
        return event.data if event.data is not None else {}
    if event.data is not None:
        raise _Wrong(schemas.Code.INVALID_PROPERTIES, "data and data_base64: an event has one of them")
    try:
        return _data.decode(base64.b64decode(event.data_base64, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _Wrong(schemas.Code.INVALID_PROPERTIES, "data_base64: no JSON object in base64") from error


def _explain(error: msgspec.ValidationError) -> tuple[schemas.Code, str]:
    """As of an event's faults, under the codes of the event's fields that the attributes become."""
    code, detail = schemas.explain(error)
    if detail.startswith("specversion:"):
        return schemas.Code.UNSUPPORTED_SPECVERSION, "specversion: only 1.0 is taken"
    if code is not schemas.Code.INVALID_PROPERTIES:
        return code, detail
    by_attribute = {"id": schemas.Code.INVALID_IDEMPOTENCY_KEY, "time": schemas.Code.INVALID_TIMESTAMP}
    return by_attribute.get(detail.partition(":")[0], code), detail


def _sender_of(text: bytes) -> str:
    try:
        tenant_id = _sender.decode(surrogates.replace_halves(text)).subject
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return tenant_id if schemas.is_tenant_id(tenant_id) else ""


def _decode_body(body: bytes, decoder: "msgspec.json.Decoder[Any]", expected: str) -> Any:
    try:
        return decoder.decode(surrogates.replace_halves(body))
    except msgspec.ValidationError as error:
        raise errors.InvalidBatch(expected) from error
    except RecursionError as error:
        raise errors.InvalidJson("the body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidJson(f"the body is not JSON: {error}") from error


def _decode_data(body: bytes) -> msgspec.Raw:
    """The body as it stands, once it is known to be JSON: an attribute cannot be slipped in by what is none."""
    _decode_body(body, _raw, "the body must be JSON")
    return msgspec.Raw(body)
