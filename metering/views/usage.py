"""Usage by hour, day or month."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import api
from metering import models, usage_rows
from metering.serializers import usage as serializers
from metering.views import pages


class UsageEndpoint(api.Endpoint):
    """``GET /v1/usage``."""

    scopes = {"GET": "usage:read"}

    @extend_schema(
        summary="Read usage by hour, day or month",
        description="One row per meter and hour, day or month (in UTC) with events, in time order. `from` and `to` are "
        "widened to whole hours; the first and the last day or month reach no further than these. Without `event_type` "
        "and `meter`, each event type's own meter. Every event accepted before `fresh_as_of` is counted.",
        parameters=[serializers.UsageQuery],
        responses=serializers.UsagePageSerializer,
    )
    def get(self, request: Request) -> Response:
        """A page of rows, and how fresh they are."""
        query = self.query(serializers.UsageQuery)
        self.require_tenant(query["tenant_id"])
        page = usage_rows.list_usage(
            tenant_id=query["tenant_id"],
            meter=query.get("meter", query.get("event_type")),
            period_from=query["from"],
            period_to=query["to"],
            granularity=models.Granularity(query["granularity"]),
            limit=query["limit"],
            group_by=query.get("group_by", ()),
            after=query.get("cursor"),
        )
        answer = pages.answer(
            page, write_cursor=lambda row: serializers.write_cursor((row.period_start, row.meter, row.group_key))
        )
        return Response(serializers.UsagePageSerializer(answer).data)
