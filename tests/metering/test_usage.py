"""Reading usage: exact to the microsecond at the edges, and honest about how fresh it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, models, usage, usage_rows
from tests.factories import metering as factories

pytestmark = pytest.mark.django_db
NOW = factories.NOW
DAY = datetime(2026, 11, 20, tzinfo=UTC)
event = factories.EventInFactory.build


def total(start: datetime, end: datetime, *, meter: str = "api_call", tenant_id: str = "acme-corp") -> int:
    found = usage.totals(tenant_id=tenant_id, meters=[meter], period_start=start, period_end=end)
    return found[meter].total_quantity


def rows(granularity: str = "hour", **options: Any) -> list[tuple[str, datetime, datetime, int, int]]:
    return [
        (row.meter, row.period_start, row.period_end, row.total_quantity, row.event_count)
        for row in page(granularity, **options).rows
    ]


def page(granularity: str = "hour", **options: Any) -> usage_rows.UsagePage:
    defaults: dict[str, Any] = {
        "tenant_id": "acme-corp",
        "meter": None,
        "period_from": DAY - timedelta(days=40),
        "period_to": DAY + timedelta(days=1),
        "limit": 1000,
    }
    return usage_rows.list_usage(granularity=models.Granularity(granularity), **{**defaults, **options})


class TestTotals:
    def test_answers_every_meter_that_was_asked_for(self) -> None:
        factories.ingest_many(2, quantity=5)
        aggregation.aggregate_usage(now=NOW)
        found = usage.totals(
            tenant_id="acme-corp",
            meters=["api_call", "nothing"],
            period_start=DAY,
            period_end=DAY + timedelta(days=1),
        )
        assert found == {"api_call": usage.UsageTotal(10, 2), "nothing": usage.UsageTotal(0, 0)}

    def test_is_half_open(self) -> None:
        factories.ingest(event(event_timestamp=DAY, quantity=1), event(event_timestamp=DAY - timedelta(1), quantity=2))
        aggregation.aggregate_usage(now=NOW)
        assert total(DAY - timedelta(days=1), DAY) == 2
        assert total(DAY, DAY + timedelta(days=1)) == 1
        assert total(DAY, DAY) == 0
        assert total(DAY + timedelta(days=1), DAY) == 0

    def test_reads_all_whole_hours_in_one_statement(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            total(DAY, DAY + timedelta(hours=5))
        assert len(queries) == 2
        assert "metering_meter" in queries[0]["sql"]

    def test_leaves_other_tenants_and_meters_out(self) -> None:
        edge = DAY + timedelta(minutes=30)
        factories.ingest(
            event(event_timestamp=edge, tenant_id="other"),
            event(event_timestamp=edge, event_type="other"),
        )
        aggregation.aggregate_usage(now=NOW)
        assert total(edge, edge + timedelta(hours=3)) == 0

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 6 * 60), st.integers(0, 6 * 60))
    def test_is_exact_for_edges_inside_an_hour(self, first: int, second: int) -> None:
        if not models.UsageSummary.objects.exists():
            factories.ingest(
                *(
                    event(event_timestamp=DAY + timedelta(minutes=minute), quantity=2**minute % 1009)
                    for minute in range(6 * 60)
                ),
            )
            aggregation.aggregate_usage(now=NOW)
        start, end = sorted((first, second))
        expected = sum(2**minute % 1009 for minute in range(start, end))
        assert total(DAY + timedelta(minutes=start), DAY + timedelta(minutes=end)) == expected

    def test_cuts_an_hour_between_two_microseconds(self) -> None:
        edge = DAY + timedelta(minutes=30)
        tick = timedelta(microseconds=1)
        factories.ingest(
            event(event_timestamp=edge - tick, quantity=1),
            event(event_timestamp=edge, quantity=2),
        )
        aggregation.aggregate_usage(now=NOW)
        assert total(DAY, edge) == 1
        assert total(edge, DAY + timedelta(hours=1)) == 2
        assert total(edge - tick, edge) == 1


class TestHasPendingWindows:
    def test_sees_what_is_not_summarised(self) -> None:
        factories.ingest_many(1, event_timestamp=DAY + timedelta(hours=3))
        day: dict[str, Any] = {"period_start": DAY, "period_end": DAY + timedelta(days=1)}
        assert usage.has_pending_windows(tenant_id="acme-corp", **day)
        assert not usage.has_pending_windows(tenant_id="other", **day)
        assert not usage.has_pending_windows(
            tenant_id="acme-corp",
            period_start=DAY - timedelta(days=1),
            period_end=DAY + timedelta(hours=3),
        )
        assert usage.has_pending_windows(
            tenant_id="acme-corp",
            period_start=DAY,
            period_end=DAY + timedelta(hours=3, minutes=1),
        )
        aggregation.aggregate_usage(now=NOW)
        assert not usage.has_pending_windows(tenant_id="acme-corp", **day)


class TestFreshAsOf:
    def test_is_this_moment_when_all_is_summarised(self) -> None:
        factories.ingest_many(1)
        aggregation.aggregate_usage(now=NOW)
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (before,) = cursor.fetchone()
        assert usage.fresh_as_of() >= before

    def test_is_the_beginning_of_the_oldest_batch_that_is_not(self) -> None:
        factories.ingest_many(1)
        factories.ingest_many(1)
        oldest = models.TouchedWindow.objects.order_by("started_at")[0]
        assert usage.fresh_as_of() == oldest.started_at
        assert page().fresh_as_of == oldest.started_at


class TestListUsage:
    @pytest.fixture(autouse=True)
    def _events(self) -> None:
        factories.ingest(
            event(event_timestamp=datetime(2026, 10, 31, 23, 59, tzinfo=UTC), quantity=1),
            event(event_timestamp=datetime(2026, 11, 1, 0, 0, tzinfo=UTC), quantity=2),
            event(event_timestamp=datetime(2026, 11, 1, 0, 30, tzinfo=UTC), quantity=4, event_type="b"),
            event(event_timestamp=datetime(2026, 11, 1, 23, 0, tzinfo=UTC), quantity=8),
            event(event_timestamp=datetime(2026, 11, 2, 5, 0, tzinfo=UTC), quantity=16),
            event(event_timestamp=datetime(2026, 11, 2, 5, 0, tzinfo=UTC), quantity=32, tenant_id="other"),
        )
        aggregation.aggregate_usage(now=NOW)

    def test_lists_hours_in_order(self) -> None:
        assert [(meter, start.day, start.hour, total) for meter, start, _, total, _ in rows()] == [
            ("api_call", 31, 23, 1),
            ("api_call", 1, 0, 2),
            ("b", 1, 0, 4),
            ("api_call", 1, 23, 8),
            ("api_call", 2, 5, 16),
        ]

    def test_sums_days(self) -> None:
        found = rows("day", meter="api_call")
        assert [(start.day, (end - start).days, total, count) for _, start, end, total, count in found] == [
            (31, 1, 1, 1),
            (1, 1, 10, 2),
            (2, 1, 16, 1),
        ]

    def test_sums_months(self) -> None:
        found = rows("month", meter="api_call", period_from=datetime(2026, 10, 1, tzinfo=UTC), period_to=DAY)
        assert found == [
            ("api_call", datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), 1, 1),
            ("api_call", datetime(2026, 11, 1, tzinfo=UTC), DAY, 26, 3),
        ]

    def test_reaches_no_further_than_it_was_asked_for(self) -> None:
        start, end = datetime(2026, 11, 1, 12, 20, tzinfo=UTC), datetime(2026, 11, 2, 4, 20, tzinfo=UTC)
        assert rows("day", meter="api_call", period_from=start, period_to=end) == [
            ("api_call", start.replace(minute=0), datetime(2026, 11, 2, tzinfo=UTC), 8, 1),
        ]

    def test_pages_by_row(self) -> None:
        after, pages = None, 0
        found: list[tuple[datetime, str, str]] = []
        while True:
            one = page(limit=2, after=after)
            found += [(row.period_start, row.meter, "") for row in one.rows]
            pages += 1
            if not one.has_more:
                break
            after = found[-1]
        assert pages == 3
        assert found == [(row.period_start, row.meter, "") for row in page().rows]

    def test_answers_freshness_without_rows(self) -> None:
        empty = page(tenant_id="nobody")
        assert empty.rows == []
        assert empty.fresh_as_of.tzinfo is not None

    def test_is_one_statement(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            page()
        assert len(queries) == 1
