"""Events in, and events as they came.

Events come in by a plain view: with thousands in a request, serializers would be most of its work.
"""

import functools
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from uuid import UUID

import msgspec
import prometheus_client
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, clock, errors, keys, problems
from metering import cloud_events, ingestion, limits, policies, raw_events, schemas
from metering import errors as metering_errors
from metering.serializers import events as serializers
from metering.serializers import fields

_log = logging.getLogger(__name__)


_JSON: Final = "application/json"

_accepted: Final = prometheus_client.Counter("billing_events_accepted_total", "Events stored by the HTTP door.")
_duplicates: Final = prometheus_client.Counter("billing_events_duplicate_total", "Events that were stored before.")
_rejected: Final = prometheus_client.Counter(
    "billing_events_rejected_total", "Events that became dead letters.", ["code"]
)

_CLOUD_EVENTS: Final[Mapping[str, Callable[[bytes], schemas.Batch]]] = {
    cloud_events.STRUCTURED: cloud_events.decode_structured,
    cloud_events.BATCHED: cloud_events.decode_batch,
}


_GZIP_WINDOW: Final = 31  # zlib's number for "expect a gzip header"
_PASSED_AT_ONCE: Final = 64 * 1024
_MAX_PASSED_BYTES: Final = 4 * schemas.MAX_BODY_BYTES


class EventListEndpoint(api.Endpoint):
    """``GET /v1/events``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        summary="List metering events as they came",
        parameters=[serializers.EventQuery],
        responses=serializers.RawEventPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """A page of a tenant's events, newest first."""
        query = self.query(serializers.EventQuery)
        self.require_tenant(query["tenant_id"])
        cursor = query.get("cursor")
        page = raw_events.list_raw_events(
            tenant_id=query["tenant_id"],
            event_type=query.get("event_type"),
            timestamp_gte=query.get("event_timestamp_gte"),
            timestamp_lt=query.get("event_timestamp_lt"),
            limit=query["limit"],
            before=(cursor[0], UUID(cursor[1])) if cursor else None,
        )
        last = page.events[-1] if page.has_more else None
        next_cursor = fields.write_cursor(last.event_timestamp, str(last.key_hash)) if last else None
        answer = {"data": page.events, "has_more": page.has_more, "next_cursor": next_cursor}
        return Response(serializers.RawEventPageSerializer(answer).data)


_list_events: Callable[[HttpRequest], HttpResponseBase] = EventListEndpoint.as_view()


@functools.wraps(_list_events)  # carries what the OpenAPI document finds a DRF view by
@csrf_exempt
def events(request: HttpRequest) -> HttpResponseBase:
    """``POST /v1/events`` is the plain view; any other method is the list's."""
    if request.method == "POST":
        return ingest_events(request)
    response = _list_events(request)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response["Allow"] = "GET, POST"
    return response


def ingest_events(
    request: HttpRequest, *, decode_batch: Callable[[bytes], schemas.Batch] = schemas.decode_batch
) -> HttpResponse:
    """
    Take a batch in; the answer is given once it is durable.

    ``decode_batch`` reads a body of plain JSON; CloudEvents are told by their content type or their headers.
    """
    standings: list[limits.Standing] = []
    try:
        report = _take_in(request, decode_batch, standings)
    except limits.RateLimited as error:
        response: HttpResponse = problems.respond(request, error)
        response["Retry-After"] = str(error.standing.reset_seconds)
        standings = [*(standing for standing in standings if standing.name != error.standing.name), error.standing]
    except errors.DomainError as error:
        response = problems.respond(request, error)
    except (OperationalError, InterfaceError):
        _log.exception("the database does not answer")
        response = problems.respond(request, problems.database_away())
    else:
        _count(report)
        response = HttpResponse(msgspec.json.encode(report), content_type=_JSON)
    for name, value in limits.headers_of(standings).items():
        response[name] = value
    return response


