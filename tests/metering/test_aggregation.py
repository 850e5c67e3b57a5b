"""Summaries are what their events add up to, recomputed for touched windows alone."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering import aggregation, hours, models, recompute, rollups, slices, statements
from tests.factories import metering as factories

NOW = factories.NOW
event = factories.EventInFactory.build


@pytest.mark.django_db
class TestAggregateUsage:
    def test_sums_each_hour_of_each_meter(self) -> None:
        turn = datetime(2026, 11, 20, 11, tzinfo=UTC)
        factories.ingest(
            event(quantity=3, event_timestamp=turn - timedelta(microseconds=1)),
            event(quantity=5, event_timestamp=turn),
            event(quantity=7, event_timestamp=turn + timedelta(minutes=59)),
            event(quantity=11, event_timestamp=turn, event_type="other"),
            event(quantity=13, event_timestamp=turn, tenant_id="other"),
        )
        report = aggregation.aggregate_usage(now=NOW)
        assert (report.slices, report.windows, report.changed, report.remaining) == (1, 4, 4, 0)
        found = models.UsageSummary.objects.filter(granularity="hour").values_list(
            "tenant_id", "meter", "period_start", "total", "event_count", "maximum"
        )
        figures: set[tuple[object, ...]] = set(found)
        assert figures == {
            ("acme-corp", "api_call", turn - timedelta(hours=1), 3, 1, 3),
            ("acme-corp", "api_call", turn, 12, 2, 7),
            ("acme-corp", "other", turn, 11, 1, 11),
            ("other", "api_call", turn, 13, 1, 13),
        }
        assert {row.computed_at for row in models.UsageSummary.objects.all()} == {NOW}

    def test_recomputes_and_does_not_add(self) -> None:
        factories.ingest_many(2, quantity=10)
        aggregation.aggregate_usage(now=NOW)
        factories.ingest_many(1, quantity=5)
        report = aggregation.aggregate_usage(now=NOW + timedelta(minutes=1))
        assert (report.windows, report.changed) == (1, 1)
        summary = models.UsageSummary.objects.get(granularity="hour")
        assert [summary.total, summary.event_count, summary.maximum] == [25, 3, 10]
        assert summary.computed_at == NOW + timedelta(minutes=1)

    def test_finds_nothing_to_do_again(self) -> None:
        factories.ingest_many(2)
        aggregation.aggregate_usage(now=NOW)
        report = aggregation.aggregate_usage(now=NOW)
        assert report == slices.AggregationReport()

    def test_leaves_a_summary_that_is_right_as_it_is(self) -> None:
        factories.ingest_many(2)
        aggregation.aggregate_usage(now=NOW)
        summary = models.UsageSummary.objects.get(granularity="hour")
        touched = {"series_ids": [models.Series.objects.get().pk], "hours": [hours.hour_of(summary.period_start)]}
        models.TouchedWindow.objects.create(batch_id=9, shard=0, started_at=NOW, **touched)
        report = aggregation.aggregate_usage(now=NOW + timedelta(days=1))
        assert (report.windows, report.changed) == (1, 0)
        assert models.UsageSummary.objects.get(granularity="hour").computed_at == NOW

    def test_catches_up_slice_by_slice(self) -> None:
        for batch in range(7):
            factories.ingest_many(2, event_timestamp=NOW - timedelta(hours=batch % 3))
        report = aggregation.aggregate_usage(now=NOW, slice_batches=2)
        assert (report.slices, report.remaining) == (4, 0)
        assert sum(models.UsageSummary.objects.filter(granularity="hour").values_list("total", flat=True)) == 14

    def test_holds_sums_beyond_64_bits(self) -> None:
        factories.ingest_many(100, quantity=10**15)
        with connection.cursor() as cursor:  # as if 100 million such events had come
            cursor.execute("SELECT (10::numeric ^ 15 * 10 ^ 8)::numeric(38, 0)")
            assert cursor.fetchone()[0] > 2**63
        aggregation.aggregate_usage(now=NOW)
        assert models.UsageSummary.objects.get(granularity="hour").total == 10**17

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 48), st.integers(0, 10**15)), max_size=8),
            max_size=5,
        ),
    )
    def test_adds_up_to_the_events_whatever_comes_in_whatever_batches(
        self,
        sent: list[list[tuple[str, int, int]]],
    ) -> None:
        before = dict(self.totals().items())
        expected = dict(before)
        for batch in sent:
            factories.ingest(
                *(
                    event(tenant_id=tenant, event_timestamp=NOW - timedelta(hours=ago), quantity=quantity)
                    for tenant, ago, quantity in batch
                ),
            )
            for tenant, ago, quantity in batch:
                start = hours.start_of(hours.hour_of(NOW - timedelta(hours=ago)))
                expected[(tenant, start)] = expected.get((tenant, start), 0) + quantity
            aggregation.aggregate_usage(now=NOW)
        assert self.totals() == expected

    def totals(self) -> dict[tuple[str, datetime], int]:
        found = models.UsageSummary.objects.filter(granularity="hour").values_list("tenant_id", "period_start", "total")
        return {(tenant, start): int(total) for tenant, start, total in found}


class TestRecompute:
    """What it costs follows what was touched, not what is stored."""

    SERIES = 50
    EVENTS = 120_000
    DAYS = 25

    def test_reads_touched_windows_from_the_index_alone(
        self, committed_db: str, superuser_cursor: psycopg.Cursor
    ) -> None:
        self.store_many(superuser_cursor)
        plan = self.plan(windows=50)
        scans = [node for node in nodes(plan) if "metering_event" in node.get("Relation Name", "")]
        assert scans
        assert {node["Node Type"] for node in scans} == {"Index Only Scan"}
        assert sum(node["Heap Fetches"] for node in scans) == 0
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans)
        assert read == 50 * self.EVENTS / (self.SERIES * 24 * self.DAYS)
        months = {node["Relation Name"] for node in scans}
        assert "metering_event_default" not in months

    def store_many(self, cursor: psycopg.Cursor) -> None:
        cursor.execute("SET synchronous_commit = on")  # VACUUM marks only pages whose writers are on disk
        first = hours.hour_of(datetime(2026, 10, 15, tzinfo=UTC))
        for month in ("2026-10-01", "2026-11-01"):
            cursor.execute("SELECT metering_make_partition(%s)", [month])
        cursor.execute(
            "INSERT INTO metering_series (tenant_id, event_type, created_at)"
            " SELECT 't' || n, 'api_call', now() FROM generate_series(1, %s) AS n",
            [self.SERIES],
        )
        cursor.execute(
            """
            INSERT INTO metering_event (
                key_hash, event_timestamp, quantity, batch_id, created_at, event_hour, series_id, void,
                idempotency_key, source, properties
            )
            SELECT gen_random_uuid(), to_timestamp(hour::bigint * 3600), n %% 100, 1, now(), hour,
                1 + n / (24 * %(days)s) %% %(series)s, false, n::text, 'api', '{}'
            FROM generate_series(1, %(events)s) AS n
            CROSS JOIN LATERAL (SELECT %(first)s + (n * 7919) %% (24 * %(days)s) AS hour) AS placed
            """,
            {"series": self.SERIES, "events": self.EVENTS, "first": first, "days": self.DAYS},
        )
        cursor.execute("VACUUM ANALYZE metering_event")
        cursor.execute("ANALYZE metering_series")

    def plan(self, *, windows: int) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT series_id, event_hour FROM metering_event GROUP BY series_id, event_hour"
                " ORDER BY md5(series_id || 'x' || event_hour) LIMIT %s",
                [windows],
            )
            touched = cursor.fetchall()
            cursor.execute(
                "EXPLAIN (ANALYZE, FORMAT JSON) " + statements.RECOMPUTE,
                {
                    "series_ids": [series_id for series_id, _ in touched],
                    "hours": [hour for _, hour in touched],
                    "first_hour": min(hour for _, hour in touched),
                    "last_hour": max(hour for _, hour in touched),
                    "shard": 0,
                    "now": NOW,
                },
            )
            (explained,) = cursor.fetchone()
        found: dict[str, Any] = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
        return found


@pytest.mark.django_db
class TestWithoutStatistics:
    """A database that was filled just now: nothing tells the planner yet how many tenants an hour has."""

    @pytest.fixture
    def values(self) -> dict[str, Any]:
        midnight = datetime(2026, 11, 20, tzinfo=UTC)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO metering_series (tenant_id, event_type, created_at)"
                " SELECT 't' || n, 'api_call', now() FROM generate_series(1, 2000) AS n"
            )
            cursor.execute(
                "INSERT INTO metering_usage_summary"
                " (tenant_id, meter, group_key, granularity, period_start, total, event_count, computed_at)"
                " SELECT 't' || n, 'api_call', '', 'hour', %s + hour * interval '1 hour', 1, 1, now()"
                " FROM generate_series(1, 2000) AS n CROSS JOIN generate_series(0, 23) AS hour",
                [midnight],
            )
        hour = hours.hour_of(midnight) + 11
        windows = [(series_id, hour) for series_id in models.Series.objects.values_list("pk", flat=True)]
        slice_ = recompute.Slice(shard=0, windows=windows, now=NOW, types={})
        return slice_.values() | {"whole_hours": recompute.as_array([hour])}

    def indexes(self, statement: str, values: dict[str, Any]) -> set[str]:
        """Those by which summaries are found."""
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN (FORMAT JSON) " + statement, values)
            (explained,) = cursor.fetchone()
        plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
        found = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
        return {name for name in found if name.startswith("metering_usage_summary")}

    @pytest.mark.parametrize("statement", [statements.RECOMPUTE, statements.SPECIAL, *rollups.STATEMENTS])
    def test_never_reads_all_tenants_for_one(self, statement: str, values: dict[str, Any]) -> None:
        found = self.indexes(statement, values)
        assert found
        assert found <= {"metering_usage_summary_is_one_per_window", "metering_usage_summary_groups"}

    def test_reads_a_whole_hour_by_its_own_index(self, values: dict[str, Any]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_nestloop = off")
        found = self.indexes(statements.RECOMPUTE_WHOLE_HOURS, values)
        assert found == {"metering_usage_summary_by_hour"}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
