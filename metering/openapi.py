"""The OpenAPI document of the event intake, which is no DRF view and so must be described by hand."""

from typing import Any, Final

import msgspec

from billing_site.kernel import problems
from metering import cloud_events, gateway, ingestion, schemas

_REF: Final = "#/components/schemas/{name}"
_REFUSALS: Final = {
    "400": "the body is no event and no batch: not JSON, empty, or with an unknown field beside events",
    "401": "no key, or none that we know",
    "403": "the key lacks events:write, or events:backfill for a backfill",
    "413": "over 8 MiB, also when decompressed, or over 10,000 events",
    "415": "another content type or encoding",
    "429": "over the limit of the API key or of a tenant, which `RateLimit-Policy` tells; `Retry-After` says how long",
    "503": "the database does not answer; the same request may be sent again",
}


def add_ingest(result: dict[str, Any], generator: Any, request: Any, public: Any) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: add ``POST /v1/events``."""
    _, components = msgspec.json.schema_components(
        [schemas.EventIn, schemas.EventBatch, cloud_events.CloudEvent, ingestion.IngestReport],
        ref_template=_REF,
    )
    components["EventIn"]["properties"]["quantity"]["default"] = 1
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    result["paths"].setdefault("/v1/events", {})["post"] = _operation()
    return result


def add_requests(result: dict[str, Any], generator: Any, request: Any, public: Any) -> dict[str, Any]:
    """Post-processing hook of drf-spectacular: add ``POST /v1/events/requests``, which is the same door."""
    _, components = msgspec.json.schema_components([gateway.RequestIn, gateway.RequestBatch], ref_template=_REF)
    result.setdefault("components", {}).setdefault("schemas", {}).update(components)
    forms = [_reference(name) for name in ("RequestIn", "RequestBatch")]
    result["paths"].setdefault("/v1/events/requests", {})["post"] = _operation() | {
        "operationId": "events_requests_create",
        "summary": "Take gateway records in, each once per organization and request",
        "description": "One record, or a batch of 1 to 10,000, under the rules and with the answer of "
        "`POST /v1/events`. Each is stored as a metering event of type `api.request`: `request_id` is its idempotency "
        "key, `organization_id` its tenant, `time` its timestamp, `weight` its quantity, the rest its properties. One "
        "that is not `billable` is stored with quantity 0: it is counted as a request, and never billed.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": forms}}}},
    }
    return result


def _operation() -> dict[str, Any]:
    event, batch, report = (_reference(name) for name in ("EventIn", "EventBatch", "IngestReport"))
    return {
        "operationId": "events_create",
        "summary": "Take metering events in, each once per tenant and idempotency key",
        "description": "One event, or a batch of 1 to 10,000. Answered after the batch is durable. A bad event never "
        "spoils its batch: it is kept as a dead letter and told in `errors`. The same key with the same values is a "
        "duplicate; with others it is refused as `idempotency_conflict`, and the stored event stands. This holds for "
        "13 months from an event's arrival. `Idempotency-Key` is ignored: each event has its own. An event with "
        "`corrects` amends or, with `void`, takes back the earlier event of that idempotency key. A CloudEvent comes "
        "structured, in a batch, or in binary mode (attributes in `ce-` headers, data as a JSON body): `subject` is "
        "the tenant, `type` the event type, `source` and `id` with a blank between them the idempotency key, `time` "
        "the timestamp, `data.quantity` the quantity, the rest of `data` the properties.",
        "tags": ["events"],
        "security": [{"apiKey": []}],
        "parameters": [
            {
                "name": "Content-Encoding",
                "in": "header",
                "schema": {"type": "string", "enum": ["identity", "gzip"]},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [event, batch]}},
                cloud_events.STRUCTURED: {"schema": _reference("CloudEvent")},
                cloud_events.BATCHED: {
                    "schema": {
                        "type": "array",
                        "items": _reference("CloudEvent"),
                        "minItems": 1,
                        "maxItems": schemas.MAX_EVENTS,
                    },
                },
            },
        },
        "responses": {
            "200": {"description": "the verdicts", "content": {"application/json": {"schema": report}}},
            **{
                status: {
                    "description": description,
                    "content": {problems.CONTENT_TYPE: {"schema": _reference("Problem")}},
                }
                for status, description in _REFUSALS.items()
            },
        },
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}
