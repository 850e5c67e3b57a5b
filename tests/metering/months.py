"""Months of events that are past their retention, for tests of what becomes of them."""

from datetime import UTC, date, datetime, timedelta

from django.db import connection

from metering import aggregation, models
from tests.factories import metering as factories

MARCH = date(2025, 3, 1)
THEN = datetime(2025, 3, 20, 12, 30, tzinfo=UTC)  # when March's events came
LATER = datetime(2025, 9, 1, tzinfo=UTC)  # when they are past the retention, and everything is quiet
event = factories.EventInFactory.build


def fill(count: int = 40, *, then: datetime = THEN, tenants: int = 3) -> int:
    """Events of several days, tenants and shapes, summarised; what they add up to."""
    events = [
        event(
            tenant_id=f"t{n % tenants}",
            idempotency_key=f"schlüssel\t{n}",
            quantity=10**15 - n,
            event_timestamp=then - timedelta(days=n % 5, seconds=n, microseconds=n),
            source="a\\b" if n % 2 else "api",
            properties={"text": "ü\n\x1f", "number": 1.5, "none": None, "list": [n]} if n % 3 else {},
        )
        for n in range(count)
    ]
    assert factories.ingest(*events, now=then).accepted == count
    aggregation.aggregate_usage(now=then)
    return sum(one.quantity for one in events)


def stored() -> list[tuple[object, ...]]:
    """Every event there is, with every column."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT event.*, tableoid::regclass::text FROM metering_event AS event ORDER BY key_hash")
        return list(cursor.fetchall())


def summaries() -> list[tuple[object, ...]]:
    """Every usage summary."""
    rows = models.UsageSummary.objects.order_by("pk")
    return list(rows.values_list("tenant_id", "meter", "granularity", "period_start", "total", "event_count"))
