"""The request roll-up is what its events add up to, on every level, whatever came in whatever order."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from metering import aggregation, models, requests
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db
NOW = factories.NOW
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL = models.RequestDimension.ALL


def request(**values: Any) -> Any:
    properties = {"endpoint": "/v1/search", "api_key_id": "k1", "status_code": 200, "response_time_ms": 20}
    fields = {name: values.pop(name) for name in ("quantity", "event_timestamp", "tenant_id") if name in values}
    return factories.EventInFactory.build(
        event_type=requests.EVENT_TYPE, properties=properties | values, **({"event_timestamp": HOUR} | fields)
    )


def aggregate() -> None:
    aggregation.aggregate_usage(now=NOW)


def figures(granularity: str = "hour", dimension: str = ALL, name: str = "") -> models.RequestSummary:
    return models.RequestSummary.objects.get(granularity=granularity, dimension=dimension, name=name)


class TestRecompute:
    def test_sums_an_hour_of_requests(self) -> None:
        factories.ingest(
            request(quantity=5),
            request(status_code=301, endpoint="/v1/users", response_time_ms=10.5),
            request(status_code=404, api_key_id="k2", response_time_ms=None),
            request(status_code=503, quantity=0, billable=False),
        )
        aggregate()
        found = figures()
        assert (found.tenant_id, found.period_start, found.computed_at) == ("acme-corp", HOUR, NOW)
        assert (found.requests, found.billable_requests, found.units) == (4, 3, 7)
        assert (found.response_time_ms, found.timed_requests) == (Decimal("50.5"), 3)
        assert (found.successes, found.client_errors, found.server_errors) == (2, 1, 1)
        assert (found.endpoints, found.api_keys) == (2, 2)