def _take_in(
    request: HttpRequest,
    decode_batch: Callable[[bytes], schemas.Batch],
    standings: list[limits.Standing],
) -> ingestion.IngestReport:
    """Hold the request to what the door knows from its copies, then store; ``standings`` gets those with the limits."""
    key = keys.authenticate(request.headers.get("Authorization"), from_copy=True)
    keys.require_scope(key, "events:write")
    if standing := limits.take_request(key_id=key.pk, rate_limit=key.rate_limit):
        standings.append(standing)
    if request.GET:
        name = next(iter(request.GET))
        fault = errors.FieldError(f"?{name}", "unknown_parameter", "unknown; this takes none")
        raise errors.Invalid(f"{name}: {fault.detail}", errors=[fault])
    batch = _decode(request, _read_body(request), decode_batch)
    if batch.backfill:
        keys.require_scope(key, "events:backfill")
    if standing := limits.take_events(events_by_tenant=_count_by_tenant(batch, key.tenant_id)):
        standings.append(standing)
    now = clock.now()
    return ingestion.ingest(
        events=batch.events,
        now=now,
        allow_backfill=batch.backfill,
        only_tenant_id=key.tenant_id or None,
        payload_of=batch.payload_of,
        refused_pairs=policies.refused_pairs(now=now),
    )


def _count_by_tenant(batch: schemas.Batch, bound_tenant_id: str) -> dict[str, int]:
    """The events of each tenant; a bound key uses up nothing of tenants that it may not send for."""
    counted = Counter(event.tenant_id for event in batch.events if isinstance(event, schemas.EventIn))
    return {
        tenant_id: count
        for tenant_id, count in counted.items()
        if (tenant_id == bound_tenant_id if bound_tenant_id else schemas.is_tenant_id(tenant_id))
    }


def _count(report: ingestion.IngestReport) -> None:
    _accepted.inc(report.accepted)
    _duplicates.inc(report.duplicates)
    for code, count in Counter(verdict.code for verdict in report.errors).items():
        _rejected.labels(code).inc(count)


def _decode(request: HttpRequest, body: bytes, decode_batch: Callable[[bytes], schemas.Batch]) -> schemas.Batch:
    """
    Read the body in the form that the request says it has.

    Raises:
        errors.UnsupportedMediaType: in none that is taken here; and what the decoders raise.
    """
    content_type = request.content_type or ""
    if (decode := _CLOUD_EVENTS.get(content_type)) is not None and decode_batch is schemas.decode_batch:
        return decode(body)
    if "ce-specversion" in request.headers and decode_batch is schemas.decode_batch:
        if body and not cloud_events.is_json_type(content_type):
            raise errors.UnsupportedMediaType(f"a CloudEvent's data must be JSON, not {content_type[:80]!r}")
        return cloud_events.decode_binary(body, headers=request.headers)
    if body and content_type != _JSON:
        raise errors.UnsupportedMediaType(
            f"the body must be {_JSON}, {cloud_events.STRUCTURED} or {cloud_events.BATCHED}, "
            f"not {content_type[:80] or 'without a type'}",
        )
    return decode_batch(body)


def _read_body(request: HttpRequest) -> bytes:
    """
    The body, decompressed; never more of it in memory than a batch may have.

    Raises:
        errors.UnsupportedMediaType, errors.TooLarge, metering_errors.InvalidEncoding.
    """
    body = request.read(schemas.MAX_BODY_BYTES + 1)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "gzip" and len(body) <= schemas.MAX_BODY_BYTES:
        body = _decompress(body)
    elif encoding not in ("identity", "gzip"):
        raise errors.UnsupportedMediaType(f"Content-Encoding may be gzip, not {encoding[:40]!r}")
    if len(body) > schemas.MAX_BODY_BYTES:
        _read_past(request)
        raise errors.TooLarge(f"the body has over {schemas.MAX_BODY_BYTES:,} bytes; send it in smaller batches")
    return body


def _read_past(request: HttpRequest) -> None:
    """The rest of a body that nobody will look at: its sender has still to read our answer on this connection."""
    for _ in range(_MAX_PASSED_BYTES // _PASSED_AT_ONCE):
        if not request.read(_PASSED_AT_ONCE):
            return


def _decompress(body: bytes) -> bytes:
    """At most one byte more than allowed comes out, whatever the body claims to be."""
    whole = b""
    while body:
        member = zlib.decompressobj(_GZIP_WINDOW)
        try:
            whole += member.decompress(body, schemas.MAX_BODY_BYTES + 1 - len(whole))
        except zlib.error as error:
            raise metering_errors.InvalidEncoding(f"the body is not gzip: {error}") from error
        if len(whole) > schemas.MAX_BODY_BYTES:
            return whole
        if not member.eof:
            raise metering_errors.InvalidEncoding("the gzip body is cut short")
        body = member.unused_data
    return whole
