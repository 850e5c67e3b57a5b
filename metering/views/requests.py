"""Gateway records in, and what a tenant's requests add up to."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api, problems
from metering import gateway
from metering import requests as request_rows
from metering.serializers import requests as serializers
from metering.views import events, pages


@csrf_exempt
def ingest_requests(request: HttpRequest) -> HttpResponse:
    """``POST /v1/events/requests``: the door of ``POST /v1/events``, for records of a gateway."""
    if request.method == "POST":
        return events.ingest_events(request, decode_batch=gateway.decode_batch)
    return problems.method_not_allowed(request, allowed="POST")


class TopEndpoint(api.Endpoint):
    """``GET /v1/usage/top``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="usage_top",
        summary="List a tenant's endpoints by requests",
        description="Most requests first, from the request roll-up. `from` and `to` are widened to whole hours. The "
        "1,000 busiest endpoints of an hour, a day and a month have a row of their own; the rest, and requests that "
        "name none, are the row whose `endpoint` is null. Every request accepted before `fresh_as_of` is counted.",
        parameters=[serializers.TopQuery],
        responses=serializers.EndpointPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """A page of endpoints, and how fresh it is."""
        query = self.query(serializers.TopQuery)
        self.require_tenant(query["tenant_id"])
        page = request_rows.list_endpoints(
            tenant_id=query["tenant_id"],
            period_from=query["from"],
            period_to=query["to"],
            limit=query["limit"],
            after=query.get("cursor"),
        )
        cursor = serializers.EndpointCursorField()
        answer = pages.answer(
            page, write_cursor=lambda row: cursor.to_representation((row.request_count, row.endpoint or ""))
        )
        return Response(serializers.EndpointPageSerializer(answer).data)


class ErrorRateEndpoint(api.Endpoint):
    """``GET /v1/usage/error-rate``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        operation_id="usage_error_rate",
        summary="Read the share of failed requests by hour",
        description="One row per hour (in UTC) with requests, in time order, from the request roll-up: how many "
        "answered 4xx and 5xx, and which share of all the hour's requests that is. `from` and `to` are widened to "
        "whole hours. Every request accepted before `fresh_as_of` is counted.",
        parameters=[serializers.ErrorRateQuery],
        responses=serializers.ErrorRatePageSerializer,
    )
    def get(self, request: Request) -> Response:
        """A page of hours, and how fresh it is."""
        query = self.query(serializers.ErrorRateQuery)
        self.require_tenant(query["tenant_id"])
        page = request_rows.list_error_rates(
            tenant_id=query["tenant_id"],
            period_from=query["from"],
            period_to=query["to"],
            limit=query["limit"],
            after=query.get("cursor"),
        )
        cursor = serializers.HourCursorField()
        answer = pages.answer(page, write_cursor=lambda row: cursor.to_representation(row.period_start))
        return Response(serializers.ErrorRatePageSerializer(answer).data)
